"""The chart never ignores a value, a document or a mistake silently."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm.charts import (
    CHART,
    KAFKA,
    POLICIES,
    REDIS,
    SHARED,
    Manifest,
    container,
    of_kind,
    rendered,
    template,
    workload,
)

IMAGE = {"repository": "tracecar"}
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {template: {spec: {containers: [{name: web, image: web}]}}}
"""
SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n"
BESIDE: dict[str, Any] = {"mode": "sidecar", "image": IMAGE, "config": REDIS}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart of a service that depends on this one; tests write its templates."""
    chart = tmp_path_factory.mktemp("service") / "shop"
    (chart / "templates").mkdir(parents=True)
    shutil.copytree(CHART, chart / "charts" / "tracecar")
    (chart / "Chart.yaml").write_text(
        "{apiVersion: v2, name: shop, version: 0.1.0, dependencies: [{name: tracecar, version: 0.1.0, repository: ''}]}"
    )
    (chart / "values.yaml").write_text("tracecar: {}\n")
    return chart


def _beside(chart: Path, tmp_path: Path, *bodies: str, options: tuple[str, ...] = ()) -> Path:
    copy = shutil.copytree(chart, tmp_path / "shop")
    for number, body in enumerate(bodies):
        option = f" ({options[number]})" if options else ""
        name = f"shop.w{number}"
        define = f'{{{{ define "{name}" }}}}{body}{{{{ end }}}}'
        include = f'{{{{ include "tracecar.beside" (list . "{name}"{option}) }}}}'
        (copy / "templates" / f"w{number}.yaml").write_text(define + include)
    return copy


def _kinds(manifests: list[Manifest]) -> list[str]:
    return sorted(manifest["kind"] for manifest in manifests)


# --- nothing is dropped


def test_every_document_of_a_template_is_kept(service: Path, tmp_path: Path) -> None:
    secret = "{kind: Secret, apiVersion: v1, metadata: {name: s}}"
    body = f"# a comment\n---\n{DEPLOYMENT}\n---\n{SERVICE}\n--- # another\n{secret}\n"
    manifests = rendered({"tracecar": BESIDE}, chart=_beside(service, tmp_path, body))
    assert _kinds(manifests) == ["ConfigMap", "Deployment", "Secret", "Service"]
    assert container(workload(manifests)["spec"]["template"]["spec"])
    assert of_kind(manifests, "Service") == yaml.safe_load(SERVICE)


@pytest.mark.parametrize(
    "separator",
    ["---\n", "--- # comment\n", "---\t\n", "--- ", "...\n---\n", "...\n", "---\n---\n", "---\r\n", "---  \r\n"],
)
def test_every_separator_of_yaml_is_known(separator: str, service: Path, tmp_path: Path) -> None:
    """Also those of files from Windows, and documents that begin on the separator's line."""
    end = "\r\n" if "\r" in separator else "\n"
    inline = "{kind: Secret, apiVersion: v1, metadata: {name: s}}\n"
    body = f"{DEPLOYMENT}{separator}{inline}{separator}{inline.replace('name: s', 'name: t')}".replace("\r\n", "\n")
    manifests = rendered({"tracecar": BESIDE}, chart=_beside(service, tmp_path, body.replace("\n", end)))
    assert _kinds(manifests) == ["ConfigMap", "Deployment", "Secret", "Secret"]


def test_text_that_looks_like_a_separator_inside_of_a_document_is_kept(service: Path, tmp_path: Path) -> None:
    config = (
        "kind: ConfigMap\napiVersion: v1\nmetadata: {name: text}\ndata:\n  a.yaml: |\n    one: 1\n    ---\n    two: 2\n"
    )
    manifests = rendered({"tracecar": BESIDE}, chart=_beside(service, tmp_path, f"{DEPLOYMENT}\n---\n{config}"))
    (text,) = [manifest for manifest in manifests if manifest["metadata"]["name"] == "text"]
    assert text["data"]["a.yaml"] == "one: 1\n---\ntwo: 2\n"


def test_a_cron_job_gets_its_sidecar(service: Path, tmp_path: Path) -> None:
    body = """
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: job, image: job}]}}}}}
"""
    chart = _beside(service, tmp_path, body)
    job = of_kind(rendered({"tracecar": BESIDE}, chart=chart), "CronJob")
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert [one["name"] for one in pod["initContainers"]] == ["tracecar"]
    complaint = template({"tracecar": BESIDE}, "--kube-version", "1.28.0", chart=chart, ok=False)
    assert "the CronJob nightly would never complete" in complaint


