"""A real S3 server, VersityGW, as a child process: built by Go once into the user's cache directory."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import pytest

from tests.servers.java import WATCH
from tests.support.ports import free_port

VERSION = "v1.8.0"
MODULE = f"github.com/versity/versitygw/cmd/versitygw@{VERSION}"
START_TIMEOUT_S = 60.0


def _go() -> str | None:
    return shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")


def _home() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tracecar"
    return cache / f"versitygw-{VERSION}"


def missing() -> str | None:
    """Return why the server cannot be had here; None if it is there or can be built."""
    return None if _home().exists() or _go() is not None else "Go is not there, which builds the S3 server"


def build() -> Path:
    """Return the path of the server, built first if needed."""
    home = _home()
    if not home.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        with (home.parent / "versitygw.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not home.exists():
                with tempfile.TemporaryDirectory(dir=home.parent) as folder:
                    _install(Path(folder))
                    os.replace(Path(folder) / "bin", home)
    return home / "versitygw"


def _install(folder: Path) -> None:
    go = _go()
    if go is None:
        raise RuntimeError("Go is not there, which builds the S3 server")
    environment = {**os.environ, "GOBIN": str(folder / "bin"), "GOFLAGS": "-mod=mod"}
    result = subprocess.run([go, "install", MODULE], env=environment, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise RuntimeError(f"go could not build the S3 server: {result.stderr[-2_000:]}")


class S3Server:
    """One server. Its objects (files in a temporary directory) and its port outlive `kill` and `start`."""

    BUCKET = "history"
    KEY, SECRET = "tracecar", "tracecar-secret"

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="tracecar-s3-"))
        (self.directory / "data" / self.BUCKET).mkdir(parents=True)
        (self.directory / "metadata").mkdir()
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which a client finds the server and its credentials."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": self.KEY,
            "AWS_SECRET_ACCESS_KEY": self.SECRET,
            "AWS_REGION": "us-east-1",
        }

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self) -> None:
        """Start it, and return once it accepts connections."""
        credentials = {"ROOT_ACCESS_KEY": self.KEY, "ROOT_SECRET_KEY": self.SECRET}
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(build()),
                    *("--port", f"127.0.0.1:{self.port}", "posix", "--sidecar", str(self.directory / "metadata")),
                    str(self.directory / "data"),
                ],
                env={**os.environ, **credentials},
                stdout=log,
                stderr=log,
            )
        self._watch = subprocess.Popen(["/bin/sh", "-c", WATCH, str(self._process.pid)], stdin=subprocess.PIPE)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._accepts():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the S3 server does not start: {(self.directory / 'log').read_text()[-2_000:]}")
            time.sleep(0.02)

    def _accepts(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        """End it at once; its objects stay."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None
        if self._watch is not None:
            self._watch.communicate(b"\n")
            self._watch = None


@pytest.fixture(scope="session")
def s3_server():
    """The server of a test session."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    with S3Server() as server:
        yield server
