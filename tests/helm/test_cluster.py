"""The chart on a real API server, in namespaces that enforce the restricted Pod Security Standard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.cli import kubectl
from sidecar.domain.errors import Refused
from tests.helm.charts import (
    CHART,
    REDIS,
    SHARED,
    container,
    example,
    of_kind,
    rendered,
    template,
    workload,
)
from tests.helm.matrix import MATRIX, NEEDS_DEFINITIONS
from tests.servers.kafka import unique
from tests.servers.kubernetes import Kubernetes

POLICY = "mutatingadmissionpolicy"


@pytest.fixture
def namespace(kubernetes: Kubernetes) -> str:
    return kubernetes.namespace(unique("events"))


def _values(directory: Path, values: Any) -> str:
    file = directory / f"{unique('values')}.yaml"
    file.write_text(json.dumps({"image": {"repository": "tracecar"}, **values}))
    return str(file)


def test_install_upgrade_rollback_uninstall(kubernetes, namespace, tmp_path):
    def helm(*arguments: str) -> str:
        return kubernetes.run("helm", *arguments, "-n", namespace)

    def deployment() -> Any:
        return kubernetes.get("deployment", "eyes-tracecar", namespace=namespace)

    notes = helm("install", "eyes", str(CHART), "-f", _values(tmp_path, {"config": REDIS}))
    assert f"tracecar tui --kube deployment/eyes-tracecar -n {namespace}" in notes
    first = deployment()
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hidden", "namespace": namespace}}
    kubernetes.apply({**secret, "stringData": {"TRACECAR_TOKEN": "one"}})
    more = _values(tmp_path, {"config": SHARED, "replicaCount": 3, "existingSecret": "hidden"})
    assert "kubectl get secret hidden" in helm("upgrade", "eyes", str(CHART), "-f", more)
    second = deployment()
    assert second["spec"]["replicas"] == 3

    def sums(one: Any) -> dict[str, str]:
        annotations = one["spec"]["template"]["metadata"]["annotations"]
        return {name: value for name, value in annotations.items() if name.startswith("checksum/")}

    assert sums(first)["checksum/tracecar-config"] != sums(second)["checksum/tracecar-config"]
    patch = json.dumps({"stringData": {"TRACECAR_TOKEN": "two"}})
    kubernetes.run("kubectl", "patch", "secret", "hidden", "-n", namespace, "-p", patch)
    helm("upgrade", "eyes", str(CHART), "-f", more)
    assert sums(deployment())["checksum/tracecar-secret"] != sums(second)["checksum/tracecar-secret"]
    same = _values(tmp_path, {"config": SHARED, "replicaCount": 3, "existingSecret": "hidden", "secretChecksum": False})
    helm("upgrade", "eyes", str(CHART), "-f", same)
    assert "checksum/tracecar-secret" not in sums(deployment())
    # A Secret without that key leaves each pod its generated token.
    kubernetes.apply({**secret, "metadata": {"name": "other", "namespace": namespace}, "stringData": {"P": "1"}})
    other = _values(tmp_path, {"config": SHARED, "replicaCount": 3, "existingSecret": "other"})
    assert "-- cat /var/lib/tracecar/.local/state/tracecar/token" in helm("upgrade", "eyes", str(CHART), "-f", other)
    helm("rollback", "eyes", "1")
    assert deployment()["spec"]["template"] == first["spec"]["template"]
    helm("uninstall", "eyes")
    left = kubernetes.get("all,configmap,networkpolicy,pdb", namespace=namespace)["items"]
    assert [one["metadata"]["name"] for one in left if one["metadata"]["name"].startswith("eyes")] == []


def _pod(name: str, namespace: str, spec: Any, **labels: str) -> dict[str, Any]:
    about = {"name": name, "namespace": namespace, "labels": labels}
    # There are no controllers to create accounts, and no priority or runtime classes.
    spec = {key: value for key, value in spec.items() if key not in ("priorityClassName", "runtimeClassName")}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": {**spec, "serviceAccountName": "default"}}


def test_each_pod_passes_the_restricted_standard(kubernetes, namespace, tmp_path):
    umbrella = example(tmp_path / "helm")
    all_of_it = {name: rendered(values) for name, values in MATRIX.items() if name != "injection-only"}
    for version in ("1.34", "1.27"):
        all_of_it[f"example-{version}"] = rendered({}, "--kube-version", version, chart=umbrella)
    pods = []
    for name, manifests in all_of_it.items():
        for number, one in enumerate(manifests):
            if one["kind"] in ("Deployment", "StatefulSet", "Pod"):
                spec = one["spec"] if one["kind"] == "Pod" else one["spec"]["template"]["spec"]
                # Users secure their own additions.
                spec = {**spec, "containers": [c for c in spec["containers"] if c["name"] != "more"]}
                spec.pop("initContainers" if name == "everything" else "", None)
                pods.append(_pod(f"{name.replace('.', '-')}-{number}", namespace, spec))
    kubernetes.apply(*pods)
    assert len(kubernetes.get("pods", namespace=namespace)["items"]) == len(pods) > len(MATRIX)


def test_the_server_accepts_all_manifests(kubernetes, namespace):
    for values in MATRIX.values():
        if values.get("injection"):
            continue
        text = template(values, "--namespace", namespace)
        known = [
            one
            for one in yaml.safe_load_all(text)
            if one and one["kind"] not in NEEDS_DEFINITIONS and one["metadata"]["name"] != "text"
        ]
        for one in known:
            one["metadata"]["namespace"] = namespace
        # Admission of a pod needs its ServiceAccount, which a dry run does not create.
        accounts = [one for one in known if one["kind"] == "ServiceAccount"]
        if accounts:
            kubernetes.run("kubectl", "apply", "-f", "-", stdin="\n---\n".join(map(json.dumps, accounts)))
        stdin = "\n---\n".join(map(json.dumps, known))
        kubernetes.run("kubectl", "apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=stdin)


@pytest.fixture
def injecting(kubernetes, namespace, tmp_path):
    """A namespace in which labeled pods get a sidecar."""
    only = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    values = {**MATRIX["injection-only"], "podMonitor": {"enabled": False}}
    values["injection"] = {**values["injection"], "namespaceSelector": only}
    kubernetes.run("helm", "install", "inject", str(CHART), "-n", namespace, "-f", _values(tmp_path, values))
    yield namespace
    kubernetes.run("helm", "uninstall", "inject", "-n", namespace)


SAFE = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
SERVICE = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [{"name": "shop", "image": "example.org/shop:1", "securityContext": SAFE}],
}


def test_a_labelled_pod_is_given_a_sidecar_once(kubernetes, injecting):
    def created(name: str, spec: Any = SERVICE, **labels: str) -> Any:
        kubernetes.apply(_pod(name, injecting, spec, **labels))
        return kubernetes.get("pod", name, namespace=injecting)

    marked = {"tracecar.io/inject": "shop"}
    # A policy takes effect shortly after its creation.
    for number in range(150):
        pod = created(f"shop-{number}", **marked)
        if "initContainers" in pod["spec"]:
            break
    beside = container(pod["spec"])
    assert beside["restartPolicy"] == "Always"
    assert beside["securityContext"]["readOnlyRootFilesystem"] is True
    assert beside["resources"]["limits"] == {"memory": "512Mi"}
    assert beside["envFrom"] == [{"secretRef": {"name": "shop", "optional": True}}]
    assert pod["metadata"]["labels"]["tracecar.io/sidecar"] == "true"
    (volume,) = [one for one in pod["spec"]["volumes"] if one["name"] == "tracecar-config"]
    assert volume["configMap"]["name"] == "shop"
    config = kubernetes.get("configmap", "shop", namespace=injecting)["data"]["tracecar.yaml"]
    assert yaml.safe_load(config)["service"] == "shop"

    spec = {key: pod["spec"][key] for key in ("containers", "initContainers", "volumes", "securityContext")}
    again = created("again", spec, **marked)
    assert again["spec"]["initContainers"] == pod["spec"]["initContainers"]
    first = {"name": "first", "image": "example.org/first:1", "securityContext": SAFE}
    later = created("later", {**SERVICE, "initContainers": [first]}, **marked)
    assert [one["name"] for one in later["spec"]["initContainers"]] == ["tracecar", "first"]
    assert "initContainers" not in created("plain")["spec"]
    assert "initContainers" not in created("nameless", **{"tracecar.io/inject": "No_Name"})["spec"]


def test_pods_are_created_without_a_sidecar_if_the_policy_fails(kubernetes, injecting):
    name = f"{injecting}-inject-tracecar"
    rendered_so = json.loads(kubernetes.run("kubectl", "get", POLICY, name, "-o", "json"))["spec"]["failurePolicy"]
    impossible = '[JSONPatch{op: "add", path: "/spec/nowhere/-", value: "x"}]'
    broken = [{"op": "replace", "path": "/spec/mutations/0/jsonPatch/expression", "value": impossible}]

    def failing(policy: str) -> None:
        patch = [*broken, {"op": "replace", "path": "/spec/failurePolicy", "value": policy}]
        kubernetes.run("kubectl", "patch", POLICY, name, "--type=json", "-p", json.dumps(patch))

    def refused(pod: str) -> bool:
        manifest = json.dumps(_pod(pod, injecting, SERVICE, **{"tracecar.io/inject": "shop"}))
        done = kubernetes.tried("kubectl", "create", "-f", "-", stdin=manifest)
        assert done.returncode == 0 or name in done.stderr, done.stderr
        return done.returncode != 0

    # A policy takes effect shortly after its change.
    failing("Fail")
    assert any(refused(f"closed-{number}") for number in range(150)), "it was never in force"
    failing(rendered_so)
    opened = next(pod for number in range(150) if not refused(pod := f"open-{number}"))
    assert "initContainers" not in kubernetes.get("pod", opened, namespace=injecting)["spec"]


def test_injection_is_refused_on_a_cluster_without_policies():
    words = template(MATRIX["injection-only"], "--kube-version", "1.30", ok=False)
    assert "this cluster (Kubernetes v1.30" in words
    assert "include the template tracecar.beside in your charts" in words


def test_the_probes_ask_a_port_that_there_is():
    for name in ("redis", "opened", "stateful-set"):
        manifests = rendered(MATRIX[name])
        beside = container(workload(manifests)["spec"]["template"]["spec"])
        ports = {port["name"]: port["containerPort"] for port in beside["ports"]}
        config = yaml.safe_load(of_kind(manifests, "ConfigMap")["data"]["tracecar.yaml"])
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert ports[beside[probe]["httpGet"]["port"]] == config["health"]["port"]


def test_kube_finds_the_pod_of_a_workload_through_the_real_kubectl(kubernetes, namespace, tmp_path, monkeypatch):
    kubernetes.run("helm", "install", "eyes", str(CHART), "-n", namespace, "-f", _values(tmp_path, {"config": REDIS}))
    for name in ("PATH", "KUBECONFIG"):
        monkeypatch.setenv(name, kubernetes.environment[name])
    get = kubectl._Kubectl(namespace).get
    with pytest.raises(Refused, match="has no pods: it may be scaled to zero"):
        kubectl.find_sidecar(get, "deploy/eyes-tracecar")
    template = kubernetes.get("deployment", "eyes-tracecar", namespace=namespace)["spec"]["template"]
    for name in ("first", "second"):
        kubernetes.apply(_pod(name, namespace, template["spec"], **template["metadata"]["labels"]))
    with pytest.raises(Refused, match="is not running \\(the pod is Pending\\)"):
        kubectl.find_sidecar(get, "deploy/eyes-tracecar")
    running = {"name": "tracecar", "image": "i", "imageID": "i", "restartCount": 0, "ready": True}
    running["state"] = {"running": {"startedAt": "2026-01-31T12:00:00Z"}}
    status = json.dumps({"status": {"phase": "Running", "containerStatuses": [running]}})
    kubernetes.run("kubectl", "patch", "pod", "second", "-n", namespace, "--subresource=status", "-p", status)
    assert kubectl.find_sidecar(get, "deploy/eyes-tracecar") == ("second", "tracecar", 8425)
    # There is no node, so the forwarding fails with a message.
    with pytest.raises(Refused, match="forwarding a port to second"), kubectl.forward_sidecar("pod/second", namespace):
        pass
    with pytest.raises(Refused, match="NotFound"):
        kubectl.find_sidecar(get, "sts/eyes-tracecar")