def test_a_template_that_renders_nothing_stays_nothing(service: Path, tmp_path: Path) -> None:
    assert rendered({"tracecar": BESIDE}, chart=_beside(service, tmp_path, "{{ if false }}x{{ end }}")) == []


def test_the_sidecar_can_be_switched_off(service: Path, tmp_path: Path) -> None:
    chart = _beside(service, tmp_path, f"{DEPLOYMENT}\n---\n{SERVICE}")
    manifests = rendered({"tracecar": {**BESIDE, "enabled": False}}, chart=chart)
    assert _kinds(manifests) == ["Deployment", "Service"]
    assert "initContainers" not in workload(manifests)["spec"]["template"]["spec"]


def test_a_forgotten_mode_is_refused(service: Path, tmp_path: Path) -> None:
    chart = _beside(service, tmp_path, DEPLOYMENT)
    values = {"tracecar": {"image": IMAGE, "config": REDIS}}
    assert "tracecar.mode: expected sidecar, found standalone" in template(values, chart=chart, ok=False)
    both = {"tracecar": {"image": IMAGE, "config": REDIS, "sidecar": {"withStandalone": True}}}
    assert _kinds(rendered(both, chart=chart)).count("Deployment") == 2


def test_two_workloads_of_a_chart_share_a_config_map(service: Path, tmp_path: Path) -> None:
    chart = _beside(service, tmp_path, DEPLOYMENT, DEPLOYMENT.replace("web", "worker"))
    manifests = rendered({"tracecar": {**BESIDE, "config": SHARED}}, chart=chart)
    assert _kinds(manifests) == ["ConfigMap", "Deployment", "Deployment"]
    complaint = template({"tracecar": BESIDE}, chart=chart, ok=False)
    assert "are both of the service shop. They would share its consumer group" in complaint


def test_or_have_their_own(service: Path, tmp_path: Path) -> None:
    options = ("dict", 'dict "name" "worker" "values" (dict "config" (dict "service" "shop-worker"))')
    chart = _beside(service, tmp_path, DEPLOYMENT, DEPLOYMENT.replace("web", "worker"), options=options)
    manifests = rendered({"tracecar": BESIDE}, chart=chart)
    configs = {
        one["metadata"]["name"]: yaml.safe_load(one["data"]["tracecar.yaml"])["service"]
        for one in manifests
        if one["kind"] == "ConfigMap"
    }
    assert configs == {"r-shop-tracecar": "shop", "r-shop-worker-tracecar": "shop-worker"}
    (worker,) = [one for one in manifests if one["metadata"]["name"] == "worker"]
    (volume,) = [v for v in worker["spec"]["template"]["spec"]["volumes"] if v["name"] == "tracecar-config"]
    assert volume["configMap"]["name"] == "r-shop-worker-tracecar"


def test_further_needs_of_the_pod_are_injected(service: Path, tmp_path: Path) -> None:
    values = {
        **BESIDE,
        "imagePullSecrets": ["own"],
        "commonLabels": {"team": "events"},
        "commonAnnotations": {"owner": "events"},
        "podLabels": {"tier": "eyes"},
        "podAnnotations": {"checked": "yes"},
        "probes": {"liveness": {"enabled": False}},
    }
    given = {"tracecar": values, "global": {"imagePullSecrets": ["mirror"], "imageRegistry": "mirror.corp:5000"}}
    manifests = rendered(given, chart=_beside(service, tmp_path, DEPLOYMENT))
    pod = workload(manifests)["spec"]["template"]
    assert pod["spec"]["imagePullSecrets"] == [{"name": "own"}, {"name": "mirror"}]
    assert pod["metadata"]["labels"]["tier"] == "eyes"
    assert pod["metadata"]["annotations"]["checked"] == "yes"
    config = of_kind(manifests, "ConfigMap")["metadata"]
    assert (config["labels"]["team"], config["annotations"]["owner"]) == ("events", "events")
    assert container(pod["spec"])["image"] == "mirror.corp:5000/tracecar:0.1.0"
    assert "livenessProbe" not in container(pod["spec"])


def test_the_service_starts_although_configuration_is_missing(service: Path, tmp_path: Path) -> None:
    values = {**BESIDE, "existingSecret": "missing", "schemasConfigMap": "schemas"}
    values["config"] = {**REDIS, "registry": {"directory": "/etc/tracecar/schemas"}}
    pod = workload(rendered({"tracecar": values}, chart=_beside(service, tmp_path, DEPLOYMENT)))["spec"]["template"]
    sidecar = container(pod["spec"])
    assert sidecar["envFrom"] == [{"secretRef": {"name": "missing", "optional": True}}]
    assert sidecar["args"][-1] == "--stay"
    optional = [volume["configMap"]["optional"] for volume in pod["spec"]["volumes"] if "configMap" in volume]
    assert optional == [True, True]


