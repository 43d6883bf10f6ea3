"""The API's listeners: uvicorn within our own event loop, without signal handlers of its own."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

import uvicorn

from sidecar.api.http.app import build, build_probes
from sidecar.api.http.auth import tokens
from sidecar.api.services.answers import ReadService
from sidecar.config.schema import Config
from sidecar.domain.errors import Refused
from sidecar.pipeline.live_stream import LiveStream
from sidecar.replay.ports import DeadLetterOperations

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

MOST_CONNECTIONS = 512
STOP_SECONDS = 5
"""How long requests under way may take once we stop."""


class HttpListener:
    """One address that is listened on."""

    def __init__(self, app: ASGI3Application, host: str, port: int, key: str) -> None:
        self._socket = _bound(host, port, key)
        self.host, self.port = host, int(self._socket.getsockname()[1])
        self._server = _UvicornServer(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                http="h11",
                server_header=False,
                proxy_headers=False,
                limit_concurrency=MOST_CONNECTIONS,
                timeout_graceful_shutdown=STOP_SECONDS,
            )
        )
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns once it listens."""
        self._serving = asyncio.ensure_future(self._server.serve(sockets=[self._socket]))
        await self._server.listening.wait()

    async def stop(self) -> None:
        """Answer what is under way, then close."""
        if self._serving is None:
            self._socket.close()
            return
        self._server.should_exit = True
        await self._serving

    @property
    def url(self) -> str:
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"


class _UvicornServer(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # the sidecar handles signals itself: it stops upstream first

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


def _bound(host: str, port: int, key: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP, for only then asyncio switches Nagle's algorithm off: it would add 40 ms to every answer.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise Refused(
            f"{key}: cannot listen on {host} port {port} ({error.strerror or error}): is another sidecar running there?"
        ) from error
    bound.setblocking(False)
    return bound


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class ApiServer:
    """The API and, where configured, the listener for probes."""

    def __init__(self, answers: ReadService, live: LiveStream, acting: DeadLetterOperations, config: Config) -> None:
        self._answers, self._live, self._acting, self._config = answers, live, acting, config
        self._listeners: list[HttpListener] = []

    async def start(self) -> None:
        """Returns once all listen. Raises Refused where an address or the token file cannot be used."""
        api, health = self._config.api, self._config.health
        app = build(self._answers, self._live, self._acting, tokens(api), loopback=is_loopback(api.host))
        self._listeners.append(HttpListener(app, api.host, api.port, "api"))
        if health.port is not None:
            probes = build_probes(self._answers.facts, loopback=is_loopback(health.host))
            self._listeners.append(HttpListener(probes, health.host, health.port, "health"))
        for listener in self._listeners:
            await listener.start()

    @property
    def url(self) -> str:
        """Where the API is, once it was started."""
        return self._listeners[0].url

    @property
    def probes_url(self) -> str | None:
        return self._listeners[1].url if len(self._listeners) > 1 else None

    async def stop(self) -> None:
        """End the live streams, answer what is under way, close."""
        self._live.close()
        await asyncio.gather(*(listener.stop() for listener in self._listeners))
        self._listeners.clear()
