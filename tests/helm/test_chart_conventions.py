"""Conventions that other charts share: images, pull secrets, templates in values, probes, Services, null maps."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from helm import generate
from tests.helm.charts import (
    CHART,
    REDIS,
    container,
    helm,
    of_kind,
    rendered,
    template,
    workload,
)
from tests.helm.matrix import INGRESS_CONTROLLER

IMAGE = {"repository": "tracecar"}


def test_an_image_without_a_registry_is_refused() -> None:
    complaint = template({"config": REDIS, "image": {}}, ok=False)
    assert "image.repository is required: where you pushed the image" in complaint


@pytest.mark.parametrize(
    ("image", "globals_", "expected"),
    [
        ({"registry": "ghcr.io", "repository": "acme/tracecar"}, {}, "ghcr.io/acme/tracecar:0.1.0"),
        (
            {"registry": "ghcr.io", "repository": "acme/tracecar"},
            {"imageRegistry": "mirror.corp:5000"},
            "mirror.corp:5000/acme/tracecar:0.1.0",
        ),
        ({"repository": "tracecar", "tag": "1"}, {}, "tracecar:1"),
    ],
)
def test_the_image_is_named_as_in_other_charts(image: dict[str, str], globals_: dict[str, str], expected: str) -> None:
    pod = workload(rendered({"config": REDIS, "image": image, "global": globals_}))["spec"]["template"]["spec"]
    assert container(pod)["image"] == expected


@pytest.mark.parametrize("secrets", [["pull"], [{"name": "pull"}], ["{{ .Release.Name }}-pull"]])
def test_both_forms_of_pull_secrets_are_accepted(secrets: list[Any]) -> None:
    pod = workload(rendered({"config": REDIS, "global": {"imagePullSecrets": secrets}}))["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] in ([{"name": "pull"}], [{"name": "r-pull"}])


def test_names_urls_and_extras_are_templates() -> None:
    values = {
        "config": {**REDIS, "service": "{{ .Release.Name }}-shop"},
        "existingSecret": "{{ .Release.Name }}-secret",
        "extraEnv": [{"name": "WHERE", "value": "{{ .Release.Namespace }}"}],
        "podAnnotations": {"release": "{{ .Release.Name }}"},
    }
    manifests = rendered(values)
    config = yaml.safe_load(of_kind(manifests, "ConfigMap")["data"]["tracecar.yaml"])
    pod = workload(manifests)["spec"]["template"]
    assert config["service"] == "r-shop"
    assert container(pod["spec"])["envFrom"] == [{"secretRef": {"name": "r-secret"}}]
    assert {"name": "WHERE", "value": "events"} in container(pod["spec"])["env"]
    assert pod["metadata"]["annotations"]["release"] == "r"


def test_literal_braces_can_be_written() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: t}\ndata: {url: '{{ \"{{ .pass }}\" }}'}"
    (extra,) = [one for one in rendered({"config": REDIS, "extraObjects": [text]}) if one["metadata"]["name"] == "t"]
    assert extra["data"]["url"] == "{{ .pass }}"


def test_a_reference_that_nothing_supplies_is_refused() -> None:
    config = {**REDIS, "api": {"token": "${TRACECAR_TOKEN}"}}
    complaint = template({"config": config, "existingSecret": ""}, ok=False)
    assert "refers to ${TRACECAR_TOKEN}, which nothing supplies" in complaint
    supplied = {"config": config, "existingSecret": "", "extraEnv": [{"name": "TRACECAR_TOKEN", "value": "t"}]}
    assert rendered(supplied)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"config": {**REDIS, "registry": {"directory": "/etc/tracecar/schemas"}}, "schemasConfigMap": ""},
            "nothing is mounted at /etc/tracecar/schemas",
        ),
        (
            {"config": REDIS, "schemasConfigMap": "s"},
            "schemasConfigMap: has no effect without config.registry.directory",
        ),
        ({"config": REDIS, "ingress": {"enabled": True, "host": "a"}}, "the API listens on loopback only"),
        ({"config": REDIS, "sidecar": {"configMap": "x"}}, "sidecar.configMap: has no effect in mode standalone"),
    ],
)
def test_values_without_their_counterpart_are_refused(values: dict[str, Any], words: str) -> None:
    assert words in template(values, ok=False)


def test_an_ingress_asks_for_tls() -> None:
    values = {
        "config": {**REDIS, "api": {"host": "0.0.0.0"}},
        "existingSecret": "s",
        "ingress": {"enabled": True, "host": "tracecar.example.org"},
        "networkPolicy": {"apiFrom": INGRESS_CONTROLLER},
    }
    assert "ingress.tls is required" in template(values, ok=False)


def test_metrics_never_leave_the_cluster_with_the_api() -> None:
    values = {
        "config": {**REDIS, "api": {"host": "0.0.0.0"}},
        "existingSecret": "s",
        "service": {"type": "LoadBalancer"},
        "networkPolicy": {"apiFrom": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]},
    }
    services = {one["metadata"]["name"]: one["spec"] for one in rendered(values) if one["kind"] == "Service"}
    assert [port["name"] for port in services["r-tracecar"]["ports"]] == ["http-api"]
    assert services["r-tracecar-metrics"]["type"] == "ClusterIP"


def test_another_handler_replaces_that_of_a_probe() -> None:
    values = {"config": REDIS, "probes": {"liveness": {"exec": {"command": ["true"]}}, "startup": {"enabled": False}}}
    sidecar = container(workload(rendered(values))["spec"]["template"]["spec"])
    assert "httpGet" not in sidecar["livenessProbe"]
    assert "startupProbe" not in sidecar


def test_a_stateful_set_has_a_headless_service() -> None:
    manifests = rendered({"config": REDIS, "workload": "StatefulSet"})
    name = workload(manifests)["spec"]["serviceName"]
    (headless,) = [one for one in manifests if one["kind"] == "Service" and one["metadata"]["name"] == name]
    assert headless["spec"]["clusterIP"] == "None"


def test_the_part_of_label_is_the_users() -> None:
    manifests = rendered({"config": REDIS, "commonLabels": {"app.kubernetes.io/part-of": "shop"}})
    assert {one["metadata"]["labels"]["app.kubernetes.io/part-of"] for one in manifests} == {"shop"}


def _maps() -> list[str]:
    return sorted({value.path.partition(".")[0] for value in generate.values() if "." in value.path})


@pytest.mark.parametrize("name", [*_maps(), "config"])
def test_a_map_that_is_null_is_never_a_raw_error(name: str) -> None:
    """`--reuse-values` gives null for a map that the previous release did not have."""
    done = template({"config": REDIS, "image": IMAGE, name: None}, ok=name not in ("image", "config"))
    assert "nil pointer" not in done


def test_the_package_has_its_license_and_no_link_out_of_it(tmp_path: Path) -> None:
    helm("package", CHART, "-d", tmp_path)
    assert (CHART / "LICENSE").is_file()
    assert "](../../" not in (CHART / "README.md").read_text()


def test_an_alias_names_the_objects_of_a_standalone_release(tmp_path: Path) -> None:
    """Two releases of Tracecar in one umbrella have nothing in common, and messages have the alias."""
    umbrella = tmp_path / "umbrella"
    shutil.copytree(CHART, umbrella / "charts" / "tracecar")
    dependency = {"name": "tracecar", "version": "0.1.0", "repository": ""}
    dependencies = [{**dependency, "alias": name} for name in ("eyes", "ears")]
    about = {"apiVersion": "v2", "name": "umbrella", "version": "0.1.0", "dependencies": dependencies}
    (umbrella / "Chart.yaml").write_text(json.dumps(about))
    values = {"image": IMAGE, "config": REDIS}
    manifests = rendered({"eyes": values, "ears": values}, chart=umbrella)
    names = [(one["kind"], one["metadata"]["name"]) for one in manifests]
    assert len(set(names)) == len(names) == 14
    complaint = template({"eyes": values, "ears": {**values, "replicaCount": 2}}, chart=umbrella, ok=False)
    assert "ears.replicaCount: several pods share the partitions" in complaint


OPENSHIFT = ("--api-versions", "security.openshift.io/v1")
IDS = {"runAsUser", "runAsGroup", "fsGroup"}


@pytest.mark.parametrize(
    ("openshift", "arguments", "chosen"),
    [("auto", OPENSHIFT, True), ("auto", (), False), (True, (), True), (False, OPENSHIFT, False)],
)
def test_openshift_chooses_the_ids_of_users(openshift: Any, arguments: tuple[str, ...], chosen: bool) -> None:
    for manifest in rendered({"config": REDIS, "openshift": openshift}, *arguments):
        if manifest["kind"] in ("Deployment", "Pod"):
            pod = manifest["spec"].get("template", manifest)["spec"]
            contexts = [pod["securityContext"], *(one["securityContext"] for one in pod["containers"])]
            assert all(context["runAsNonRoot"] for context in contexts)
            assert [bool(IDS & context.keys()) for context in contexts] == [not chosen] * 2


def test_dns_is_reached_on_openshift_too() -> None:
    egress = [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]
    policy = of_kind(rendered({"config": REDIS, "networkPolicy": {"egress": egress}}), "NetworkPolicy")["spec"]
    assert {port["port"] for port in policy["egress"][0]["ports"]} == {53, 5353}


@pytest.mark.parametrize(("account", "name"), [({}, "r-tracecar"), ({"create": False}, None)])
def test_the_test_pod_has_the_pull_secrets_of_the_chart(account: dict[str, Any], name: str | None) -> None:
    """They may be bound to the chart's own ServiceAccount."""
    manifests = rendered({"config": REDIS, "imagePullSecrets": ["pull"], "serviceAccount": account})
    (pod,) = [one["spec"] for one in manifests if one["kind"] == "Pod"]
    assert pod.get("serviceAccountName") == name
    assert pod["imagePullSecrets"] == [{"name": "pull"}]
