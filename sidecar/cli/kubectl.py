"""Connection to a sidecar in a Kubernetes cluster through kubectl, with the permissions of the user.

The sidecar's API listens on the pod's loopback only; `kubectl port-forward` reaches it. So nothing has to be exposed in
the cluster, and users need the permissions `pods/portforward`, and `pods/exec` to read the token.
"""

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
KUBECTL_TIMEOUT_S = 30.0
"""Longest wait for a reply of kubectl, and for its port-forward to listen."""
MAX_TOKEN_BYTES = 4_096
WORKLOADS = (
    ("deployment", ("deploy", "deployment", "deployments")),
    ("statefulset", ("sts", "statefulset", "statefulsets")),
    ("daemonset", ("ds", "daemonset", "daemonsets")),
    ("replicaset", ("rs", "replicaset", "replicasets")),
    ("job", ("job", "jobs")),
    ("pod", ("po", "pod", "pods")),
)
# The container's environment says where its token is; the default is that of the configuration.
_TOKEN = 'printf %s "${TRACECAR_TOKEN:-$(cat "${TRACECAR_TOKEN_FILE:-$HOME/.local/state/tracecar/token}")}"'
_FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:([0-9]{1,5}) ->")


class ForwardedSidecar(NamedTuple):
    """Address and token of a sidecar that is forwarded to this machine."""

    url: str
    token: str


class PodLocation(NamedTuple):
    """Pod, container and API port of a sidecar."""

    pod: str
    container: str
    port: int


@contextmanager
def forward_sidecar(target: str, namespace: str | None = None, token: str | None = None) -> Iterator[ForwardedSidecar]:
    """Forward a local port to a sidecar until the end of the block.

    Args:
        target: Workload, such as `deploy/NAME`, `sts/NAME`, `ds/NAME` or `pod/NAME`.
        namespace: Namespace; None: that of the kubectl context.
        token: Token; None: read it from the container.

    Raises Refused with the step that failed and the next step.
    """
    kubectl = _Kubectl(namespace)
    location = find_sidecar(kubectl.get, target)
    with _forward_port(kubectl, location) as port:
        yield ForwardedSidecar(f"http://127.0.0.1:{port}", token or _read_token(kubectl, location))


