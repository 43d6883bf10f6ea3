"""A sidecar in a Kubernetes cluster, reached through kubectl as the person who runs it: nothing in the cluster has to
be opened, and who may not look there may not look here."""

from __future__ import annotations

import json
import re
import select
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from sidecar.domain.errors import Refused

CONTAINER = "tracecar"
API_PORT = 8425
SECONDS = 30.0
"""How long kubectl may take for one answer, and until its port-forward listens."""
LONGEST_TOKEN = 4_096
WORKLOADS = (
    ("deployment", ("deploy", "deployment", "deployments")),
    ("statefulset", ("sts", "statefulset", "statefulsets")),
    ("daemonset", ("ds", "daemonset", "daemonsets")),
    ("replicaset", ("rs", "replicaset", "replicasets")),
    ("job", ("job", "jobs")),
    ("pod", ("po", "pod", "pods")),
)
# The container's own environment says where its token is; the default is the configuration's.
_TOKEN = 'printf %s "${TRACECAR_TOKEN:-$(cat "${TRACECAR_TOKEN_FILE:-$HOME/.local/state/tracecar/token}")}"'
_FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:([0-9]{1,5}) ->")


class ForwardedSidecar(NamedTuple):
    """A sidecar on this machine's loopback, for as long as the forwarding lasts."""

    url: str
    token: str


class PodLocation(NamedTuple):
    """Where in a pod a sidecar is."""

    pod: str
    container: str
    port: int


@contextmanager
def reached(target: str, namespace: str | None = None, token: str | None = None) -> Iterator[ForwardedSidecar]:
    """Forward a local port to the sidecar of `deploy/NAME` (or `sts/…`, `ds/…`, `pod/…`), until the end of the block.
    The namespace is the context's unless given; the token is asked of the container unless given. Raises Refused with
    what to do, at the step that failed."""
    kubectl = _Kubectl(namespace)
    place = find(kubectl.get, target)
    with _forwarded(kubectl, place) as port:
        yield ForwardedSidecar(f"http://127.0.0.1:{port}", token or _token(kubectl, place))


