"""The content of the rendered manifests: defaults, monitoring, scaling."""

from __future__ import annotations

from typing import Any

import yaml

from tests.helm.charts import (
    CHART,
    REDIS,
    SHARED,
    container,
    of_kind,
    rendered,
    template,
    workload,
)
from tests.helm.matrix import MATRIX


def test_own_annotations_replace_those_of_the_chart():
    name = "kubectl.kubernetes.io/default-container"
    text = template({"config": REDIS, "podAnnotations": {name: "more"}})
    assert text.count(name) == 1


def test_helm_test_passes_the_network_policy():
    manifests = rendered(MATRIX["closed"])
    (test,) = [one for one in manifests if one["kind"] == "Pod"]
    peers = [peer for rule in of_kind(manifests, "NetworkPolicy")["spec"]["ingress"] for peer in rule["from"]]
    (own,) = [peer["podSelector"]["matchLabels"] for peer in peers if "podSelector" in peer]
    assert own.items() <= test["metadata"]["labels"].items()


def test_helm_test_runs_on_the_nodes_of_the_pods():
    manifests = rendered(MATRIX["everything"])
    (test,) = [one for one in manifests if one["kind"] == "Pod"]
    spec = workload(manifests)["spec"]["template"]["spec"]
    for name in ("nodeSelector", "tolerations", "imagePullSecrets"):
        assert test["spec"][name] == spec[name]


def test_large_numbers_stay_numbers():
    config = {**REDIS, "index": {"memory": {"max_events": 1_000_000}}}
    written = of_kind(rendered({"config": config}), "ConfigMap")["data"]["tracecar.yaml"]
    assert yaml.safe_load(written)["index"]["memory"]["max_events"] == 1_000_000
    assert "1000000" in written


def test_pods_roll_when_the_configuration_changes():
    def checksum(config: dict[str, Any]) -> str:
        pod = workload(rendered({"config": config}))["spec"]["template"]
        return pod["metadata"]["annotations"]["checksum/tracecar-config"]

    assert checksum(REDIS) == checksum(dict(REDIS))
    assert checksum(REDIS) != checksum(SHARED)


def test_nothing_is_open_unless_it_is_opened():
    manifests = rendered({"config": REDIS})
    pod = workload(manifests)["spec"]["template"]["spec"]
    assert [port["name"] for port in container(pod)["ports"]] == ["tracecar-health"]
    assert pod["automountServiceAccountToken"] is False
    assert of_kind(manifests, "ServiceAccount")["automountServiceAccountToken"] is False
    config = yaml.safe_load(of_kind(manifests, "ConfigMap")["data"]["tracecar.yaml"])
    assert config["api"] == {"token": "${TRACECAR_TOKEN:-}"}
    assert config["health"] == {"host": "0.0.0.0", "port": 8426}
    (rule,) = of_kind(manifests, "NetworkPolicy")["spec"]["ingress"]
    assert rule["ports"] == [{"port": "tracecar-health", "protocol": "TCP"}]
    opened = rendered(MATRIX["opened"])
    assert {port["port"] for port in of_kind(opened, "Service")["spec"]["ports"]} == {8426, 9000}


def test_alerts_and_dashboards_are_shipped():
    manifests = rendered(MATRIX["monitored"])
    groups = of_kind(manifests, "PrometheusRule")["spec"]["groups"]
    shipped = yaml.safe_load((CHART / "rules" / "tracecar.yaml").read_text())["groups"]
    assert groups == [*shipped, {"name": "own", "rules": [{"alert": "A", "expr": "vector(1)"}]}]
    (dashboards,) = [one for one in manifests if "grafana_dashboard" in one["metadata"]["labels"]]
    for file in (CHART / "dashboards").glob("*.json"):
        assert dashboards["data"][file.name] == file.read_text()
    (endpoint,) = of_kind(manifests, "ServiceMonitor")["spec"]["endpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("http-health", "/metrics")


def test_keda_scales_on_the_lag_of_the_configured_group():
    (trigger,) = of_kind(rendered(MATRIX["keda"]), "ScaledObject")["spec"]["triggers"]
    assert trigger == {
        "type": "kafka",
        "authenticationRef": {"name": "kafka"},
        "metadata": {
            "bootstrapServers": "kafka:9092",
            "consumerGroup": "tracecar.shop",
            "topic": "orders",
            "lagThreshold": "5000",
            "activationLagThreshold": "0",
            "offsetResetPolicy": "latest",
            "sasl": "scram_sha512",
        },
    }
    (trigger,) = of_kind(rendered({"config": SHARED, "keda": {"enabled": True}}), "ScaledObject")["spec"]["triggers"]
    assert trigger["metadata"]["address"] == "valkey:6379"


def test_keda_uses_tls_and_the_database_number():
    source = {"url": "rediss://shop:${REDIS_PASSWORD}@valkey/3", "streams": ["orders"]}
    config = {**SHARED, "sources": {"redis": source}}
    keda = {"enabled": True, "authenticationRef": "redis"}
    (trigger,) = of_kind(rendered({"config": config, "keda": keda}), "ScaledObject")["spec"]["triggers"]
    assert trigger["metadata"] == {
        "address": "valkey:6379",
        "activationLagCount": "0",
        "databaseIndex": "3",
        "enableTLS": "true",
        "consumerGroup": "tracecar.shop",
        "stream": "orders",
        "lagCount": "5000",
    }


def test_a_history_has_room_for_its_temporary_files():
    def limit(config: dict[str, Any]) -> str:
        volumes = workload(rendered({"config": config}))["spec"]["template"]["spec"]["volumes"]
        return next(each["emptyDir"]["sizeLimit"] for each in volumes if each["name"] == "tracecar-tmp")

    assert limit(REDIS) == "64Mi"
    assert limit({**REDIS, "history": {"url": "s3://events/shop"}}) == "2Gi"