def test_several_replicas_without_a_shared_index_are_refused(service: Path, tmp_path: Path) -> None:
    chart = _beside(service, tmp_path, DEPLOYMENT.replace("spec: {template", "spec: {replicas: 2, template"))
    assert "the Deployment web has 2 replicas" in template({"tracecar": BESIDE}, chart=chart, ok=False)
    assert rendered({"tracecar": {**BESIDE, "config": SHARED}}, chart=chart)
    assert rendered({"tracecar": {**BESIDE, "sidecar": {"allowPartialView": True}}}, chart=chart)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("ports: [{name: tracecar-health, containerPort: 1}]", "has a port named tracecar-health"),
        ("ports: [{containerPort: 8426}]", "uses the port 8426, on which Tracecar's health check listens"),
        ("ports: [{containerPort: 8425}]", "uses the port 8425, on which Tracecar's API listens"),
    ],
)
def test_ports_that_collide_are_refused(service: Path, tmp_path: Path, body: str, words: str) -> None:
    chart = _beside(service, tmp_path, DEPLOYMENT.replace("image: web", f"image: web, {body}"))
    assert words in template({"tracecar": BESIDE}, chart=chart, ok=False)


def test_volumes_that_collide_are_refused(service: Path, tmp_path: Path) -> None:
    chart = _beside(
        service, tmp_path, DEPLOYMENT.replace("containers:", "volumes: [{name: tracecar-tmp}], containers:")
    )
    assert "has a volume named tracecar-tmp" in template({"tracecar": BESIDE}, chart=chart, ok=False)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("replicaCount", 2),
        ("workload", "StatefulSet"),
        ("terminationGracePeriodSeconds", 60),
        ("extraContainers", [{"name": "more", "image": "more"}]),
        ("initContainers", [{"name": "first", "image": "first"}]),
        ("nodeSelector", {"a": "b"}),
        ("affinity", {"nodeAffinity": {}}),
        ("priorityClassName", "high"),
        ("serviceMonitor", {"enabled": True}),
        ("autoscaling", {"enabled": True}),
        ("keda", {"enabled": True}),
        ("networkPolicy", {"egress": [{}]}),
        ("service", {"type": "NodePort"}),
        ("serviceAccount", {"annotations": {"a": "b"}}),
        ("probes", {"readiness": {"periodSeconds": 1}}),
        ("ingress", {"enabled": True}),
    ],
)
def test_values_that_a_mode_does_not_use_are_refused(service: Path, tmp_path: Path, path: str, value: Any) -> None:
    chart = _beside(service, tmp_path, DEPLOYMENT)
    complaint = template({"tracecar": {**BESIDE, path: value}}, chart=chart, ok=False)
    assert "has no effect in mode sidecar" in complaint
    assert path in complaint


# --- injection


def test_injection_is_a_mode_of_its_own_and_drops_no_value() -> None:
    values = {
        "mode": "injection",
        "schemasConfigMap": "schemas",
        "extraEnv": [{"name": "A", "value": "b"}],
        "extraVolumes": [{"name": "ca", "secret": {"secretName": "kafka-ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/kafka"}],
    }
    text = template(values, "--api-versions", POLICIES)
    for part in (
        'secretName: "kafka-ca"',
        '"/etc/kafka"',
        '"/etc/tracecar/schemas"',
        'name: "A"',
        "/spec/initContainers/0",
    ):
        assert part in text
    assert "kind: Deployment" not in text


@pytest.mark.parametrize("path", ["existingSecret", "podLabels", "imagePullSecrets", "config"])
def test_values_that_injection_cannot_use_are_refused(path: str) -> None:
    value = {"existingSecret": "s", "podLabels": {"a": "b"}, "imagePullSecrets": ["s"], "config": REDIS}[path]
    complaint = template({"mode": "injection", path: value}, "--api-versions", POLICIES, ok=False)
    assert f"{path}: has no effect in mode injection" in complaint


# --- autoscaling


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "redis+sentinel://s1:26379,s2/mymaster/2",
            {"addresses": "s1:26379,s2:26379", "sentinelMaster": "mymaster", "databaseIndex": "2"},
        ),
        ("redis+cluster://c1:6379,c2", {"addresses": "c1:6379,c2:6379"}),
        ("rediss://valkey", {"address": "valkey:6379", "enableTLS": "true", "databaseIndex": "0"}),
    ],
)
def test_keda_has_the_trigger_of_the_topology(url: str, expected: dict[str, str]) -> None:
    config = {**SHARED, "sources": {"redis": {"url": url, "streams": ["orders"]}}}
    (trigger,) = of_kind(rendered({"config": config, "keda": {"enabled": True}}), "ScaledObject")["spec"]["triggers"]
    kinds = {"redis+sentinel": "redis-sentinel-streams", "redis+cluster": "redis-cluster-streams"}
    assert trigger["type"] == kinds.get(url.partition(":")[0], "redis-streams")
    assert expected.items() <= trigger["metadata"].items()
    assert trigger["metadata"]["activationLagCount"] == "0"