class _Kubectl:
    """kubectl, in one namespace."""

    def __init__(self, namespace: str | None) -> None:
        program = shutil.which("kubectl")
        if program is None:
            raise Refused("--kube needs kubectl, and there is none on the PATH: install it, or use --url")
        self._program, self._scope = program, [] if namespace is None else ["--namespace", namespace]

    def command(self, *arguments: str) -> list[str]:
        verb, *rest = arguments
        return [self._program, verb, *self._scope, *rest]

    def run(self, doing: str, *arguments: str) -> str:
        """What it prints. Raises Refused with what it complained of."""
        try:
            done = subprocess.run(
                self.command(*arguments), stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            words = (
                f"{doing}: kubectl did not answer within {SECONDS:.0f} s: is the cluster reachable (kubectl get ns)?"
            )
            raise Refused(words) from None
        if done.returncode != 0:
            raise Refused(f"{doing}: {done.stderr.decode(errors='replace').strip()[:2_000] or 'kubectl failed'}")
        return done.stdout.decode(errors="replace")

    def get(self, *what: str) -> Mapping[str, Any]:
        answer = self.run(f"looking for {' '.join(what)}", "get", *what, "--output", "json")
        try:
            found = json.loads(answer)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise Refused(f"looking for {' '.join(what)}: expected JSON from kubectl, found {answer[:100]!r}")
        return found


def find(get: Any, target: str) -> PodLocation:
    """The sidecar of a workload or pod: of those that run, one that is ready, where there is one. `get` is
    `kubectl get … --output json`. Raises Refused."""
    kind, name = _named(target)
    about = get(kind, name)
    if kind == "pod":
        pods = [about]
    else:
        selector = _selector(about.get("spec", {}).get("selector", {}))
        if not selector:
            raise Refused(f"{target} selects no pods")
        pods = get("pods", "--selector", selector).get("items", [])
    if not pods:
        raise Refused(f"{target} has no pods: is it scaled to zero, or do they not start (kubectl describe {target})?")
    places = [(pod, container) for pod in pods if (container := _container(pod)) is not None]
    if not places:
        names = sorted({str(one.get("name")) for pod in pods for one in _containers(pod)})
        advice = "is Tracecar included in this workload, or injected (kubectl get pods --show-labels)?"
        raise Refused(f"{target}: expected a container named {CONTAINER}, found {', '.join(names) or 'none'}; {advice}")
    running = [(pod, one) for pod, one in places if "running" in _status(pod, one).get("state", {})]
    if not running:
        pod, one = places[0]
        raise Refused(f"{target}: {CONTAINER} in {_name(pod)} does not run ({_why(pod, one)}); see {_logs(pod)}")
    pod, one = max(running, key=_fitness)
    return PodLocation(_name(pod), str(one["name"]), _port(one))


def _fitness(place: tuple[Mapping[str, Any], Mapping[str, Any]]) -> tuple[bool, bool]:
    """A pod that a roll is taking down may still say that it is ready."""
    return "deletionTimestamp" not in place[0]["metadata"], bool(_status(*place).get("ready"))


def _named(target: str) -> tuple[str, str]:
    kind, slash, name = target.partition("/")
    if not slash:
        kind, name = "deploy", kind
    for full, words in WORKLOADS:
        if kind.lower().partition(".")[0] in words and re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", name):
            return full, name
    raise Refused(f"--kube: expected KIND/NAME, such as deploy/shop, sts/shop or pod/shop-0, found {target}")


def _selector(selector: Mapping[str, Any]) -> str:
    parts = [f"{name}={value}" for name, value in (selector.get("matchLabels") or {}).items()]
    for one in selector.get("matchExpressions") or ():
        key, values = one["key"], ",".join(one.get("values") or ())
        match one["operator"]:
            case "In":
                parts.append(f"{key} in ({values})")
            case "NotIn":
                parts.append(f"{key} notin ({values})")
            case "Exists":
                parts.append(key)
            case "DoesNotExist":
                parts.append(f"!{key}")
    return ",".join(parts)


def _name(pod: Mapping[str, Any]) -> str:
    return str(pod["metadata"]["name"])


def _containers(pod: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    spec = pod.get("spec", {})
    return [*spec.get("containers", ()), *(spec.get("initContainers") or ())]


def _container(pod: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return next((container for container in _containers(pod) if container.get("name") == CONTAINER), None)


def _status(pod: Mapping[str, Any], container: Mapping[str, Any]) -> Mapping[str, Any]:
    status = pod.get("status", {})
    all_of_them = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    return next((one for one in all_of_them if one.get("name") == container["name"]), {})


def _why(pod: Mapping[str, Any], container: Mapping[str, Any]) -> str:
    """Such as `waiting: ImagePullBackOff`; the pod's phase where it has not come to that."""
    for state, about in _status(pod, container).get("state", {}).items():
        return f"{state}: {about.get('reason', 'no reason given')}"
    return f"the pod is {pod.get('status', {}).get('phase', 'in an unknown phase')}"


def _logs(pod: Mapping[str, Any]) -> str:
    return f"kubectl describe pod {_name(pod)}, kubectl logs {_name(pod)} -c {CONTAINER}"


def _port(container: Mapping[str, Any]) -> int:
    """The API's: it listens on loopback, so the pod's ports do not name it."""
    for one in container.get("env") or ():
        if one.get("name") == "TRACECAR_URL":
            try:
                return urlsplit(str(one.get("value"))).port or API_PORT
            except ValueError:
                break
    return API_PORT


def _token(kubectl: _Kubectl, place: PodLocation) -> str:
    where = f"asking {place.pod} for its token"
    try:
        answer = kubectl.run(where, "exec", place.pod, "--container", place.container, "--", "sh", "-c", _TOKEN)
    except Refused as error:
        raise Refused(f"{error}; give it with --token, or allow yourself pods/exec there") from None
    token = answer.strip()
    if not token or len(token) > LONGEST_TOKEN or not token.isascii() or not token.isprintable():
        raise Refused(
            f"{where}: expected a token, found {'none' if not token else 'something else'}; give it with --token"
        )
    return token


@contextmanager
def _forwarded(kubectl: _Kubectl, place: PodLocation) -> Iterator[int]:
    """A free local port that leads to the sidecar's API."""
    command = kubectl.command("port-forward", f"pod/{place.pod}", f":{place.port}", "--address", "127.0.0.1")
    # In a session of its own, for Ctrl-C in the dashboard is not meant for it. What it complains of is read once it
    # ended; until then it is little.
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        yield _local_port(process, place)
    finally:
        process.kill()
        process.communicate()


def _local_port(process: subprocess.Popen[bytes], place: PodLocation) -> int:
    assert process.stdout is not None
    assert process.stderr is not None
    deadline = time.monotonic() + SECONDS
    said = b""
    while not (found := _FORWARDING.search(said.decode(errors="replace"))):
        readable, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        more = process.stdout.read1(4_096) if readable else b""  # type: ignore[attr-defined]  # a BufferedReader
        if not more:
            process.kill()
            _, complaint = process.communicate()
            words = complaint.decode(errors="replace").strip()[:2_000] or f"nothing forwarded within {SECONDS:.0f} s"
            raise Refused(f"forwarding a port to {place.pod}: {words}; you need pods/portforward there")
        said = (said + more)[-65_536:]
    return int(found[1])
