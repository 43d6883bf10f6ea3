"""The demo's sidecar as a separate process, configured by a file."""

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
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

import httpx2

from sidecar.config.schema import ApiConfig
from sidecar.config.token_file import read_or_create_token
from sidecar.demo.shop.saga import STREAMS
from sidecar.demo.shop.schemas import DIRECTORY
from sidecar.domain.errors import Outage, Refused

DEFAULT_PORT = 8425
READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20.0
_POLL_INTERVAL_S = 0.05
# The shell kills the sidecar when this process dies: its standard input is a pipe from us, which then ends.
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
lint:
  interval: 5s
  old_version_after: 5s
sagas:
  - name: order
    start: OrderPlaced
    deadline: 15s
    steps:
      - {{name: payment, on: [PaymentAuthorized], within: 5s, expected_from: payment}}
      - {{name: reservation, on: [StockReserved], within: 5s, expected_from: stock}}
      - {{name: confirmation, on: [OrderConfirmed], within: 5s, expected_from: orders}}
      - {{name: scan, on: [ItemScanned], repeated: true, optional: true, expected_from: scanner}}
      - {{name: invoice, on: [InvoiceIssued], optional: true, expected_from: invoicing}}
      - {{name: dispatch, on: [shop.ParcelDispatched], within: 5s, expected_from: shipping}}
      - {{name: delivery, on: [shop.ParcelDelivered, shop.ParcelReturned], within: 5s, expected_from: shipping}}
    completed: [OrderCompleted]
    compensated: [OrderCancelled]
    compensations: [PaymentRefunded, StockReleased, CreditNoteIssued]
    failed: [PaymentRefused]
"""
HISTORY = """\
history:
  url: {directory}/history
  flush: 2s
  bodies: true
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


def render_configuration(broker: str, address: str, port: int, directory: Path) -> str:
    """Render the sidecar's configuration file, with a history if its extra packages are installed.

    Args:
        broker: `redis` or `kafka`.
        address: Bootstrap servers, or a Redis URL.
        port: Port of the API.
        directory: Directory for the history's files.
    """
    source = KAFKA_SOURCE if broker == "kafka" else REDIS_SOURCE
    filled = source.format(address=address, streams=", ".join(STREAMS))
    history = HISTORY.format(directory=directory) if find_spec("duckdb") is not None else ""
    return CONFIGURATION.format(source=filled, schemas=DIRECTORY, port=port) + history


class SidecarProcess:
    """`tracecar run` as a child process, which ends with the context manager or when this process dies."""

    def __init__(self, directory: Path, broker: str, address: str, *, prefer_default_port: bool) -> None:
        """Write the configuration.

        Args:
            directory: Directory for configuration and log.
            broker: `redis` or `kafka`.
            address: Address of the broker.
            prefer_default_port: Listen on the default port and use the user's token file, if possible.
        """
        self.has_default_address = prefer_default_port and _is_free(DEFAULT_PORT)
        """True if the command line finds the sidecar and its token without options."""
        self.port = DEFAULT_PORT if self.has_default_address else _find_free_port()
        self.token = secrets.token_urlsafe(12)
        if self.has_default_address:
            try:
                self.token = read_or_create_token(
                    Path(os.environ.get("TRACECAR_TOKEN_FILE", ApiConfig().token_file)).expanduser()
                )
            except Refused:
                self.has_default_address = False
        self.configuration = directory / "tracecar.yaml"
        self.log = directory / "tracecar.log"
        self.configuration.write_text(render_configuration(broker, address, self.port, directory))
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Address of the sidecar's API."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> SidecarProcess:
        command = [sys.executable, "-P", "-m", "sidecar", "run", "-c", str(self.configuration)]
        # -P: a module in the current directory must not replace one of ours.
        environment = os.environ | {"TRACECAR_TOKEN": self.token}
        # In a session of its own, so that Ctrl-C reaches only the demo, which reads the sidecar's counts first.
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        guard = ["/bin/sh", "-c", _GUARD, str(self._process.pid)]
        self._guard = subprocess.Popen(guard, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop the sidecar with SIGTERM, so that it drains and commits; kill it if it does not end."""
        assert self._process is not None
        assert self._guard is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with contextlib.suppress(BrokenPipeError):
            self._guard.communicate(b"\n")

    def check(self) -> None:
        """Check that the process runs. Raises Outage with the end of its log if not."""
        assert self._process is not None
        if self._process.poll() is not None:
            raise Outage(f"the sidecar ended with exit code {self._process.returncode}:\n{self._tail()}")

    async def ready(self) -> None:
        """Wait until /readyz succeeds. Raises Outage if it does not in time."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        async with httpx2.AsyncClient(base_url=self.url, trust_env=False, timeout=5) as http:
            while True:
                self.check()
                with contextlib.suppress(httpx2.TransportError):
                    if (await http.get("/readyz")).is_success:
                        return
                if time.monotonic() > deadline:
                    raise Outage(f"the sidecar was not ready within {READY_TIMEOUT_S:.0f} s:\n{self._tail()}")
                await asyncio.sleep(_POLL_INTERVAL_S)

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


def _find_free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
