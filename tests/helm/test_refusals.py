"""Mistakes in values are refused with the value's place, what was expected, and what to do."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from sidecar.config.loader import loads
from sidecar.domain.errors import ConfigError
from tests.helm.charts import KAFKA, POLICIES, REDIS, SHARED, of_kind, rendered, template
from tests.helm.effects import INGRESS, OPEN_API

ON = {"enabled": True}
INJECTED = {"mode": "injection", "injection": {"configs": {"shop": REDIS}}}


def _redis(**more: Any) -> dict[str, Any]:
    return {**REDIS, "sources": {"redis": {**REDIS["sources"]["redis"], **more}}}


def _kafka(**more: Any) -> dict[str, Any]:
    return {**SHARED, "sources": {"kafka": {"bootstrap_servers": "kafka:9092", "topics": ["orders"], **more}}}


SASL = {"mechanism": "PLAIN", "username": "tracecar"}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (_kafka(sasl={**SASL, "password": "hush"}), "config.sources.kafka.sasl.password: expected a reference"),
        (_kafka(sasl={**SASL, "password": "${P:-hush}"}), "found a literal secret after `:-`"),
        (
            _redis(url="redis://:${P:-hush}@valkey:6379"),
            "config.sources.redis.url: expected a reference without a default",
        ),
        (_redis(url="redis+sentinel://s1/m?sentinel_password=hush"), "config.sources.redis.url: expected a reference"),
        (
            {**REDIS, "registry": {"url": ["http://r", "http://u:hush@r"]}},
            "config.registry.url[1]: expected a reference",
        ),
        (
            _kafka(tls={"key": "-----BEGIN PRIVATE KEY-----\nhush"}),
            "config.sources.kafka.tls.key: expected a reference",
        ),
        ({**REDIS, "api": {"tokens": [{"name": "ci", "token": "hush", "role": "read"}]}}, "config.api.tokens[0].token"),
    ],
)
def test_no_literal_secret_is_taken_wherever_it_is(config: dict[str, Any], words: str) -> None:
    complaint = template({"config": config, "existingSecret": "s"}, ok=False)
    assert words in complaint
    assert "hush" not in complaint


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            {**REDIS, "registry": {"url": "http://r", "directory": "/etc/tracecar/schemas"}},
            "config.registry: expected url or directory, found both",
        ),
        ({**REDIS, "registry": {"require": True}}, "config.registry.require: expected a registry"),
        (
            {**REDIS, "registry": {"url": "http://r", "token": "${T}", "basic": {"username": "u", "password": "${P}"}}},
            "config.registry: expected basic or token, found both",
        ),
        ({**SHARED, "index": {**SHARED["index"], "memory": {}}}, "config.index: expected memory or redis, found both"),
        (
            {**_redis(gate={"in": "out"}), "dead_letters": {"enabled": False}},
            "config.dead_letters.enabled: expected true, because sources.redis.gate would lose every event",
        ),
        (
            _kafka(tls={"key": "${K}"}),
            "config.sources.kafka.tls.cert: expected the certificate that belongs to the key",
        ),
        (_kafka(sasl={"mechanism": "OAUTHBEARER"}), "config.sources.kafka.sasl.token_endpoint: expected some text"),
        (_kafka(sasl=SASL), "config.sources.kafka.sasl.password: expected some text, for PLAIN, found nothing"),
        (
            _kafka(sasl={**SASL, "password": "${P}", "scope": "s"}),
            "config.sources.kafka.sasl.scope: expected no such key with PLAIN, found a value",
        ),
    ],
)
def test_keys_that_exclude_or_need_one_another_are_refused(config: dict[str, Any], words: str) -> None:
    """As Tracecar refuses them when it starts."""
    assert words in template({"config": config, "existingSecret": "s"}, ok=False)
    expected = words.removeprefix("config.").partition(":")[0]
    with pytest.raises(ConfigError, match=re.escape(expected)):
        loads(json.dumps(config), {"T": "t" * 20, "P": "p", "K": "/k"})


def test_an_escaped_reference_is_none() -> None:
    assert rendered(
        {"config": {**REDIS, "redact": ["body:a"], "envelope": {"type": ["header:$${x}"]}}, "existingSecret": ""}
    )


@pytest.mark.parametrize(
    ("config", "path"),
    [
        (_kafka(tls={"ca": "/etc/kafka/ca.crt"}), "sources.kafka.tls.ca"),
        (_redis(tls={"cert": "client.pem"}), "sources.redis.tls.cert"),
        ({**REDIS, "registry": {"url": "https://r", "tls": {"ca": "/ca/ca.crt"}}}, "registry.tls.ca"),
        (
            {**REDIS, "exporters": {"otlp": {"endpoint": "https://o", "tls": {"key": "/ca/key"}}}},
            "exporters.otlp.tls.key",
        ),
        ({**REDIS, "registry": {"directory": "./schemas"}}, "registry.directory"),
    ],
)
def test_a_file_that_no_volume_holds_is_refused(config: dict[str, Any], path: str) -> None:
    assert f"config.{path}: nothing is mounted at" in template({"config": config}, ok=False)


def test_a_history_needs_a_volume_or_a_bucket() -> None:
    config = {**REDIS, "history": {"url": "/history/shop"}}
    assert "config.history.url: no volume is mounted at /history/shop" in template({"config": config}, ok=False)
    volume = {"name": "history", "persistentVolumeClaim": {"claimName": "history"}}
    mounts = [{"name": "history", "mountPath": "/history"}]
    assert rendered({"config": config, "extraVolumes": [volume], "extraVolumeMounts": mounts})
    assert rendered({"config": {**REDIS, "history": {"url": "s3://events/shop"}}})


def test_files_within_mounts_and_the_image_are_taken() -> None:
    config = _kafka(
        tls={"ca": "/etc/ssl/certs/ca-certificates.crt", "cert": "/etc/kafka/user.crt", "key": "${KEY_FILE}"}
    )
    volumes = {
        "extraVolumes": [{"name": "user", "secret": {"secretName": "u"}}],
        "extraVolumeMounts": [{"name": "user", "mountPath": "/etc/kafka/"}],
    }
    assert rendered({"config": config, **volumes})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"config": {**REDIS, "api": {"port": 0}}},
            "config.api.port: expected a port, which the pod names too, found 0",
        ),
        ({"config": {**REDIS, "health": {"port": "${P:-1}"}}}, "config.health.port: expected a port"),
        ({"config": {**REDIS, "health": {"port": None}}}, "config.health.port: expected a port"),
        ({"config": {**REDIS, "api": {"port": 8426}}}, "expected two ports, found 8426 for both"),
        ({**OPEN_API, "service": {"port": 8426}}, "service.port: expected another port than that of the health check"),
        (
            {"config": REDIS, "service": {"type": "LoadBalancer"}},
            "service.type: has no effect, because the API listens",
        ),
        ({"config": REDIS, "service": {"port": 80}}, "service.port: has no effect, because the API listens"),
        (
            {"config": REDIS, "networkPolicy": {"apiFrom": [{"podSelector": {}}]}},
            "networkPolicy.apiFrom: has no effect, because the API",
        ),
        ({**INGRESS, "networkPolicy": {}}, "networkPolicy.apiFrom is required with an ingress"),
        (
            {**OPEN_API, "existingSecret": "", "extraEnv": [{"name": "OTHER", "value": "x"}]},
            "config.api.host: the API is open to the network, which needs a token that you know",
        ),
    ],
)
def test_ports_and_listeners_that_cannot_work_are_refused(values: dict[str, Any], words: str) -> None:
    assert words in template(values, ok=False)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ({"repository": "ghcr.io/acme/tracecar:1"}, "image.repository: expected a name without a tag or digest"),
        ({"repository": "tracecar@sha256:abc"}, "image.repository: expected a name without a tag or digest"),
        ({"registry": "https://ghcr.io", "repository": "a"}, "expected a name without a scheme, found https://ghcr.io"),
    ],
)
def test_names_of_images_are_checked(image: dict[str, str], words: str) -> None:
    assert words in template({"config": REDIS, "image": image}, ok=False)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"extraVolumes": [{"name": "tracecar-tmp", "emptyDir": {}}]},
            "names that begin with tracecar- belong to the chart",
        ),
        ({"extraVolumeMounts": [{"name": "v", "mountPath": "/v"}]}, "extraVolumeMounts: there is no volume v"),
        (
            {
                "extraVolumes": [{"name": "v", "emptyDir": {}}],
                "extraVolumeMounts": [{"name": "v", "mountPath": "/tmp/"}],
            },
            "something is mounted at /tmp/ already",
        ),
        ({"extraContainers": [{"name": "tracecar", "image": "a"}]}, "expected different names, found tracecar twice"),
        (
            {"extraObjects": ["just text"]},
            'extraObjects: expected manifests with apiVersion, kind and metadata.name, found "just text"',
        ),
        (
            {"serviceMonitor": {**ON, "interval": "5s"}},
            "serviceMonitor.scrapeTimeout: expected at most the interval, 5s",
        ),
        (
            {"prometheusRule": {**ON, "thresholds": {"TracecarLagGrows": {"value": "lots"}}}},
            "prometheusRule.thresholds.TracecarLagGrows.value: expected a number, found lots",
        ),
        (
            {"probes": {"liveness": {"exec": {"command": ["a"]}, "tcpSocket": {"port": 1}}}},
            "probes.liveness: expected one handler, found exec and tcpSocket",
        ),
        ({"config": {**REDIS, "api": {"tokens": [None]}}}, "config.api.tokens[0]: expected a value, found nothing"),
        ({"fullnameOverride": "a.b"}, "the name a.b, made of the release's, cannot be that of a Service"),
    ],
)
def test_what_the_api_server_would_refuse_later_is_refused_now(values: dict[str, Any], words: str) -> None:
    assert words in template({"config": REDIS, **values}, ok=False)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"replicas": 3}, "properties 'replicaCount instead of replicas' required, if 'replicas' exists"),
        ({"image": {"name": "a"}}, "properties 'image.repository instead of name' required"),
        ({"resources": {"limit": {}}}, "at '/resources': additional properties 'limit' not allowed"),
        ({"resources": "512Mi"}, "at '/resources': got string, want null or object"),
        ({"probes": {"liveness": {"periodSecond": 1}}}, "at '/probes/liveness': additional properties 'periodSecond'"),
        ({"extraEnv": [{"name": "A", "value": 1}]}, "at '/extraEnv/0/value': got number, want null or string"),
        ({"extraEnv": {"A": "b"}}, "at '/extraEnv': got object, want null or array"),
        ({"tolerations": [{"opera": "Exists"}]}, "at '/tolerations/0': additional properties 'opera' not allowed"),
        ({"keda": {**ON, "triggers": [{"type": "cron", "metadata": {"a": 1}}]}}, "got number, want string"),
        ({"autoscaling": {"minReplicas": 0}}, "at '/autoscaling/minReplicas': minimum: got 0, want 1"),
        ({"serviceMonitor": {"interval": "30"}}, "at '/serviceMonitor/interval': '30' does not match pattern"),
        ({"commonLabels": {"a": 1}}, "at '/commonLabels/a': got number, want null or string"),
        ({"mode": "side-car"}, "at '/mode': value must be one of 'standalone', 'sidecar', 'injection'"),
    ],
)
def test_typos_and_types_are_refused_with_their_path(values: dict[str, Any], words: str) -> None:
    assert words in template({"config": REDIS, **values}, ok=False)


# --- injection


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"injection": {"configs": {"shop": _redis(gate={"orders.in": "orders"})}}},
            "injection.configs.shop.sources.redis.gate: expected no gate",
        ),
        ({"injection": {"configs": {"Shop_1": REDIS}}}, "injection.configs.Shop_1: expected the name of a ConfigMap"),
        (
            {"injection": {"configs": {"shop": _kafka(tls={"ca": "/ca"})}}},
            "injection.configs.shop.sources.kafka.tls.ca",
        ),
        ({"extraVolumeMounts": [{"name": "v", "mountPath": "/v"}]}, "extraVolumeMounts: there is no volume v"),
        ({"probes": {"liveness": {"periodSeconds": 1}}}, "probes.liveness: has no effect in mode injection"),
    ],
)
def test_mistakes_in_injection_are_refused(values: dict[str, Any], words: str) -> None:
    assert words in template({**INJECTED, **values}, "--api-versions", POLICIES, ok=False)


def test_injected_volumes_cannot_collide_with_those_of_a_pod() -> None:
    volume = {"name": "ca", "csi": {"driver": "d", "volumeAttributes": {"secretProviderClass": "x"}}}
    mount = {"name": "ca", "mountPath": "/ca"}
    values = {**INJECTED, "extraVolumes": [volume], "extraVolumeMounts": [mount]}
    policy = of_kind(rendered(values, "--api-versions", POLICIES), "MutatingAdmissionPolicy")["spec"]
    (mutation,) = policy["mutations"]
    expression = mutation["jsonPatch"]["expression"]
    assert expression.count('name: "tracecar-ca"') == 2
    assert 'name: "ca"' not in expression
    assert 'volumeAttributes: {"secretProviderClass": "x"}' in expression
    assert {one["name"] for one in policy["matchConditions"]} >= {"has-none-yet", "ports-are-free"}


# --- scaling


def test_keda_scales_on_what_a_gate_reads() -> None:
    config = _kafka(topics=[], gate={"orders.in": "orders"})
    (trigger,) = of_kind(rendered({"config": config, "keda": ON}), "ScaledObject")["spec"]["triggers"]
    assert trigger["metadata"]["topic"] == "orders.in"


def test_keda_takes_a_cluster_trigger_authentication_and_large_numbers() -> None:
    reference = {"name": "broker", "kind": "ClusterTriggerAuthentication"}
    keda = {**ON, "authenticationRef": reference, "lagThreshold": 1_000_000}
    (trigger,) = of_kind(rendered({"config": KAFKA, "keda": keda}), "ScaledObject")["spec"]["triggers"]
    assert trigger["authenticationRef"] == reference
    assert trigger["metadata"]["lagThreshold"] == "1000000"


def test_keda_may_get_tls_from_its_authentication() -> None:
    """KEDA refuses `enableTLS` beside the parameter `tls` of a TriggerAuthentication."""
    text = json.dumps(of_kind(rendered({"config": SHARED, "keda": ON}), "ScaledObject"))
    assert "enableTLS" not in text


@pytest.mark.parametrize(
    ("config", "keda", "words"),
    [
        (_kafka(tls={"check_hostname": False}), ON, "KEDA cannot leave out the check of the host name alone"),
        (_redis(url="unix:///run/redis.sock") | {"index": SHARED["index"]}, ON, 'URL with the scheme "unix"'),
        (
            SHARED,
            {**ON, "authenticationRef": "a", "triggers": [{"type": "cron", "metadata": {"timezone": "UTC"}}]},
            "keda.authenticationRef: has no effect with keda.triggers",
        ),
        (_kafka(group_id="${GROUP}"), ON, "config.sources.kafka.group_id: refers to ${GROUP}, which KEDA cannot read"),
    ],
)
def test_what_keda_cannot_do_is_refused(config: dict[str, Any], keda: dict[str, Any], words: str) -> None:
    assert words in template({"config": config, "keda": keda}, ok=False)


def test_one_pod_at_most_needs_no_shared_index() -> None:
    assert rendered({"config": REDIS, "keda": {**ON, "minReplicas": 0, "maxReplicas": 1}})
