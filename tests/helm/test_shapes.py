"""The closed shapes of values have the fields of the newest Kubernetes and KEDA that the tests know."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from helm import generate, kubernetes_shapes
from tests.servers import kubernetes_definitions

NEWEST = list(kubernetes_definitions.KUBERNETES_VERSIONS)[-1]
POD = generate.schema()["properties"]
PEER = POD["networkPolicy"]["properties"]["from"]["items"]
SHAPES: dict[str, tuple[Any, set[str]]] = {
    "Affinity": (POD["affinity"], set()),
    "NodeAffinity": (POD["affinity"]["properties"]["nodeAffinity"], set()),
    "PodAntiAffinity": (POD["affinity"]["properties"]["podAntiAffinity"], set()),
    "SecurityContext": (POD["securityContext"], set()),
    "Capabilities": (POD["securityContext"]["properties"]["capabilities"], set()),
    "PodSecurityContext": (POD["podSecurityContext"], set()),
    "PodDNSConfig": (POD["dnsConfig"], set()),
    "HostAlias": (POD["hostAliases"]["items"], set()),
    "Toleration": (POD["tolerations"]["items"], set()),
    "Lifecycle": (POD["lifecycle"], set()),
    "LifecycleHandler": (POD["lifecycle"]["properties"]["preStop"], set()),
    "Probe": (POD["probes"]["properties"]["liveness"], {"enabled"}),
    "HTTPGetAction": (kubernetes_shapes.HTTP_GET, set()),
    "EnvVar": (POD["extraEnv"]["items"], set()),
    "EnvVarSource": (POD["extraEnv"]["items"]["properties"]["valueFrom"], set()),
    "EnvFromSource": (POD["extraEnvFrom"]["items"], set()),
    "Volume": (POD["extraVolumes"]["items"], set()),
    "VolumeMount": (POD["extraVolumeMounts"]["items"], set()),
    "ResourceRequirements": (POD["resources"], set()),
}
ELSEWHERE: dict[str, tuple[str, Any]] = {
    "io.k8s.api.networking.v1.NetworkPolicyPeer": ("networking.k8s.io/v1", PEER),
    "io.k8s.api.networking.v1.IPBlock": ("networking.k8s.io/v1", PEER["properties"]["ipBlock"]),
    "io.k8s.api.networking.v1.NetworkPolicyEgressRule": (
        "networking.k8s.io/v1",
        POD["networkPolicy"]["properties"]["egress"]["items"],
    ),
    "io.k8s.api.networking.v1.IngressTLS": (
        "networking.k8s.io/v1",
        POD["ingress"]["properties"]["tls"]["items"],
    ),
    "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerBehavior": (
        "autoscaling/v2",
        POD["autoscaling"]["properties"]["behavior"],
    ),
}


def _fields(group: str, name: str) -> set[str]:
    place = f"api/{group}" if group == "v1" else f"apis/{group}"
    file = kubernetes_definitions.releases(NEWEST) / f"{place}.json"
    return set(json.loads(file.read_text())["components"]["schemas"][name]["properties"])


@pytest.mark.parametrize("kind", SHAPES)
def test_fields_of_a_pod(kind: str) -> None:
    shape, own = SHAPES[kind]
    assert set(shape["properties"]) - own == _fields("v1", f"io.k8s.api.core.v1.{kind}")
    assert shape["additionalProperties"] is False


@pytest.mark.parametrize("name", ELSEWHERE)
def test_fields_of_other_objects(name: str) -> None:
    group, shape = ELSEWHERE[name]
    assert set(shape["properties"]) == _fields(group, name)


def test_fields_of_a_scaled_object() -> None:
    (file,) = [path for path in kubernetes_definitions.operators() if path.name == "keda.sh_scaledobjects.yaml"]
    versions = yaml.safe_load(file.read_text())["spec"]["versions"]
    spec = versions[0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    for name in ("advanced", "fallback"):
        assert set(POD["keda"]["properties"][name]["properties"]) == set(spec[name]["properties"]), name
    trigger = spec["triggers"]["items"]["properties"]
    assert set(POD["keda"]["properties"]["triggers"]["items"]["properties"]) == set(trigger)