def test_keda_needs_credentials_where_the_broker_does() -> None:
    complaint = template({"config": KAFKA, "keda": {"enabled": True}}, ok=False)
    assert "keda.authenticationRef is required with config.sources.kafka.sasl" in complaint


def test_keda_uses_tls_for_kafka() -> None:
    kafka = {"bootstrap_servers": "kafka:9093", "topics": ["orders"], "tls": {}}
    config = {**SHARED, "sources": {"kafka": kafka}}
    (trigger,) = of_kind(rendered({"config": config, "keda": {"enabled": True}}), "ScaledObject")["spec"]["triggers"]
    assert trigger["metadata"]["tls"] == "enable"


def test_cpu_is_scaled_on_by_an_absolute_amount() -> None:
    scaler = of_kind(rendered({"config": SHARED, "autoscaling": {"enabled": True}}), "HorizontalPodAutoscaler")["spec"]
    (metric,) = scaler["metrics"]
    assert metric["resource"]["target"] == {"type": "AverageValue", "averageValue": "500m"}
    assert scaler["behavior"]["scaleUp"]["stabilizationWindowSeconds"] == 120


# --- monitoring


def test_a_pod_monitor_selects_the_pods_of_its_own_chart(service: Path, tmp_path: Path) -> None:
    values = {"tracecar": {**BESIDE, "podMonitor": {"enabled": True}}}
    manifests = rendered(values, chart=_beside(service, tmp_path, DEPLOYMENT))
    (expression,) = of_kind(manifests, "PodMonitor")["spec"]["selector"]["matchExpressions"]
    labels = workload(manifests)["spec"]["template"]["metadata"]["labels"]
    assert expression["values"] == [labels[expression["key"]]]


def test_two_monitors_of_the_same_pods_are_refused() -> None:
    values = {"config": REDIS, "podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}}
    assert "both would scrape the same pods" in template(values, ok=False)


def test_every_rule_and_panel_knows_the_namespace() -> None:
    rules = yaml.safe_load((CHART / "rules" / "tracecar.yaml").read_text())["groups"][0]["rules"]
    assert all("namespace, job" in rule["expr"] for rule in rules)
    assert any(rule["alert"] == "TracecarDown" for rule in rules)
    dashboard = (CHART / "dashboards" / "tracecar.json").read_text()
    assert dashboard.count('job=~\\"$job\\"') == dashboard.count('namespace=~\\"$namespace\\", job=~\\"$job\\"') > 0


def test_rules_can_be_disabled_labeled_and_changed() -> None:
    given = {
        "enabled": True,
        "disabled": ["TracecarRecordsLost"],
        "additionalRuleLabels": {"team": "events"},
        "thresholds": {"TracecarLagGrows": {"for": "1h", "severity": "critical", "value": 5}},
        "runbookUrl": "https://runbooks.example.org/tracecar",
    }
    (group,) = of_kind(rendered({"config": REDIS, "prometheusRule": given}), "PrometheusRule")["spec"]["groups"]
    rules = {rule["alert"]: rule for rule in group["rules"]}
    assert "TracecarRecordsLost" not in rules
    assert all(rule["labels"]["team"] == "events" for rule in rules.values())
    lag = rules["TracecarLagGrows"]
    assert (lag["for"], lag["labels"]["severity"]) == ("1h", "critical")
    assert lag["expr"].endswith("> 5")
    assert lag["annotations"]["runbook_url"] == "https://runbooks.example.org/tracecar#tracecarlaggrows"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"disabled": ["Nope"]}, "there is no alert Nope"),
        ({"thresholds": {"Nope": {}}}, "there is no alert Nope"),
        ({"thresholds": {"TracecarLagGrows": {"limit": 1}}}, "unknown key, expected for, severity or value"),
        ({"thresholds": {"TracecarNotReady": {"value": 1}}}, "this alert has no threshold"),
    ],
)
def test_mistakes_in_rules_are_refused(given: dict[str, Any], words: str) -> None:
    assert words in template({"config": REDIS, "prometheusRule": {"enabled": True, **given}}, ok=False)
