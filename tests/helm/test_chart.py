"""The chart as the real Helm renders it: what it makes of many values, what it refuses, what a release before gave."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from helm import generate
from tests.helm.charts import (
    CHART,
    KAFKA,
    POLICIES,
    REDIS,
    SHARED,
    container,
    example,
    helm,
    of_kind,
    rendered,
    template,
    workload,
)
from tests.helm.matrix import MATRIX, NEEDS_DEFINITIONS
from tests.servers import kubernetes_tools

VALIDATED = [f"1.{minor}" for minor in range(23, 31)]
RELEASES = sorted((Path(__file__).parent / "releases").glob("*/values.yaml"))


def test_what_is_generated_is_current():
    for file, text in generate.files().items():
        assert file.read_text("utf-8") == text, f"{file.name} is stale: run python -m helm.generate"


def test_every_value_is_documented():
    documented = {value.path for value in generate.values()}

    def leaves(path: str, value: Any) -> Any:
        if path in documented or not isinstance(value, dict):
            yield path
        else:
            for name, inner in value.items():
                yield from leaves(f"{path}.{name}" if path else name, inner)

    assert set(leaves("", yaml.safe_load((CHART / "values.yaml").read_text()))) == documented


def test_the_images_tag_is_the_charts_own_version():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    image = container(workload(rendered({"config": REDIS}))["spec"]["template"]["spec"])["image"]
    assert image == f"tracecar:{chart['appVersion']}"


@pytest.mark.parametrize("name", MATRIX)
def test_it_passes_the_strict_linter(name, tmp_path):
    values = tmp_path / "values.yaml"
    values.write_text(json.dumps(MATRIX[name]))
    assert "0 chart(s) failed" in helm("lint", "--strict", CHART, "-f", values, "--kube-version", "1.34")


def test_the_bare_chart_passes_it_too():
    assert "0 chart(s) failed" in helm("lint", "--strict", CHART)


@pytest.fixture(scope="module")
def umbrella(tmp_path_factory) -> Path:
    return example(tmp_path_factory.mktemp("example") / "helm")


def _write(file: Path, manifests: list[dict[str, Any]]) -> None:
    """All that a cluster without operators knows, and whose schema the validator carries."""
    later = ("MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding", *NEEDS_DEFINITIONS)
    file.write_text(yaml.safe_dump_all([one for one in manifests if one["kind"] not in later]))


@pytest.fixture(scope="module")
def everything(tmp_path_factory) -> Path:
    """All that the chart renders of the matrix."""
    folder = tmp_path_factory.mktemp("rendered")
    for name, values in MATRIX.items():
        _write(folder / f"{name}.yaml", rendered(values, "--api-versions", POLICIES))
    return folder


@pytest.mark.parametrize("version", VALIDATED)
def test_it_is_valid_for_each_version_of_kubernetes(version, everything, umbrella, tmp_path):
    _write(tmp_path / "example.yaml", rendered({}, "--kube-version", version, chart=umbrella))
    validate = kubernetes_tools.program("kubectl-validate")
    done = subprocess.run(
        [validate, str(everything), str(tmp_path), "--version", version],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-3_000:]


@pytest.fixture(scope="module")
def operators(tmp_path_factory) -> Path:
    """The definitions of the kinds that operators bring."""
    folder = tmp_path_factory.mktemp("definitions")
    for file in kubernetes_tools.definitions():
        shutil.copy(file, folder)
    return folder


def _validated(operators: Path, folder: Path, manifests: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    (folder / "all.yaml").write_text(yaml.safe_dump_all(manifests))
    command = [kubernetes_tools.program("kubectl-validate"), str(folder), "--local-crds", str(operators)]
    return subprocess.run([*command, "--version", "1.30"], capture_output=True, text=True, timeout=120, check=False)


def test_what_operators_define_is_valid_by_their_definitions(operators, tmp_path):
    relabelled = {"relabelings": [{"sourceLabels": ["__address__"], "targetLabel": "at"}], "enabled": True}
    cases = [*MATRIX.items(), ("relabelled", {"config": REDIS, "serviceMonitor": relabelled})]
    made = [one for _, values in cases for one in rendered(values, "--api-versions", POLICIES)]
    made = [one for one in made if one["kind"] in NEEDS_DEFINITIONS]
    assert {one["kind"] for one in made} == set(NEEDS_DEFINITIONS)
    done = _validated(operators, tmp_path, made)
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-3_000:]
    made[0]["spec"]["selectors"] = {}
    done = _validated(operators, tmp_path, made)
    assert done.returncode != 0
    assert "selectors" in done.stdout + done.stderr


def test_the_validator_refuses_what_is_wrong(everything, tmp_path):
    text = (everything / "redis.yaml").read_text()
    (tmp_path / "wrong.yaml").write_text(text.replace("automountServiceAccountToken", "automountServiceAccountTokens"))
    validate = kubernetes_tools.program("kubectl-validate")
    done = subprocess.run([validate, str(tmp_path), "--version", "1.30"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "automountServiceAccountTokens" in done.stdout + done.stderr


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
def test_wrong_values_are_refused_in_words(values, words):
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
def test_no_secret_itself_is_ever_taken(path, value, named):
    complaint = template({"config": _with(KAFKA, path, value)}, ok=False)
    assert f"config.{path}{named}: expected a reference" in complaint
    assert "hush" not in complaint
    referred = json.loads(json.dumps(value).replace("hush", "${HUSH}"))
    assert "${HUSH}" in template({"config": _with(KAFKA, path, referred)})


def test_headers_that_are_no_secret_are_taken_as_they_are():
    headers = {"x-scope-orgid": "shop", "x-keyspace": "events"}
    assert "x-scope-orgid: shop" in template({"config": {**KAFKA, "exporters": {"otlp": {"headers": headers}}}})


def test_nor_in_what_is_injected():
    values = {"mode": "sidecar", "injection": {"enabled": True, "configs": {"shop": _with(REDIS, "api.token", "hush")}}}
    complaint = template(values, "--api-versions", POLICIES, ok=False)
    assert "injection.configs.shop.api.token: expected a reference" in complaint
    assert "hush" not in complaint


@pytest.mark.parametrize(("listener", "port"), [("api", 8425), ("health", 8426)])
def test_what_is_injected_listens_where_its_container_says(listener, port):
    configs = {"shop": _with(REDIS, f"{listener}.port", 9000)}
    values = {"mode": "sidecar", "injection": {"enabled": True, "configs": configs}}
    complaint = template(values, "--api-versions", POLICIES, ok=False)
    assert f"injection.configs.shop.{listener}.port: expected {port}, found 9000" in complaint


def _nulls() -> list[str]:
    """The values that may be null."""
    fields = generate.schema()["properties"]

    def paths(fields: dict[str, Any], before: str = "") -> Any:
        for name, field in fields.items():
            if "null" in field.get("type", ()):
                yield before + name
            if before + name not in ("config", "injection"):
                yield from paths(field.get("properties", {}), f"{before}{name}.")

    return list(paths(fields))


def test_what_may_be_null_is_as_if_it_were_empty():
    switched = ("serviceMonitor", "prometheusRule", "grafanaDashboard", "autoscaling")
    on = {"config": SHARED, "injection": MATRIX["injection-only"]["injection"]} | {
        name: {"enabled": True} for name in switched
    }
    nothing: dict[str, Any] = on
    for path in _nulls():
        nothing = _with(nothing, path, None)
    assert workload(rendered(nothing, "--api-versions", POLICIES))["kind"] == "Deployment"


def test_annotations_of_ones_own_win_and_stand_there_once():
    name = "kubectl.kubernetes.io/default-container"
    text = template({"config": REDIS, "podAnnotations": {name: "more"}})
    assert text.count(name) == 1


def test_helm_test_reaches_what_the_network_policy_closes():
    manifests = rendered(MATRIX["closed"])
    (test,) = [one for one in manifests if one["kind"] == "Pod"]
    peers = [peer for rule in of_kind(manifests, "NetworkPolicy")["spec"]["ingress"] for peer in rule["from"]]
    (own,) = [peer["podSelector"]["matchLabels"] for peer in peers if "podSelector" in peer]
    assert own.items() <= test["metadata"]["labels"].items()


def test_helm_test_runs_where_the_pods_may():
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


def test_the_alerts_and_the_dashboard_that_come_with_it():
    manifests = rendered(MATRIX["monitored"])
    groups = of_kind(manifests, "PrometheusRule")["spec"]["groups"]
    shipped = yaml.safe_load((CHART / "rules" / "tracecar.yaml").read_text())["groups"]
    assert groups == [*shipped, {"name": "own", "rules": [{"alert": "A", "expr": "vector(1)"}]}]
    (dashboards,) = [one for one in manifests if "grafana_dashboard" in one["metadata"]["labels"]]
    for file in (CHART / "dashboards").glob("*.json"):
        assert dashboards["data"][file.name] == file.read_text()
    (endpoint,) = of_kind(manifests, "ServiceMonitor")["spec"]["endpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("http-health", "/metrics")


def test_keda_scales_on_the_lag_of_the_group_that_is_configured():
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


def test_keda_is_told_of_tls_and_of_the_database():
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


def test_in_one_line_it_is_what_it_is_part_by_part(umbrella):
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
def test_the_one_line_wants_a_workload(umbrella, tmp_path, body, found):
    chart = shutil.copytree(umbrella / "charts" / "payments", tmp_path / "payments")
    (chart / "templates" / "_deployment.tpl").write_text(f'{{{{ define "payments.deployment" }}}}{body}{{{{ end }}}}')
    complaint = template({}, chart=chart, ok=False)
    assert found in complaint


def test_the_one_line_adds_it_once(umbrella, tmp_path):
    chart = shutil.copytree(umbrella / "charts" / "payments", tmp_path / "payments")
    file = chart / "templates" / "_deployment.tpl"
    file.write_text(
        file.read_text().replace("name: {{ .Chart.Name }}\n          image", "name: tracecar\n          image")
    )
    pod = workload(rendered({}, chart=chart))["spec"]["template"]["spec"]
    assert "initContainers" not in pod


def test_beside_a_service_it_neither_holds_up_nor_unreadies_the_pod(umbrella):
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


def test_a_chart_that_includes_it_without_depending_on_it_is_told(tmp_path):
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("{apiVersion: v2, name: alone, version: 0.1.0}")
    for name in ("_sidecar.tpl", "_config.tpl", "_container.tpl", "_names.tpl"):
        (tmp_path / "templates" / name).write_text((CHART / "templates" / name).read_text())
    (tmp_path / "templates" / "pod.yaml").write_text('{{ include "tracecar.sidecar" . }}')
    assert "expected Tracecar's values under the key `tracecar`" in template({}, chart=tmp_path, ok=False)


@pytest.mark.parametrize("values", RELEASES, ids=[file.parent.name for file in RELEASES])
def test_the_values_of_each_release_still_render(values):
    """An upgrade with `--reuse-values` gives all values of the release before."""
    old = yaml.safe_load(values.read_text())
    for name in ("redis", "kafka", "everything"):
        assert workload(rendered({**old, **MATRIX[name]}))["kind"] == "Deployment"
