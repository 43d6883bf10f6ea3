"""`tracecar.beside` and its parts: every kind of workload, options, and the mistakes that a chart's author makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.helm.charts import (
    POLICIES,
    REDIS,
    SHARED,
    container,
    example,
    of_kind,
    rendered,
    service_chart,
    template,
    workload,
)

BESIDE: dict[str, Any] = {"mode": "sidecar", "image": {"repository": "tracecar"}, "config": REDIS}
POD = "{metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: web}]}}"


def _workload(kind: str, name: str, fields: str = "", pod: str = POD) -> str:
    template_ = f"template: {pod}"
    spec = {
        "CronJob": f"{{schedule: '* * * * *', jobTemplate: {{spec: {{{template_}}}}}}}",
        "Pod": "{containers: [{name: web, image: web}]}",
    }.get(kind, f"{{{fields}{template_}}}")
    return f"\nkind: {kind}\napiVersion: example/v1\nmetadata: {{name: {name}}}\nspec: {spec}\n"


def _own(name: str) -> str:
    return f'dict "name" "{name}" "values" (dict "config" (dict "service" "shop-{name}"))'


@pytest.mark.parametrize(
    "kind", ["Deployment", "StatefulSet", "ReplicaSet", "Rollout", "Job", "CronJob", "Pod", "ScaledJob"]
)
def test_every_kind_of_workload_gets_the_sidecar(kind: str, tmp_path: Path) -> None:
    if kind == "ScaledJob":
        spec = f"{{jobTargetRef: {{template: {POD}}}}}"
        body = f"\nkind: ScaledJob\napiVersion: keda.sh/v1alpha1\nmetadata: {{name: web}}\nspec: {spec}\n"
    else:
        body = _workload(kind, "web")
    manifest = of_kind(rendered({"tracecar": BESIDE}, chart=service_chart(tmp_path / "shop", body)), kind)
    path = {
        "CronJob": ("spec", "jobTemplate", "spec", "template"),
        "Pod": (),
        "ScaledJob": ("spec", "jobTargetRef", "template"),
    }
    pod: Any = manifest
    for name in path.get(kind, ("spec", "template")):
        pod = pod[name]
    assert pod["spec"]["initContainers"][0] == container(pod["spec"])
    assert pod["metadata"]["labels"]["tracecar.io/sidecar"] == "true"
    assert "checksum/tracecar-config" in pod["metadata"]["annotations"]


@pytest.mark.parametrize(
    ("kind", "fields", "words"),
    [
        ("DaemonSet", "", "the DaemonSet web has a pod on every node"),
        ("Job", "parallelism: 3, ", "the Job web has 3 pods at a time"),
        ("StatefulSet", "replicas: '3', ", "the StatefulSet web has 3 replicas"),
    ],
)
def test_several_pods_are_told_of_the_shared_index(kind: str, fields: str, words: str, tmp_path: Path) -> None:
    chart = service_chart(tmp_path / "shop", _workload(kind, "web", fields))
    assert words in template({"tracecar": BESIDE}, chart=chart, ok=False)
    assert rendered({"tracecar": {**BESIDE, "config": SHARED}}, chart=chart)


def test_two_configurations_never_share_a_config_map(tmp_path: Path) -> None:
    bodies = (_workload("Deployment", "web"), _workload("Deployment", "worker"))
    same = service_chart(tmp_path / "same", *bodies, options=(_own("a"), _own("a").replace("shop-a", "shop-b")))
    words = "two workloads would have different configurations in one ConfigMap"
    assert words in template({"tracecar": BESIDE}, chart=same, ok=False)
    named = service_chart(tmp_path / "named", *bodies, options=("dict", _own("b")))
    values = {"tracecar": {**BESIDE, "sidecar": {"configMap": "one"}}}
    assert f"{words}, one" in template(values, chart=named, ok=False)


def test_workloads_with_groups_of_their_own_need_no_shared_index(tmp_path: Path) -> None:
    bodies = [_workload("Deployment", name) for name in ("web", "worker")]
    chart = service_chart(tmp_path / "shop", *bodies, options=("dict", _own("worker")))
    configs = [one for one in rendered({"tracecar": BESIDE}, chart=chart) if one["kind"] == "ConfigMap"]
    assert len(configs) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ('dict "name" "w" "values" (dict "confi" (dict))', "values.confi: unknown key, perhaps"),
        (
            'dict "name" "w" "values" (dict "config" (dict "servic" "x"))',
            "values.config.servic: unknown key, perhaps service",
        ),
        (
            'dict "name" "w" "values" (dict "config" (dict "sources" (dict "redis" (dict "stream" "x"))))',
            "values.config.sources.redis.stream: unknown key, perhaps start or streams",
        ),
        ('dict "name" "w" "values" (dict "replicaCount" 3)', "replicaCount: has no effect in mode sidecar"),
        ('dict "name" "w" "values" "x"', "values: expected a map"),
        ('dict "name" "Worker_1"', "name: expected lower-case letters, digits and dashes, found Worker_1"),
        ('dict "values" (dict "config" (dict))', "have values but no name"),
        ('dict "names" "w"', 'unknown option "names"'),
        ("list 1", 'tracecar.beside: expected (list . "TEMPLATE")'),
    ],
)
def test_mistakes_in_options_are_refused(options: str, words: str, tmp_path: Path) -> None:
    chart = service_chart(tmp_path / "shop", _workload("Deployment", "web"), options=(options,))
    assert words in template({"tracecar": BESIDE}, chart=chart, ok=False)


@pytest.mark.parametrize(
    "body",
    [
        "kind: Deployment\nspec: oops",
        "kind: Deployment\nspec: {template: oops}",
        "kind: CronJob\nspec: {jobTemplate: oops}",
        "kind: Deployment\nspec: {template: {spec: {containers: {a: b}}}}",
        "kind: List\nitems: [{kind: Deployment}]",
    ],
)
def test_what_is_no_workload_is_refused(body: str, tmp_path: Path) -> None:
    complaint = template({"tracecar": BESIDE}, chart=service_chart(tmp_path / "shop", body), ok=False)
    assert "expected the template shop.w0 to render one workload" in complaint


def test_it_wants_a_template_name(tmp_path: Path) -> None:
    chart = service_chart(tmp_path / "shop")
    for call in (".", "(list .)", "(list . 1)"):
        (chart / "templates" / "web.yaml").write_text(f'{{{{ include "tracecar.beside" {call} }}}}')
        assert 'tracecar.beside: expected (list . "TEMPLATE")' in template({"tracecar": BESIDE}, chart=chart, ok=False)


def test_a_volume_that_the_pod_has_already_is_shared(tmp_path: Path) -> None:
    volume = {"name": "ca", "secret": {"secretName": "kafka-ca"}}
    values = {**BESIDE, "extraVolumes": [volume], "extraVolumeMounts": [{"name": "ca", "mountPath": "/ca"}]}
    pod = POD.replace("containers:", "volumes: [{name: ca, secret: {secretName: kafka-ca}}], containers:")
    chart = service_chart(tmp_path / "same", _workload("Deployment", "web", pod=pod))
    volumes = workload(rendered({"tracecar": values}, chart=chart))["spec"]["template"]["spec"]["volumes"]
    assert [one for one in volumes if one["name"] == "ca"] == [volume]
    other = service_chart(tmp_path / "other", _workload("Deployment", "web", pod=pod.replace("kafka-ca", "other")))
    complaint = template({"tracecar": values}, chart=other, ok=False)
    assert "the Deployment web has another volume named ca than tracecar.extraVolumes" in complaint
    mounted = {**BESIDE, "extraVolumeMounts": [{"name": "ca", "mountPath": "/ca"}]}
    assert rendered({"tracecar": mounted}, chart=chart)


def test_ports_of_another_protocol_do_not_collide(tmp_path: Path) -> None:
    pod = POD.replace("image: web", "image: web, ports: [{containerPort: 8426, protocol: UDP}]")
    assert rendered(
        {"tracecar": BESIDE}, chart=service_chart(tmp_path / "shop", _workload("Deployment", "web", pod=pod))
    )


def test_part_by_part_it_can_be_switched_off_too(tmp_path: Path) -> None:
    chart = example(tmp_path / "helm") / "charts" / "orders"
    on = workload(rendered({}, chart=chart))["spec"]["template"]
    manifests = rendered({"tracecar": {"enabled": False, "extraObjects": ["kind: X"]}}, chart=chart)
    assert [one["kind"] for one in manifests] == ["Deployment"]
    off = workload(manifests)["spec"]["template"]
    assert "initContainers" in on["spec"]
    assert "initContainers" not in off["spec"]
    assert not off["spec"]["volumes"]
    assert not off["metadata"]["annotations"]
    assert not [name for name in off["metadata"]["labels"] if name.startswith("tracecar.io/")]


def test_the_modes_of_other_releases_are_refused_beside_a_service(tmp_path: Path) -> None:
    chart = service_chart(tmp_path / "shop", _workload("Deployment", "web"))
    values = {"mode": "injection", "image": {"repository": "tracecar"}}
    complaint = template({"tracecar": values}, "--api-versions", POLICIES, chart=chart, ok=False)
    assert "tracecar.mode: expected sidecar, found injection" in complaint


def test_a_release_of_its_own_that_renders_nothing_is_refused() -> None:
    complaint = template({"mode": "sidecar", "config": REDIS}, ok=False)
    assert "mode: sidecar renders nothing in a release of its own" in complaint
    assert rendered({"mode": "sidecar", "prometheusRule": {"enabled": True}})


def test_objects_of_two_services_of_an_umbrella_have_different_names(tmp_path: Path) -> None:
    """Also where the release's name is as long as Helm allows."""
    umbrella = example(tmp_path / "helm")
    monitored = {"tracecar": {"podMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}}}
    for release in ("shop", "r" * 53):
        manifests = rendered({"orders": monitored, "payments": monitored}, chart=umbrella, release=release)
        names = [(one["kind"], one["metadata"]["name"]) for one in manifests]
        assert len(set(names)) == len(names)
        monitors = [one for one in manifests if one["kind"] == "PodMonitor"]
        selected = {one["spec"]["selector"]["matchExpressions"][0]["values"][0] for one in monitors}
        labels = {
            one["spec"]["template"]["metadata"]["labels"].get("tracecar.io/release")
            for one in manifests
            if one["kind"] == "Deployment"
        }
        assert selected == labels - {None}
        assert len(selected) == 2
        assert all(len(value) <= 63 for value in selected)


# --- several parts and charts of one release


def test_the_config_map_is_rendered_once(tmp_path: Path) -> None:
    """Also where a chart's author adds the part that `tracecar.beside` has already."""
    for name in ("a.yaml", "z.yaml"):
        chart = service_chart(tmp_path / name / "shop", _workload("Deployment", "web"))
        (chart / "templates" / name).write_text('{{ include "tracecar.sidecar.config" . }}')
        complaint = template({"tracecar": BESIDE}, chart=chart, ok=False)
        assert "the ConfigMap r-shop-tracecar is rendered twice" in complaint
        assert "remove the include of tracecar.sidecar.config" in complaint


def test_charts_of_an_umbrella_never_share_a_config_map_or_a_group(tmp_path: Path) -> None:
    """The chart shop-b, and the workload b of the chart shop, would have a ConfigMap of the same name."""
    umbrella = tmp_path / "umbrella"
    (umbrella / "charts").mkdir(parents=True)
    (umbrella / "Chart.yaml").write_text("{apiVersion: v2, name: umbrella, version: 0.1.0}")
    first = service_chart(umbrella / "charts" / "shop", _workload("Deployment", "web"), options=(_own("b"),))
    second = service_chart(umbrella / "charts" / "shop-b", _workload("Deployment", "web"))
    (second / "Chart.yaml").write_text((first / "Chart.yaml").read_text().replace('"shop"', '"shop-b"'))
    (second / "templates" / "w0.yaml").write_text(
        (second / "templates" / "w0.yaml").read_text().replace("shop.w0", "b.w0")
    )
    other = {**BESIDE, "config": {**REDIS, "service": "shop-other"}}
    complaint = template({"shop": {"tracecar": BESIDE}, "shop-b": {"tracecar": other}}, chart=umbrella, ok=False)
    assert "two workloads would have different configurations in one ConfigMap, r-shop-b-tracecar" in complaint
    named = {**BESIDE, "sidecar": {"configMap": "own"}, "config": {**REDIS, "service": "shop-b"}}
    complaint = template({"shop": {"tracecar": BESIDE}, "shop-b": {"tracecar": named}}, chart=umbrella, ok=False)
    assert "the sidecars of the template shop.w0 and the template b.w0 are both of the service shop-b" in complaint
    assert rendered(
        {"shop": {"tracecar": BESIDE}, "shop-b": {"tracecar": {**other, "sidecar": {"configMap": "own"}}}},
        chart=umbrella,
    )


def test_parts_of_two_files_need_groups_of_their_own_too(tmp_path: Path) -> None:
    chart = service_chart(tmp_path / "shop")
    containers = '{{ include "tracecar.sidecar" . | nindent 2 }}'
    pod = f"kind: Pod\napiVersion: v1\nmetadata: {{name: a}}\nspec:\n  containers: {containers}"
    for name in ("a.yaml", "b.yaml"):
        (chart / "templates" / name).write_text(pod)
    complaint = template({"tracecar": BESIDE}, chart=chart, ok=False)
    assert "both of the service shop" in complaint
    assert "the file shop/templates/a.yaml" in complaint
    assert rendered({"tracecar": {**BESIDE, "config": SHARED}}, chart=chart)


# --- autoscalers


SCALERS = {
    "HorizontalPodAutoscaler": "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nspec: {maxReplicas: 5}\n",
    "ScaledObject": "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nspec: {triggers: []}\n",
}


@pytest.mark.parametrize("kind", SCALERS)
def test_an_autoscaler_of_the_same_template_counts_as_several_pods(kind: str, tmp_path: Path) -> None:
    body = f"{_workload('Deployment', 'web')}---\n{SCALERS[kind]}"
    chart = service_chart(tmp_path / "shop", body)
    complaint = template({"tracecar": BESIDE}, chart=chart, ok=False)
    assert f"the {kind} of the same template lets the Deployment web have several pods" in complaint
    assert rendered({"tracecar": {**BESIDE, "config": SHARED}}, chart=chart)
    single = service_chart(tmp_path / "single", body.replace("maxReplicas: 5", "maxReplicas: 1"))
    if kind == "HorizontalPodAutoscaler":
        assert rendered({"tracecar": BESIDE}, chart=single)


def test_a_workload_without_replicas_may_have_those_of_the_usual_value(tmp_path: Path) -> None:
    """`helm create` leaves `replicas` out with `autoscaling.enabled`, and puts the autoscaler into another template."""
    chart = service_chart(tmp_path / "shop", _workload("Deployment", "web"))
    scaled = {"enabled": True, "maxReplicas": 5}
    complaint = template({"tracecar": BESIDE, "autoscaling": scaled}, chart=chart, ok=False)
    assert "the Deployment web has no `replicas`, and autoscaling.enabled lets it have several pods" in complaint
    for other in ({**scaled, "enabled": False}, {**scaled, "maxReplicas": 1}, "text", None):
        assert rendered({"tracecar": BESIDE, "autoscaling": other}, chart=chart)
    fixed = service_chart(tmp_path / "fixed", _workload("Deployment", "web", "replicas: 1, "))
    assert rendered({"tracecar": BESIDE, "autoscaling": scaled}, chart=fixed)
