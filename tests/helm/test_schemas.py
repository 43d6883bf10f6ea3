"""What the chart renders is valid by the schemas of Kubernetes releases, of operators, and of KEDA's scalers."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm.charts import CHART, POLICIES, REDIS, SHARED, Manifest, of_kind, rendered
from tests.helm.matrix import MATRIX, NEEDS_DEFINITIONS
from tests.servers import kubernetes_definitions, kubernetes_tools

CARRIED = [f"1.{minor}" for minor in range(23, 31)]
"""Releases whose schemas kubectl-validate carries."""
POLICY_KINDS = ("MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding")
TLS = {"ca": "/etc/ssl/certs/ca.pem"}
Validate = Callable[..., subprocess.CompletedProcess[str]]


def _write(file: Path, manifests: list[Manifest], *without: str) -> None:
    file.write_text(yaml.safe_dump_all([one for one in manifests if one["kind"] not in without]))


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that the chart renders of the matrix, for a cluster without operators and policies."""
    folder = tmp_path_factory.mktemp("rendered")
    for name, values in MATRIX.items():
        _write(folder / f"{name}.yaml", rendered(values, "--api-versions", POLICIES), *POLICY_KINDS, *NEEDS_DEFINITIONS)
    return folder


def _validate(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [kubernetes_tools.program("kubectl-validate"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def _assert_valid(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-3_000:]


@pytest.mark.parametrize("version", [*CARRIED, *kubernetes_definitions.KUBERNETES_VERSIONS])
def test_it_is_valid_for_each_version_of_kubernetes(
    version: str, everything: Path, umbrella: Path, tmp_path: Path
) -> None:
    _write(tmp_path / "example.yaml", rendered({}, "--kube-version", version, chart=umbrella))
    if version in CARRIED:
        known: tuple[str | Path, ...] = ("--version", version)
    else:
        known = ("--version", "", "--local-schemas", kubernetes_definitions.releases(version))
    _assert_valid(_validate(everything, tmp_path, *known))


@pytest.mark.parametrize(("version", "api"), [("1.34", "v1beta1"), ("1.36", "v1"), ("1.37", "v1")])
def test_the_injection_policy_is_valid_where_there_are_policies(version: str, api: str, tmp_path: Path) -> None:
    policies = POLICIES.replace("v1beta1", api)
    manifests = rendered(MATRIX["injection-only"], "--api-versions", policies, "--kube-version", version)
    assert of_kind(manifests, POLICY_KINDS[0])["apiVersion"] == f"admissionregistration.k8s.io/{api}"
    _write(tmp_path / "injection.yaml", manifests, *NEEDS_DEFINITIONS)
    schemas = kubernetes_definitions.releases(version)
    _assert_valid(_validate(tmp_path, "--version", "", "--local-schemas", schemas))


@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_the_validator_refuses_what_is_wrong(version: str, everything: Path, tmp_path: Path) -> None:
    text = (everything / "redis.yaml").read_text()
    (tmp_path / "wrong.yaml").write_text(text.replace("automountServiceAccountToken", "automountServiceAccountTokens"))
    known: tuple[str | Path, ...] = ("--version", version)
    if version not in CARRIED:
        known = ("--version", "", "--local-schemas", kubernetes_definitions.releases(version))
    done = _validate(tmp_path, *known)
    assert done.returncode != 0
    assert "automountServiceAccountTokens" in done.stdout + done.stderr


# --- operators


@pytest.fixture(scope="module", params=kubernetes_definitions.KEDA_VERSIONS)
def operators(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The definitions of the kinds that operators bring, with those of one version of KEDA."""
    folder = tmp_path_factory.mktemp("definitions")
    for file in kubernetes_definitions.operators(request.param):
        shutil.copy(file, folder)
    return folder


def test_what_operators_define_is_valid_by_their_definitions(operators: Path, tmp_path: Path) -> None:
    relabeled = {"relabelings": [{"sourceLabels": ["__address__"], "targetLabel": "at"}], "enabled": True}
    fallback = {"failureThreshold": 3, "replicas": 2}
    advanced = {"horizontalPodAutoscalerConfig": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 600}}}}
    keda = {
        "enabled": True,
        "fallback": fallback,
        "advanced": advanced,
        "annotations": {"autoscaling.keda.sh/paused": "true"},
    }
    own = [{"config": REDIS, "serviceMonitor": relabeled}, {"config": SHARED, "keda": keda}]
    made = [one for values in (*MATRIX.values(), *own) for one in rendered(values, "--api-versions", POLICIES)]
    made = [one for one in made if one["kind"] in NEEDS_DEFINITIONS]
    assert {one["kind"] for one in made} == set(NEEDS_DEFINITIONS)
    _write(tmp_path / "all.yaml", made)
    _assert_valid(_validate(tmp_path, "--local-crds", operators, "--version", "1.30"))
    made[0]["spec"]["selectors"] = {}
    _write(tmp_path / "all.yaml", made)
    done = _validate(tmp_path, "--local-crds", operators, "--version", "1.30")
    assert done.returncode != 0
    assert "selectors" in done.stdout + done.stderr


def _kafka(**more: Any) -> dict[str, Any]:
    kafka = {"bootstrap_servers": "kafka:9092", "topics": ["orders"], **more}
    return {**SHARED, "sources": {"kafka": kafka}}


def _redis(url: str, **more: Any) -> dict[str, Any]:
    return {**SHARED, "sources": {"redis": {"url": url, "streams": ["orders"], **more}}}


SCRAM = {"mechanism": "SCRAM-SHA-512", "username": "t", "password": "${P}"}
BEARER = {"mechanism": "OAUTHBEARER", "token_endpoint": "https://idp", "client_id": "t", "client_secret": "${P}"}
SOURCES = {
    "kafka": _kafka(),
    "kafka-tls": _kafka(tls=TLS, start="earliest"),
    "kafka-scram": _kafka(sasl=SCRAM, tls={}),
    "kafka-plain": _kafka(sasl={**SCRAM, "mechanism": "PLAIN"}),
    "kafka-oauth": _kafka(sasl=BEARER, tls={}),
    "kafka-gate": _kafka(topics=[], gate={"orders.in": "orders"}, group_id="own"),
    "redis": _redis("redis://valkey/3"),
    "redis-tls": _redis("rediss://t:${P}@valkey:6380/3", tls=TLS),
    "redis-gate": _redis("redis://valkey", gate={"in": "out"}),
    "sentinel": _redis("rediss+sentinel://:${P}@s1:26379,s2/mymaster/2?sentinel_password=${S}"),
    "cluster": _redis("redis+cluster://c1:6379,c2"),
}


@pytest.mark.parametrize("version", kubernetes_definitions.KEDA_VERSIONS[-2:])
@pytest.mark.parametrize("name", SOURCES)
def test_keda_knows_every_key_of_a_trigger(name: str, version: str) -> None:
    keda = {"enabled": True, "authenticationRef": "broker"}
    triggers = of_kind(rendered({"config": SOURCES[name], "keda": keda}), "ScaledObject")["spec"]["triggers"]
    assert triggers
    for trigger in triggers:
        known = kubernetes_definitions.scalers(version)[trigger["type"]]
        for key, value in trigger["metadata"].items():
            assert known[key].get("metadataVariableReadable"), key
            assert value in known[key].get("allowedValue", [value]), key
        elsewhere = ("optional", "default", "triggerAuthenticationVariableReadable")
        required = {key for key, parameter in known.items() if not any(one in parameter for one in elsewhere)}
        assert required <= trigger["metadata"].keys()


@pytest.mark.parametrize("version", kubernetes_definitions.KEDA_VERSIONS)
def test_the_code_of_each_version_of_keda_reads_every_key(version: str) -> None:
    """Also that of versions which publish no schema."""
    sources = kubernetes_definitions.scaler_sources(version)
    keda = {"enabled": True, "authenticationRef": "broker"}
    for config in SOURCES.values():
        triggers = of_kind(rendered({"config": config, "keda": keda}), "ScaledObject")["spec"]["triggers"]
        for trigger in triggers:
            for key in trigger["metadata"]:
                assert re.search(rf'"{key}"|name={key}[,;]|;{key}[,;]', sources[trigger["type"]]), (
                    trigger["type"],
                    key,
                )


def test_the_readme_names_parameters_that_keda_reads_from_an_authentication() -> None:
    text = (CHART / "README.md").read_text()
    table = text.partition("| source | parameters |")[2].partition("\n\n")[0]
    scalers = kubernetes_definitions.scalers()
    for line in table.splitlines()[2:]:
        source, parameters = line.strip("| ").split(" | ")
        names = re.findall(r"`(\w+)`", parameters)
        assert names
        kinds = {"Kafka": ["kafka"], "Redis": ["redis-streams"]}.get(source.split()[0], ["kafka", "redis-streams"])
        kinds = ["redis-sentinel-streams"] if "Sentinel" in source else kinds
        for kind in kinds:
            for name in names:
                assert scalers[kind][name].get("triggerAuthenticationVariableReadable"), (kind, name)
