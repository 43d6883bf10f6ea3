"""Values that the chart refuses, and the messages; null values."""

from __future__ import annotations

import json
from typing import Any

import pytest

from helm import generate
from tests.helm.charts import (
    KAFKA,
    POLICIES,
    REDIS,
    SHARED,
    rendered,
    template,
    workload,
)
from tests.helm.matrix import MATRIX


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"config": {}}, "config.service is required: the name of the service"),
        ({"config": {"service": "shop"}}, "config.sources is required: kafka, redis or both"),
        ({"config": {**REDIS, "servic": "x"}}, "additional properties 'servic' not allowed"),
        ({"config": {**REDIS, "dead_letters": {"breaker": {"ratio": 50}}}}, "maximum: got 50, want 1"),
        ({"config": REDIS, "replicas": 3}, "additional properties 'replicas' not allowed"),
        ({"config": REDIS, "replicaCount": "two"}, "at '/replicaCount': got string, want integer"),
        ({"config": REDIS, "mode": "beside"}, "value must be one of 'standalone', 'sidecar', 'injection'"),
        ({"config": REDIS, "image": {"digest": "latest"}}, "at '/image/digest'"),
        ({"config": REDIS, "replicaCount": 2}, "replicaCount: several pods share the partitions"),
        ({"config": REDIS, "autoscaling": {"enabled": True}}, "Give them a shared index: config.index.redis.url="),
        ({"config": KAFKA, "autoscaling": {"enabled": True}, "keda": {"enabled": True}}, "expected at most one"),
        ({"config": {**REDIS, "api": {"host": "0.0.0.0"}}}, "needs a token that you know"),
        (
            {"config": {**KAFKA, "sources": {"kafka": {**KAFKA["sources"]["kafka"], "topics": ["^a.*"]}}}}
            | {"keda": {"enabled": True}},
            "names only patterns",
        ),
        ({"config": {**REDIS, "health": {"port": 8425}}}, "config.health.port, config.api.port: expected two ports"),
        (
            {"config": {"service": "shop", "sources": {"redis": {"url": "redis://valkey", "streams": []}}}},
            "config.sources.redis.streams is required: at least one, or a gate",
        ),
        ({"config": {**REDIS, "health": {"host": "127.0.0.1"}}}, "config.health.host: expected 0.0.0.0 or ::"),
        ({"config": REDIS, "fullnameOverride": "Eyes"}, "at '/fullnameOverride': 'Eyes' does not match pattern"),
        (
            {"config": REDIS, "podDisruptionBudget": {"minAvailable": 1}},
            "fewer than the minimum number of pods, 1, found 1",
        ),
        ({"config": REDIS, "podDisruptionBudget": {"minAvailable": "100%"}}, "no node that runs one could be drained"),
        ({"config": REDIS, "podDisruptionBudget": {"maxUnavailable": 0}}, "expected at least 1, found 0"),
        ({"config": SHARED, "autoscaling": {"enabled": True, "minReplicas": 5}}, "at most autoscaling.maxReplicas"),
        (
            {"config": SHARED, "autoscaling": {"enabled": True, "targetCPU": "", "metrics": []}},
            "autoscaling.metrics: expected a metric to scale on",
        ),
        ({"config": SHARED, "keda": {"enabled": True, "minReplicas": 5}}, "at most keda.maxReplicas"),
        (
            {
                "config": {**SHARED, "sources": {"redis": {"url": "${URL}", "streams": ["orders"]}}},
                "keda": {"enabled": True},
            },
            "config.sources.redis.url: refers to ${URL}, which KEDA cannot read",
        ),
        (
            {"config": REDIS, "injection": {"enabled": True}},
            "has no MutatingAdmissionPolicy. It is on by default from Kubernetes 1.36",
        ),
    ],
)
def test_wrong_values_are_refused_with_a_reason(values, words):
    assert words in template(values, ok=False)


def _with(config: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    name, _, rest = path.partition(".")
    return {**config, name: _with(config.get(name, {}), rest, value) if rest else value}


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("api.token", "hush", ""),
        ("api.tokens", [{"name": "ci", "token": "hush", "role": "read"}], "[0].token"),
        ("registry.token", "hush", ""),
        ("registry.basic", {"username": "shop", "password": "hush"}, ".password"),
        ("sources.kafka.sasl.password", "hush", ""),
        ("sources.redis", {"url": "redis://:hush@valkey:6379/0", "streams": ["orders"]}, ".url"),
        ("index.redis.url", "rediss://shop:hush@valkey:6379/0", ""),
        ("registry", {"url": "https://shop:hush@registry"}, ".url"),
        ("exporters.zipkin.endpoint", "https://shop:hush@zipkin/api/v2/spans", ""),
        ("exporters.otlp", {"headers": {"Authorization": "Bearer hush"}}, ".headers.Authorization"),
        ("exporters.zipkin", {"endpoint": "http://z:9411", "headers": {"x-api-key": "hush"}}, ".headers.x-api-key"),
        ("sources.kafka.client", {"sasl_plain_password": "hush"}, ".sasl_plain_password"),
    ],
)
def test_secrets_are_accepted_as_references_only(path, value, named):
    base = {**KAFKA, "registry": {"url": "http://registry:8081"}}  # a directory takes no credentials
    complaint = template({"config": _with(base, path, value)}, ok=False)
    assert f"config.{path}{named}: expected a reference" in complaint
    assert "hush" not in complaint
    referred = json.loads(json.dumps(value).replace("hush", "${HUSH}"))
    assert "${HUSH}" in template({"config": _with(base, path, referred)})


def test_headers_without_secrets_are_accepted_as_text():
    headers = {"x-scope-orgid": "shop", "x-keyspace": "events"}
    assert "x-scope-orgid: shop" in template({"config": {**KAFKA, "exporters": {"otlp": {"headers": headers}}}})


def test_injected_configurations_accept_secrets_as_references_only():
    values = {"mode": "sidecar", "injection": {"enabled": True, "configs": {"shop": _with(REDIS, "api.token", "hush")}}}
    complaint = template(values, "--api-versions", POLICIES, ok=False)
    assert "injection.configs.shop.api.token: expected a reference" in complaint
    assert "hush" not in complaint


@pytest.mark.parametrize(("listener", "port"), [("api", 8425), ("health", 8426)])
def test_injected_configurations_use_the_ports_of_the_container(listener, port):
    configs = {"shop": _with(REDIS, f"{listener}.port", 9000)}
    values = {"mode": "sidecar", "injection": {"enabled": True, "configs": configs}}
    complaint = template(values, "--api-versions", POLICIES, ok=False)
    assert f"injection.configs.shop.{listener}.port: expected {port}, found 9000" in complaint


def _nulls() -> list[str]:
    """Return the paths of values that may be null."""
    fields = generate.schema()["properties"]

    def paths(fields: dict[str, Any], before: str = "") -> Any:
        for name, field in fields.items():
            if "null" in field.get("type", ()):
                yield before + name
            elif before + name not in ("config", "injection"):
                yield from paths(field.get("properties", {}), f"{before}{name}.")

    return list(paths(fields))


def test_null_is_the_same_as_empty():
    switched = ("serviceMonitor", "prometheusRule", "grafanaDashboard", "autoscaling")
    on = {"config": SHARED, "injection": MATRIX["injection-only"]["injection"]} | {
        name: {"enabled": True} for name in switched
    }
    nothing: dict[str, Any] = on
    for path in _nulls():
        nothing = _with(nothing, path, None)
    assert workload(rendered(nothing, "--api-versions", POLICIES))["kind"] == "Deployment"
