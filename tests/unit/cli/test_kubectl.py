"""`--kube`: from the name of a workload to a local port and a token, with a scripted kubectl."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from sidecar.cli import kubectl
from sidecar.domain.errors import Refused

KUBECTL = f"""#!{sys.executable}
import json, os, pathlib, sys, time

here = pathlib.Path(__file__).parent
scene = json.loads((here / "scene.json").read_text())
words = sys.argv[1:]
with (here / "calls").open("a") as calls:
    calls.write(json.dumps(words) + "\\n")
verb = words[0]
words = [one for one in words[1:] if one not in ("--namespace", "events")]
key = " ".join([verb, *words])
answer = next((value for start, value in scene.items() if key.startswith(start)), None)
if answer is None:
    sys.exit(f"Error from server (NotFound): {{key}} not found")
if isinstance(answer, str) and answer.startswith("!"):
    sys.exit(answer[1:])
print(answer if isinstance(answer, str) else json.dumps(answer), flush=True)
if verb == "port-forward":
    (here / "pid").write_text(str(os.getpid()))
    time.sleep(600)
"""
DEPLOYMENT = {"spec": {"selector": {"matchLabels": {"app": "shop"}}}}


def pod(
    name: str, *, ready: bool = True, native: bool = False, state: Any = None, of: str = "tracecar"
) -> dict[str, Any]:
    container = {"name": of, "env": [{"name": "TRACECAR_URL", "value": "http://127.0.0.1:9000"}]}
    status = {"name": container["name"], "ready": ready, "state": state or {"running": {}}}
    place = "initContainers" if native else "containers"
    return {
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "shop"}], place: [container]},
        "status": {"phase": "Running", "initContainerStatuses" if native else "containerStatuses": [status]},
    }


@pytest.fixture
def scene(tmp_path, monkeypatch):
    """Set the answers of kubectl by the beginning of its command line."""
    program = tmp_path / "kubectl"
    program.write_text(KUBECTL)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    def play(**answers: Any) -> Path:
        full = {
            "get deployment shop": DEPLOYMENT,
            "get pods --selector app=shop": {"items": [pod("shop-1")]},
            "exec": "the-token",
            "port-forward": "Forwarding from 127.0.0.1:41234 -> 9000",
            **{key.replace("_", " "): value for key, value in answers.items()},
        }
        (tmp_path / "scene.json").write_text(json.dumps({k: v for k, v in full.items() if v is not None}))
        return tmp_path

    return play


def _calls(folder: Path) -> list[list[str]]:
    return [json.loads(line) for line in (folder / "calls").read_text().splitlines()]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_from_a_deployment_to_an_address_and_a_token(scene):
    folder = scene()
    with kubectl.forward_sidecar("deploy/shop", "events") as found:
        assert found == ("http://127.0.0.1:41234", "the-token")
        *_, forward, ask = _calls(folder)
        assert forward[:5] == ["port-forward", "--namespace", "events", "pod/shop-1", ":9000"]
        assert ask[:7] == ["exec", "--namespace", "events", "shop-1", "--container", "tracecar", "--"]
        assert all(call[1:3] == ["--namespace", "events"] for call in _calls(folder))
        pid = int((folder / "pid").read_text())
        assert _alive(pid)
    assert not _alive(pid)


def test_a_token_that_is_given_is_not_asked_for(scene):
    folder = scene(exec="!forbidden")
    with kubectl.forward_sidecar("deploy/shop", None, "mine") as found:
        assert found.token == "mine"
    assert "exec" not in {call[0] for call in _calls(folder)}
    assert "--namespace" not in {word for call in _calls(folder) for word in call}


@pytest.mark.parametrize("native", [True, False])
def test_a_ready_pod_is_chosen(scene, native):
    items = [pod("old", ready=False, native=native), pod("new", native=native), pod("gone", state={"waiting": {}})]
    scene(**{"get_pods --selector app=shop": {"items": items}})
    with kubectl.forward_sidecar("shop") as found:
        assert found.url.endswith(":41234")


def test_a_pod_that_is_being_deleted_is_the_last_choice():
    going, stays = pod("going"), pod("stays", ready=False)
    going["metadata"]["deletionTimestamp"] = "2026-01-31T12:00:00Z"
    deployment = {"spec": {"selector": {"matchLabels": {"app": "shop"}}}}

    def get(*what: str) -> Any:
        return {"items": [going, stays]} if what[0] == "pods" else deployment

    assert kubectl.find_sidecar(get, "deploy/shop").pod == "stays"


def test_the_token_is_what_the_container_would_use_itself(tmp_path):
    """The command that runs in the container, in a real shell."""
    import subprocess

    def asked(**environment: str) -> str:
        return subprocess.run(["/bin/sh", "-c", kubectl._TOKEN], env=environment, capture_output=True, text=True).stdout

    kept = tmp_path / ".local" / "state" / "tracecar" / "token"
    kept.parent.mkdir(parents=True)
    kept.write_text("kept\n")
    elsewhere = tmp_path / "a file"
    elsewhere.write_text("elsewhere\n")
    assert asked(HOME=str(tmp_path), PATH="/usr/bin:/bin") == "kept"
    assert asked(HOME=str(tmp_path), PATH="/usr/bin:/bin", TRACECAR_TOKEN_FILE=str(elsewhere)) == "elsewhere"
    assert asked(HOME=str(tmp_path), PATH="/usr/bin:/bin", TRACECAR_TOKEN="given") == "given"


WAITING = {"waiting": {"reason": "ImagePullBackOff"}}


@pytest.mark.parametrize(
    ("target", "answers", "words"),
    [
        ("what/shop", {}, "expected KIND/NAME, such as deploy/shop"),
        ("deploy/--all", {}, "expected KIND/NAME"),
        ("deploy/shop", {"get deployment shop": None}, "looking for deployment shop: Error from server (NotFound)"),
        ("deploy/shop", {"get deployment shop": "so"}, "expected JSON from kubectl, found 'so"),
        ("deploy/shop", {"get deployment shop": {"spec": {}}}, "selects no pods"),
        ("deploy/shop", {"get pods --selector app=shop": {"items": []}}, "has no pods: it may be scaled to zero"),
        (
            "deploy/shop",
            {"get pods --selector app=shop": {"items": [pod("shop-1", of="other")]}},
            "expected a container named tracecar, found other;",
        ),
        (
            "deploy/shop",
            {"get pods --selector app=shop": {"items": [pod("shop-1", state=WAITING)]}},
            "tracecar in shop-1 is not running (waiting: ImagePullBackOff); see kubectl describe pod shop-1",
        ),
        ("deploy/shop", {"exec": "!pods/exec is forbidden"}, "is forbidden; give it with --token"),
        ("deploy/shop", {"exec": ""}, "expected a token, found none; give it with --token"),
        ("deploy/shop", {"exec": "a\nb"}, "expected a token, found something else"),
        ("deploy/shop", {"port-forward": "!lost connection to pod"}, "shop-1: lost connection to pod; this needs"),
    ],
)
def test_each_step_that_fails_says_what_to_do(scene, target, answers, words):
    scene(**answers)
    with pytest.raises(Refused) as refusal, kubectl.forward_sidecar(target):
        pass
    assert words in str(refusal.value)


def test_without_kubectl(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refused, match="needs kubectl"), kubectl.forward_sidecar("deploy/shop"):
        pass


def test_a_selector_of_expressions():
    expressions = [
        {"key": "a", "operator": "In", "values": ["1", "2"]},
        {"key": "b", "operator": "NotIn", "values": ["3"]},
        {"key": "c", "operator": "Exists"},
        {"key": "d", "operator": "DoesNotExist"},
    ]
    found = kubectl._format_selector({"matchLabels": {"app": "shop"}, "matchExpressions": expressions})
    assert found == "app=shop,a in (1,2),b notin (3),c,!d"


def _tui(*arguments: str, **environment: str) -> Any:
    import subprocess

    command = [sys.executable, "-m", "sidecar", "tui", *arguments]
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **environment}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow  # a process
def test_the_dashboard_says_what_failed_and_exits_as_without_a_sidecar(scene):
    scene(exec="!pods/exec is forbidden")
    done = _tui("--kube", "deploy/shop", "-n", "events")
    assert done.returncode == 3, done.stderr
    assert "pods/exec is forbidden; give it with --token" in done.stderr


@pytest.mark.slow  # a process
def test_the_dashboard_leaves_no_forwarding_behind(scene):
    folder = scene()
    done = _tui("--kube", "deploy/shop")
    assert done.returncode == 1, done.stderr
    assert "needs a terminal" in done.stderr
    assert not _alive(int((folder / "pid").read_text()))
