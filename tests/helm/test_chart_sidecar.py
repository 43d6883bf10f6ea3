"""The chart as a library: Tracecar beside a service, from the chart of that service."""

from __future__ import annotations

import shutil

import pytest

from tests.helm.charts import (
    CHART,
    container,
    rendered,
    template,
    workload,
)


def test_one_include_adds_the_same_as_the_single_parts(umbrella):
    for version in ("1.34", "1.28"):
        manifests = rendered({}, "--kube-version", version, chart=umbrella)
        parts, line = (
            next(one["spec"]["template"] for one in manifests if one["metadata"]["name"] == f"r-{service}")
            for service in ("orders", "payments")
        )
        assert container(parts["spec"]) == container(line["spec"])
        assert [one["name"] for one in parts["spec"]["volumes"]] == [one["name"] for one in line["spec"]["volumes"]]
        for name in ("labels", "annotations"):
            assert parts["metadata"][name].keys() == line["metadata"][name].keys()


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("kind: ConfigMap", "expected the template payments.deployment to render one workload"),
        ("a: [", "the template payments.deployment renders YAML that cannot be read"),
        (2 * "---\n{kind: Deployment, spec: {template: {spec: {containers: []}}}}\n", "found Deployment, Deployment"),
    ],
)
def test_the_include_requires_one_workload(umbrella, tmp_path, body, found):
    chart = shutil.copytree(umbrella / "charts" / "payments", tmp_path / "payments")
    (chart / "templates" / "_deployment.tpl").write_text(f'{{{{ define "payments.deployment" }}}}{body}{{{{ end }}}}')
    complaint = template({}, chart=chart, ok=False)
    assert found in complaint


def test_the_include_adds_the_container_once(umbrella, tmp_path):
    chart = shutil.copytree(umbrella / "charts" / "payments", tmp_path / "payments")
    file = chart / "templates" / "_deployment.tpl"
    file.write_text(
        file.read_text().replace("name: {{ .Chart.Name }}\n          image", "name: tracecar\n          image")
    )
    pod = workload(rendered({}, chart=chart))["spec"]["template"]["spec"]
    assert "initContainers" not in pod


def test_the_sidecar_never_delays_or_unreadies_the_pod_of_the_service(umbrella):
    for version, native in (("1.34", True), ("1.28", False)):
        manifests = rendered({}, "--kube-version", version, chart=umbrella)
        (deployment,) = [one for one in manifests if one["metadata"]["name"] == "r-orders"]
        pod = deployment["spec"]["template"]["spec"]
        beside = container(pod)
        assert (beside in pod.get("initContainers", ())) is native
        assert beside.get("restartPolicy") == ("Always" if native else None)
        assert "readinessProbe" not in beside
        assert "startupProbe" not in beside
        names = {one["metadata"]["name"] for one in manifests if one["kind"] == "ConfigMap"}
        assert names == {"r-orders-tracecar", "r-payments-tracecar"}
        (volume,) = [one for one in pod["volumes"] if one["name"] == "tracecar-config"]
        assert volume["configMap"]["name"] == "r-orders-tracecar"


def test_an_include_without_the_dependency_names_it(tmp_path):
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("{apiVersion: v2, name: alone, version: 0.1.0}")
    for name in ("_sidecar.tpl", "_config.tpl", "_container.tpl", "_names.tpl"):
        (tmp_path / "templates" / name).write_text((CHART / "templates" / name).read_text())
    (tmp_path / "templates" / "pod.yaml").write_text('{{ include "tracecar.sidecar" . }}')
    assert "expected Tracecar's values under the key `tracecar`" in template({}, chart=tmp_path, ok=False)


def test_two_installs_of_the_example_share_no_object(umbrella):
    first, second = (
        {(one["kind"], one["metadata"]["name"]) for one in rendered({}, chart=umbrella, release=name)} for name in "ab"
    )
    assert not first & second
    for one in rendered({}, chart=umbrella):
        assert one["metadata"]["labels"]["app.kubernetes.io/instance"] == "r"
        if one["kind"] in ("Deployment", "Service"):
            assert one["metadata"]["labels"]["helm.sh/chart"].endswith("-0.1.0")