class _Kubectl:
    """Runs kubectl in a namespace."""

    def __init__(self, namespace: str | None) -> None:
        program = shutil.which("kubectl")
        if program is None:
            raise Refused("--kube needs kubectl, which is not on the PATH: install it, or use --url")
        self._program, self._scope = program, [] if namespace is None else ["--namespace", namespace]

    def command(self, *arguments: str) -> list[str]:
        """Return a command line."""
        verb, *rest = arguments
        return [self._program, verb, *self._scope, *rest]

    def run(self, action: str, *arguments: str) -> str:
        """Run kubectl and return its output. Raises Refused with its error message."""
        try:
            done = subprocess.run(
                self.command(*arguments),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=KUBECTL_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Refused(
                f"{action}: no answer from kubectl in {KUBECTL_TIMEOUT_S:.0f} s; check the cluster with kubectl get ns"
            ) from None
        if done.returncode != 0:
            raise Refused(f"{action}: {done.stderr.decode(errors='replace').strip()[:2_000] or 'kubectl failed'}")
        return done.stdout.decode(errors="replace")

    def get(self, *resource: str) -> Mapping[str, Any]:
        """Run `kubectl get`. Raises Refused."""
        action = f"looking for {' '.join(resource)}"
        answer = self.run(action, "get", *resource, "--output", "json")
        try:
            document = json.loads(answer)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise Refused(f"{action}: expected JSON from kubectl, found {answer[:100]!r}")
        return document


def find_sidecar(get: Any, target: str) -> PodLocation:
    """Find a running sidecar of a workload or pod, preferably a ready one.

    `get` is `kubectl get … --output json`. Raises Refused.
    """
    kind, name = _parse_target(target)
    resource = get(kind, name)
    if kind == "pod":
        pods = [resource]
    else:
        selector = _format_selector(resource.get("spec", {}).get("selector", {}))
        if not selector:
            raise Refused(f"{target} selects no pods")
        pods = get("pods", "--selector", selector).get("items", [])
    if not pods:
        raise Refused(f"{target} has no pods: it may be scaled to zero; check with kubectl describe {target}")
    candidates = [(pod, container) for pod in pods if (container := _container(pod)) is not None]
    if not candidates:
        names = sorted({str(container.get("name")) for pod in pods for container in _containers(pod)})
        advice = "check that Tracecar is included in this workload or injected (kubectl get pods --show-labels)"
        raise Refused(f"{target}: expected a container named {CONTAINER}, found {', '.join(names) or 'none'}; {advice}")
    running = [
        (pod, container) for pod, container in candidates if "running" in _status(pod, container).get("state", {})
    ]
    if not running:
        pod, container = candidates[0]
        raise Refused(
            f"{target}: {CONTAINER} in {_name(pod)} is not running ({_describe_state(pod, container)}); "
            f"see {_logs(pod)}"
        )
    pod, container = max(running, key=_rank)
    return PodLocation(_name(pod), str(container["name"]), _port(container))


def _rank(candidate: tuple[Mapping[str, Any], Mapping[str, Any]]) -> tuple[bool, bool]:
    """Prefer pods that are not terminating, which may still be ready, and then ready ones."""
    return "deletionTimestamp" not in candidate[0]["metadata"], bool(_status(*candidate).get("ready"))


def _parse_target(target: str) -> tuple[str, str]:
    kind, slash, name = target.partition("/")
    if not slash:
        kind, name = "deploy", kind
    for full, words in WORKLOADS:
        if kind.lower().partition(".")[0] in words and re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", name):
            return full, name
    raise Refused(f"--kube: expected KIND/NAME, such as deploy/shop, sts/shop or pod/shop-0, found {target}")


def _format_selector(selector: Mapping[str, Any]) -> str:
    parts = [f"{name}={value}" for name, value in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or ():
        key, values = expression["key"], ",".join(expression.get("values") or ())
        match expression["operator"]:
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
    statuses = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    return next((entry for entry in statuses if entry.get("name") == container["name"]), {})


def _describe_state(pod: Mapping[str, Any], container: Mapping[str, Any]) -> str:
    """Describe a container that is not running: `waiting: ImagePullBackOff`, or the phase of its pod."""
    for state, details in _status(pod, container).get("state", {}).items():
        return f"{state}: {details.get('reason', 'no reason given')}"
    return f"the pod is {pod.get('status', {}).get('phase', 'in an unknown phase')}"


def _logs(pod: Mapping[str, Any]) -> str:
    return f"kubectl describe pod {_name(pod)}, kubectl logs {_name(pod)} -c {CONTAINER}"


def _port(container: Mapping[str, Any]) -> int:
    """Return the API's port, which the pod does not list because it is on loopback."""
    for variable in container.get("env") or ():
        if variable.get("name") == "TRACECAR_URL":
            try:
                return urlsplit(str(variable.get("value"))).port or API_PORT
            except ValueError:
                break
    return API_PORT


def _read_token(kubectl: _Kubectl, location: PodLocation) -> str:
    action = f"reading the token in {location.pod}"
    try:
        answer = kubectl.run(action, "exec", location.pod, "--container", location.container, "--", "sh", "-c", _TOKEN)
    except Refused as error:
        raise Refused(f"{error}; give it with --token, or get the permission pods/exec") from None
    token = answer.strip()
    if not token or len(token) > MAX_TOKEN_BYTES or not token.isascii() or not token.isprintable():
        raise Refused(
            f"{action}: expected a token, found {'none' if not token else 'something else'}; give it with --token"
        )
    return token


@contextmanager
def _forward_port(kubectl: _Kubectl, location: PodLocation) -> Iterator[int]:
    """Forward a free local port to the sidecar's API."""
    command = kubectl.command("port-forward", f"pod/{location.pod}", f":{location.port}", "--address", "127.0.0.1")
    # In a session of its own, so that Ctrl-C in the dashboard does not reach it. Its errors are read at its end; until
    # then they are short.
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        yield _await_port(process, location)
    finally:
        process.kill()
        process.communicate()


def _await_port(process: subprocess.Popen[bytes], location: PodLocation) -> int:
    assert process.stdout is not None
    assert process.stderr is not None
    deadline = time.monotonic() + KUBECTL_TIMEOUT_S
    printed = b""
    while not (match := _FORWARDING.search(printed.decode(errors="replace"))):
        readable, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        more = process.stdout.read1(4_096) if readable else b""  # type: ignore[attr-defined]  # a BufferedReader
        if not more:
            process.kill()
            _, stderr = process.communicate()
            problem = (
                stderr.decode(errors="replace").strip()[:2_000] or f"nothing forwarded within {KUBECTL_TIMEOUT_S:.0f} s"
            )
            raise Refused(f"forwarding a port to {location.pod}: {problem}; this needs the permission pods/portforward")
        printed = (printed + more)[-65_536:]
    return int(match[1])
