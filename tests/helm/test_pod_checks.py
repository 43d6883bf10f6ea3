"""Values that a cluster would drop, replace or refuse later are refused with their place; those near them are taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.helm.charts import POLICIES, REDIS, SHARED, container, rendered, service_chart, template, workload
from tests.helm.effects import INGRESS, MOUNTED
from tests.helm.matrix import ON

VOLUME = {"name": "v", "emptyDir": {}}
BESIDE: dict[str, Any] = {"mode": "sidecar", "image": {"repository": "tracecar"}, "config": REDIS}
POD = "{metadata: {labels: {app: web}, annotations: {a: b}}, spec: {containers: [{name: web}]}}"
DEPLOYMENT = f"\nkind: Deployment\napiVersion: apps/v1\nmetadata: {{name: web}}\nspec: {{template: {POD}}}\n"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"extraEnv": [{"name": "A", "value": "1"}] * 2}, "extraEnv: A is set already"),
        ({"extraEnv": [{"name": "HOME", "value": "/"}]}, "extraEnv: HOME is set already, by the chart"),
        (
            {"extraEnv": [{"name": "A", "value": "1", "valueFrom": {"fieldRef": {}}}]},
            "extraEnv: A: expected value or valueFrom, found both",
        ),
        (
            {"extraEnvFrom": [{"configMapRef": {"name": "a"}, "secretRef": {"name": "b"}}]},
            "extraEnvFrom[0]: expected configMapRef or secretRef, found both",
        ),
        ({"extraEnvFrom": [{"prefix": "A_"}]}, "extraEnvFrom[0]: expected configMapRef or secretRef, found neither"),
        ({"extraVolumes": [VOLUME, VOLUME]}, "extraVolumes: found the volume v twice"),
        ({"extraVolumes": [VOLUME]}, "extraVolumes: no container mounts the volume v"),
        (
            {"extraVolumes": [VOLUME], "extraVolumeMounts": [{"name": "v", "mountPath": "/etc/tracecar/config/x"}]},
            "/etc/tracecar/config/x is within a read-only mount of the chart",
        ),
        ({"commonLabels": {"app.kubernetes.io/name": "a"}}, "commonLabels: the label app.kubernetes.io/name has"),
        ({"podLabels": {"tracecar.io/sidecar": "a"}}, "podLabels: the label tracecar.io/sidecar has the chart's own"),
        ({"service": {"labels": {"helm.sh/chart": "a"}}}, "service.labels: the label helm.sh/chart has the chart's"),
        (
            {"serviceMonitor": {**ON, "labels": {"app.kubernetes.io/instance": "a"}}},
            "serviceMonitor.labels: the label app.kubernetes.io/instance",
        ),
        ({"strategy": {"type": "rollingupdate"}}, "strategy.type: expected RollingUpdate or Recreate for a Deployment"),
        (
            {"strategy": {"type": "Recreate"}, "workload": "StatefulSet"},
            "strategy.type: expected RollingUpdate or OnDelete for a StatefulSet, found Recreate",
        ),
        (
            {"strategy": {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}},
            "strategy.rollingUpdate: has no effect with the type Recreate",
        ),
        ({"dnsPolicy": "None"}, "dnsPolicy: None requires dnsConfig.nameservers"),
        ({"securityContext": {"runAsUser": 0}}, "securityContext: runAsUser is 0, which runAsNonRoot forbids"),
        (
            {"replicaCount": 3, "podDisruptionBudget": {"minAvailable": 1, "maxUnavailable": 2}},
            "podDisruptionBudget.maxUnavailable: has no effect with podDisruptionBudget.minAvailable",
        ),
        (
            {"autoscaling": {**ON, "targetCPUUtilizationPercentage": 70}},
            "expected resources.requests.cpu of 500m or more, found 100m",
        ),
        (
            {"autoscaling": {**ON, "targetCPUUtilizationPercentage": 70}, "resources": None},
            "expected resources.requests.cpu of 500m or more, found none",
        ),
        (
            {"service": {"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4", "IPv6"]}},
            "service.ipFamilies: expected one with the policy SingleStack, found IPv4 and IPv6",
        ),
        (
            {"prometheusRule": {**ON, "thresholds": {"TracecarLagGrows": {"for": "15"}}}},
            "prometheusRule.thresholds.TracecarLagGrows.for: expected a duration such as 30m, found 15",
        ),
        ({"extraObjects": [{"apiVersion": "v1", "kind": "Secret"}]}, "apiVersion, kind and metadata.name"),
        (
            {"serviceAccount": {"create": False, "annotations": {"role": "a"}}},
            "serviceAccount.annotations: has no effect without serviceAccount.create",
        ),
        (
            {"podMonitor": {**ON, "namespaceSelector": {"any": True, "matchNames": ["a"]}}},
            "podMonitor.namespaceSelector: expected any or matchNames, found both",
        ),
        (
            {"config": {**SHARED, "api": {"token_file": "/etc/token"}}},
            "config.api.token_file: the token that Tracecar generates cannot be written to /etc/token",
        ),
    ],
)
def test_what_would_be_dropped_or_replaced_is_refused(values: dict[str, Any], words: str) -> None:
    assert words in template({"config": SHARED, **values}, ok=False)


@pytest.mark.parametrize(
    "values",
    [
        {"extraEnv": [{"name": "A", "value": ""}, {"name": "TRACECAR_TOKEN", "value": "t"}]},
        {"extraVolumes": [VOLUME], "initContainers": [{"name": "i", "image": "i", "volumeMounts": [{"name": "v"}]}]},
        {"extraVolumes": [VOLUME], "extraVolumeMounts": [{"name": "v", "mountPath": "/etc/tracecar/more"}]},
        {"commonLabels": {"app.kubernetes.io/part-of": "shop", "app": ""}},
        {"global": {"imageRegistry": "[::1]:5000/mirror", "storageClass": "fast"}},
        {"serviceAccount": {"create": False, "name": "own"}},
        {"config": {**SHARED, "api": {"token_file": "/tmp/token"}}},
        {"strategy": {"rollingUpdate": {"maxSurge": 2}}},
        {"strategy": {"type": "OnDelete"}, "workload": "StatefulSet"},
        {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["10.0.0.1"]}},
        {"securityContext": {"runAsUser": 0, "runAsNonRoot": False}, "podSecurityContext": {"runAsNonRoot": False}},
        {"securityContext": {"runAsUser": 1000660000}},
        {"autoscaling": {**ON, "targetCPUUtilizationPercentage": 70}, "resources": {"requests": {"cpu": "0.5"}}},
        {"autoscaling": {**ON, "targetCPUUtilizationPercentage": 70}, "resources": {"requests": {"cpu": 2}}},
        {"extraObjects": [{"apiVersion": "v1", "kind": "List", "items": []}]},
        {"resources": {"requests": {"cpu": 0.5, "memory": "1.5Gi", "example.com/gpu": "1e3"}}},
    ],
)
def test_what_is_near_a_mistake_is_taken(values: dict[str, Any]) -> None:
    assert workload(rendered({"config": SHARED, **values}))


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"securityContext": {"readOnlyRootFilesytem": True}}, "/securityContext"),
        ({"securityContext": {"capabilities": {"dropp": ["ALL"]}}}, "/securityContext/capabilities"),
        ({"podSecurityContext": {"fsgroup": 1}}, "/podSecurityContext"),
        ({"affinity": {"podAntiafinity": {}}}, "/affinity"),
        ({"affinity": {"nodeAffinity": {"required": {}}}}, "/affinity/nodeAffinity"),
        ({"lifecycle": {"preStop": {"exe": {}}}}, "/lifecycle/preStop"),
        ({"lifecycle": {"preStop": {}}}, "/lifecycle/preStop"),
        ({"dnsConfig": {"nameserver": []}}, "/dnsConfig"),
        ({"dnsPolicy": "default"}, "/dnsPolicy"),
        ({"extraVolumes": [{"name": "v"}]}, "/extraVolumes/0"),
        ({"extraVolumes": [{"name": "v", "secretName": "s"}]}, "/extraVolumes/0"),
        ({"extraVolumeMounts": [{"name": "v", "mountPath": "ca"}]}, "/extraVolumeMounts/0/mountPath"),
        ({"extraEnv": [{"name": "9 A", "value": "1"}]}, "/extraEnv/0/name"),
        ({"extraEnv": [{"name": "A", "valueFrom": {"secretRef": {}}}]}, "/extraEnv/0/valueFrom"),
        ({"initContainers": [{"name": "i"}]}, "/initContainers/0"),
        ({"commonLabels": {"team": "Events & Co"}}, "/commonLabels/team"),
        ({"podLabels": {"team": "x" * 64}}, "/podLabels/team"),
        ({"nodeSelector": {"a": "b c"}}, "/nodeSelector/a"),
        ({"resources": {"requests": {"cpu": "100mm"}}}, "/resources/requests/cpu"),
        ({"image": {"repository": "Acme/Tracecar"}}, "/image/repository"),
        ({"image": {"repository": "a", "tag": "a b"}}, "/image/tag"),
        ({"probes": {"liveness": {"successThreshold": 3}}}, "/probes/liveness/successThreshold"),
        ({"keda": {**ON, "fallback": {"replicas": 2}}}, "/keda/fallback"),
        ({"keda": {**ON, "advanced": {"horizontalPodAutoscalerConfg": {}}}}, "/keda/advanced"),
        ({"keda": {**ON, "authenticationRef": {"name": ""}}}, "/keda/authenticationRef"),
        ({"networkPolicy": {"from": [{}]}}, "/networkPolicy/from/0"),
        ({"networkPolicy": {"egress": [{"to": [{"ipBlock": {"cdr": "10.0.0.0/8"}}]}]}}, "/networkPolicy/egress/0/to/0"),
        ({"service": {"ipFamilies": ["IPv4", "IPv4"]}}, "/service/ipFamilies"),
        ({"ingress": {"host": "https://a.example.org"}}, "/ingress/host"),
        ({"prometheusRule": {**ON, "groups": [{"rules": []}]}}, "/prometheusRule/groups/0"),
        ({"prometheusRule": {**ON, "runbookUrl": "runbooks"}}, "/prometheusRule/runbookUrl"),
        ({"serviceMonitor": {**ON, "namespace": "Monitoring"}}, "/serviceMonitor/namespace"),
        ({"global": {"imageRegistry": {"a": "b"}}}, "/global/imageRegistry"),
        ({"global": {"imagePullSecrets": "a"}}, "/global/imagePullSecrets"),
        ({"image": {"registry": "ghcr .io", "repository": "a"}}, "/image/registry"),
    ],
)
def test_typos_below_a_value_are_refused_with_their_path(values: dict[str, Any], place: str) -> None:
    assert f"at '{place}" in template({"config": SHARED, **values}, ok=False)


@pytest.mark.parametrize(("hosts", "fits"), [(["a.example.org"], True), (["*.example.org"], True), (["b.org"], False)])
def test_the_certificate_of_an_ingress_covers_its_host(hosts: list[str], fits: bool) -> None:
    values = {**INGRESS, "ingress": {**INGRESS["ingress"], "tls": [{"secretName": "tls", "hosts": hosts}]}}
    text = template(values, ok=fits)
    assert ("ingress.tls: no entry covers the host a.example.org" in text) is not fits


def test_an_injected_volume_is_mounted() -> None:
    values = {"mode": "injection", "extraVolumes": [VOLUME]}
    assert "no container mounts the volume v" in template(values, "--api-versions", POLICIES, ok=False)
    assert rendered({"mode": "injection", **MOUNTED}, "--api-versions", POLICIES)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"podLabels": {"app": "x"}},
            "tracecar.podLabels: the pod of the Deployment web has app already, with the value",
        ),
        ({"podAnnotations": {"a": "x"}}, "tracecar.podAnnotations: the pod of the Deployment web has a already"),
        ({"podLabels": {"tracecar.io/release": "x"}}, "tracecar.podLabels: the label tracecar.io/release"),
        ({"commonLabels": {"app.kubernetes.io/component": "x"}}, "tracecar.commonLabels: the label app.kubernetes.io"),
        ({"extraEnv": [{"name": "HOME", "value": "/"}]}, "tracecar.extraEnv: HOME is set already"),
    ],
)
def test_the_sidecar_replaces_nothing_of_the_service(values: dict[str, Any], words: str, tmp_path: Path) -> None:
    chart = service_chart(tmp_path / "shop", DEPLOYMENT)
    assert words in template({"tracecar": {**BESIDE, **values}}, chart=chart, ok=False)


def test_the_same_label_twice_is_no_conflict(tmp_path: Path) -> None:
    chart = service_chart(tmp_path / "shop", DEPLOYMENT)
    values = {**BESIDE, "podLabels": {"app": "web"}, "podAnnotations": {"a": "b"}}
    labels = workload(rendered({"tracecar": values}, chart=chart))["spec"]["template"]["metadata"]["labels"]
    assert labels["app"] == "web"


@pytest.mark.parametrize(("host", "url"), [("::1", "http://[::1]:8425"), ("127.0.0.1", "http://127.0.0.1:8425")])
def test_the_container_reaches_its_own_api(host: str, url: str) -> None:
    pod = workload(rendered({"config": {**REDIS, "api": {"host": host}}}))["spec"]["template"]["spec"]
    assert {"name": "TRACECAR_URL", "value": url} in container(pod)["env"]
