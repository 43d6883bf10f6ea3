"""The `docker run` command of the examples: its mounts, its user and its environment, on the real image."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from pathlib import Path
from typing import NamedTuple

import httpx2
import pytest
import redis
import yaml

from sidecar.demo.embedded_valkey import EmbeddedValkey
from tests.servers.images import ROOT, Built
from tests.servers.kafka import unique
from tests.support.ports import free_port

pytestmark = [pytest.mark.system, pytest.mark.valkey]
EXAMPLES = ROOT / "examples"
FLAGS = ("--rm", "--read-only")
POLLS = 1_200


class Command(NamedTuple):
    """A parsed `docker run`."""

    flags: set[str]
    options: dict[str, str]
    image: str
    arguments: list[str]


def _command() -> Command:
    text = (EXAMPLES / "README.md").read_text().replace("\\\n", " ")
    (line,) = re.findall(r"^docker run (--.*)$", text, re.MULTILINE)
    words = shlex.split(line.replace("$PWD", str(ROOT)))
    flags: set[str] = set()
    options: dict[str, str] = {}
    while words[0].startswith("--"):
        word = words.pop(0)
        if word in FLAGS:
            flags.add(word)
        else:
            options[word] = words.pop(0)
    return Command(flags, options, words[0], words[1:])


def _run(built: Built, command: Command, config: Path, state: Path) -> list[str]:
    """Return a command that runs the image with the mounts of `docker run`, without its network."""
    root, about = built.root, built.about
    source, target, mode = command.options["--volume"].split(":")
    assert (Path(source), mode) == (EXAMPLES / "docker" / "tracecar.yaml", "ro")
    (root / target.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
    (root / target.lstrip("/")).touch()
    (volume,) = about["Volumes"]
    owner = (root / volume.lstrip("/")).stat()
    os.chown(state, owner.st_uid, owner.st_gid)  # as Docker makes an anonymous volume
    state.chmod(owner.st_mode & 0o777)
    script = (
        f"mount --bind {root} {root} && mount -o remount,bind,ro {root} && "
        f"mount --bind {config} {root}{target} && mount -o remount,bind,ro {root}{target} && "
        f"mount --bind {state} {root}{volume} && mount -t tmpfs tmpfs {root}{command.options['--tmpfs']} && "
        f"mount --rbind /dev {root}/dev && mount -t proc proc {root}/proc && "
        f'exec chroot --userspec={about["User"]} {root} "$@"'
    )
    words = [*about["Entrypoint"], *(command.arguments or about["Cmd"])]
    environment = [*about["Env"], command.options["--env"]]
    return ["unshare", "--mount", "sh", "-ec", script, "sh", "env", "-i", *environment, *words]


def test_the_container_shows_the_events_of_a_stream(
    tracecar_image: Built, valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    command = _command()
    assert command.flags == set(FLAGS)
    assert command.options.keys() == {"--name", "--tmpfs", "--add-host", "--volume", "--env", "--publish"}
    text = (EXAMPLES / "docker" / "tracecar.yaml").read_text()
    listens = yaml.safe_load(text)["api"]
    assert listens["host"] == "0.0.0.0"
    address, outside, inside = command.options["--publish"].split(":")
    assert (address, outside, inside) == ("127.0.0.1", "8425", "8425")
    port, stream = free_port(), unique("orders")
    text = text.replace("${REDIS:-host.docker.internal:6379}", valkey.url.removeprefix("redis://").partition("/")[0])
    text = text.replace("[orders]", f"[{stream}]").replace("api:\n", f"api:\n  port: {port}\n")
    config = tmp_path / "tracecar.yaml"
    config.write_text(text.replace("0.0.0.0", "127.0.0.1"))
    state = tmp_path / "state"
    state.mkdir()
    log = tmp_path / "log"
    with redis.Redis.from_url(valkey.url) as client:
        client.xadd(stream, {"payload": '{"eventId": "e-1", "eventType": "OrderPlaced"}'})
    with log.open("wb") as written:
        running = subprocess.Popen(_run(tracecar_image, command, config, state), stdout=written, stderr=written)
    token = command.options["--env"].partition("=")[2]
    try:
        events = _events(running, f"http://127.0.0.1:{port}", token, log)
        assert [event["event_id"] for event in events] == ["e-1"]
    finally:
        running.send_signal(signal.SIGTERM)
        code = running.wait(60)
    assert code == 0, log.read_text()


def _events(running: subprocess.Popen[bytes], url: str, token: str, log: Path) -> list[dict[str, str]]:
    headers = {"Authorization": f"Bearer {token}"}
    for _ in range(POLLS):
        assert running.poll() is None, log.read_text()
        try:
            found = httpx2.get(f"{url}/v1/events", headers=headers, timeout=30)
            if found.status_code == 200 and found.json()["items"]:
                return list(found.json()["items"])
        except httpx2.TransportError:
            pass
        try:
            running.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError(log.read_text())
