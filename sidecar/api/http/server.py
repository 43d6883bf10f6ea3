"""HTTP listeners: uvicorn in the sidecar's own event loop, without signal handlers of its own."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import uvicorn

from sidecar.api.http.app import ApiServices, build_api, build_probes
from sidecar.api.http.auth import build_token_store
from sidecar.api.http.connections import ConnectionLimits, ConnectionTable
from sidecar.config.schema import Config
from sidecar.domain.errors import Refused

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

GRACEFUL_STOP_S = 5
"""Time that running requests get to finish when the sidecar stops."""


class HttpListener:
    """Listens on one address."""

    def __init__(
        self, app: ASGI3Application, host: str, port: int, key: str, limits: ConnectionLimits | None = None
    ) -> None:
        self.connections = ConnectionTable(limits or ConnectionLimits())
        self._socket = _bind(host, port, key)
        self.host, self.port = host, int(self._socket.getsockname()[1])
        self._server = _UvicornServer(
            uvicorn.Config(
                app,
                log_config=None,
                log_level="error",
                access_log=False,
                lifespan="off",
                ws="none",
                http=cast("type[asyncio.Protocol]", self.connections.build_protocol),
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=GRACEFUL_STOP_S,
            )
        )
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start to listen, and return once the address accepts connections."""
        self._serving = asyncio.ensure_future(self._server.serve(sockets=[self._socket]))
        await self._server.listening.wait()

    async def stop(self) -> None:
        """Let running requests finish, then close."""
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
        yield  # the sidecar handles signals itself, to stop upstream first

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


def _bind(host: str, port: int, key: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio disables Nagle's algorithm, which would delay every answer by 40 ms, only if the protocol is named.
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
    """Check whether a configured host is a loopback address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class ApiServer:
    """The listener of the API and, if configured, the listener for probes."""

    def __init__(self, services: ApiServices, config: Config) -> None:
        self._services, self._config = services, config
        self._listeners: list[HttpListener] = []

    async def start(self) -> None:
        """Start all listeners. Raises Refused if an address or the token file cannot be used."""
        services, api, health = self._services, self._config.api, self._config.health
        app = build_api(services, build_token_store(api), loopback=is_loopback(api.host))
        self._listeners.append(HttpListener(app, api.host, api.port, "api"))
        if health.port is not None:
            probes = build_probes(services.status, services.metrics, loopback=is_loopback(health.host))
            self._listeners.append(HttpListener(probes, health.host, health.port, "health"))
        for listener in self._listeners:
            await listener.start()

    @property
    def url(self) -> str:
        """Address of the API, once it is started."""
        return self._listeners[0].url

    @property
    def probes_url(self) -> str | None:
        """Address of the listener for probes; None if there is none."""
        return self._listeners[1].url if len(self._listeners) > 1 else None

    async def stop(self) -> None:
        """End the live streams, let running requests finish, and close."""
        self._services.live.close()
        await asyncio.gather(*(listener.stop() for listener in self._listeners))
        self._listeners.clear()
