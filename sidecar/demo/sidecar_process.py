"""The sidecar as the demo runs it: a process of its own, configured by a file, as it would stand beside any service."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

import httpx2

from sidecar.api.http.auth import kept_token
from sidecar.config.schema import ApiConfig
from sidecar.demo.shop.saga import STREAMS
from sidecar.demo.shop.schemas import DIRECTORY
from sidecar.domain.errors import Outage, Refused

USUAL_PORT = 8425
READY_SECONDS = 30.0
STOP_SECONDS = 20.0
_POLL_SECONDS = 0.05
# The shell holds the sidecar's life to ours: its standard input is a pipe that ends when we do, however we die.
_GUARD = 'read -r _ || kill -KILL "$0"'

CONFIGURATION = """\
service: shop
sources:
{source}
registry:
  directory: {schemas}
api:
  port: {port}
  token: "${{TRACECAR_TOKEN}}"
"""
KAFKA_SOURCE = """\
  kafka:
    bootstrap_servers: {address}
    topics: [{streams}]
    start: earliest"""
REDIS_SOURCE = """\
  redis:
    url: {address}
    streams: [{streams}]
    start: earliest"""


def configuration(broker: str, address: str, port: int) -> str:
    """The sidecar's configuration file. `address`: bootstrap servers, or a Redis URL."""
    source = KAFKA_SOURCE if broker == "kafka" else REDIS_SOURCE
    filled = source.format(address=address, streams=", ".join(STREAMS))
    return CONFIGURATION.format(source=filled, schemas=DIRECTORY, port=port)


class SidecarProcess:
    """`tracecar run` as a child process: a context manager that stops it, and it stops when we die."""

    def __init__(self, directory: Path, broker: str, address: str, *, usual_port: bool) -> None:
        """`usual_port`: listen where the command line looks by default, if that port is free."""
        self.found = usual_port and _is_free(USUAL_PORT)
        """The command line finds it without being told where it is, and with which token."""
        self.port = USUAL_PORT if self.found else _free_port()
        self.token = secrets.token_urlsafe(12)
        if self.found:
            try:
                self.token = kept_token(
                    Path(os.environ.get("TRACECAR_TOKEN_FILE", ApiConfig().token_file)).expanduser()
                )
            except Refused:
                self.found = False
        self.configuration = directory / "tracecar.yaml"
        self.log = directory / "tracecar.log"
        self.configuration.write_text(configuration(broker, address, self.port))
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> SidecarProcess:
        command = [sys.executable, "-m", "sidecar", "run", "-c", str(self.configuration)]
        environment = os.environ | {"TRACECAR_TOKEN": self.token}
        # A session of its own: Ctrl-C in the terminal is for the demo, which asks the sidecar for its counts first.
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        guard = ["/bin/sh", "-c", _GUARD, str(self._process.pid)]
        self._guard = subprocess.Popen(guard, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Let it drain and commit, as SIGTERM does; make sure that it is gone."""
        assert self._process is not None
        assert self._guard is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with contextlib.suppress(BrokenPipeError):
            self._guard.communicate(b"\n")

    def check(self) -> None:
        """Raises Outage, with the end of the log, where the process is gone."""
        assert self._process is not None
        if self._process.poll() is not None:
            raise Outage(f"the sidecar ended with exit code {self._process.returncode}:\n{self._tail()}")

    async def ready(self) -> None:
        """Returns once /readyz says so. Raises Outage where that does not come."""
        deadline = time.monotonic() + READY_SECONDS
        async with httpx2.AsyncClient(base_url=self.url, trust_env=False, timeout=5) as http:
            while True:
                self.check()
                with contextlib.suppress(httpx2.TransportError):
                    if (await http.get("/readyz")).is_success:
                        return
                if time.monotonic() > deadline:
                    raise Outage(f"the sidecar was not ready within {READY_SECONDS:.0f} s:\n{self._tail()}")
                await asyncio.sleep(_POLL_SECONDS)

    def _tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
