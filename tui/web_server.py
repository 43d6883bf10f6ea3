"""The dashboard in a browser, served by textual-serve on the loopback interface.

Each page is a dashboard of its own that asks for the token.

The server process knows no token, so a page has to bring one. Pages of other origins can neither open the WebSocket
(`Origin` check) nor reach the server under another name (`Host` check).
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shlex
import socket
import sys
from collections.abc import Awaitable, Callable

from aiohttp import web
from textual_serve.server import Server

HOST = "127.0.0.1"
MAX_OPEN_PAGES = 8
"""Open pages; each one is a process."""
SECRETS = ("TRACECAR_TOKEN", "TRACECAR_TOKEN_FILE")
_FONTS = re.compile(r"<link[^>]*fonts\.googleapis\.com[^>]*>", re.DOTALL)
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self' ws://{host}; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class DashboardWebServer(Server):
    """Serves the dashboard of the sidecar at `url`."""

    def __init__(self, url: str, trace_url: str | None, listener: socket.socket) -> None:
        self._listener = listener
        port = listener.getsockname()[1]
        self._hosts = (f"{HOST}:{port}", f"localhost:{port}")
        # -P: a module in the current directory must not replace one of ours.
        command = [sys.executable, "-P", "-m", "sidecar", "tui", "--ask-token", "--url", url]
        if trace_url:
            command += ["--trace-url", trace_url]
        self._open = 0
        super().__init__(shlex.join(command), host=HOST, port=port, title="Tracecar")

    def initialize_logging(self) -> None:
        logging.basicConfig(level="WARNING", format="%(message)s")

    async def on_startup(self, app: web.Application) -> None:
        """Print the address."""
        sys.stderr.write(f"The dashboard is at {self.public_url}/ and asks for the sidecar's token. Ctrl-C stops it.\n")
        sys.stderr.flush()

    async def _make_app(self) -> web.Application:
        app = await super()._make_app()
        app.middlewares.append(self._guard)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.host not in self._hosts:
            raise web.HTTPForbidden(text=f"Unknown host name. Open {self.public_url}/ instead.\n")
        origin = request.headers.get("Origin")
        if origin is not None and origin not in [f"http://{host}" for host in self._hosts]:
            raise web.HTTPForbidden(text="Requests from pages of other origins are refused.\n")
        if request.path == "/ws" and origin is None:
            raise web.HTTPForbidden(text="Requests from pages of other origins are refused.\n")
        return await handler(request)

    async def handle_index(self, request: web.Request) -> web.Response:
        """Return the page. It loads nothing from other hosts."""
        self.public_url = f"http://{request.host}"
        response = await super().handle_index(request)
        assert isinstance(response, web.Response)
        response.text = _FONTS.sub("", response.text or "")
        response.headers["Content-Security-Policy"] = _POLICY.format(host=request.host)
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cache-Control"] = "no-store"
        return response

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        if self._open >= MAX_OPEN_PAGES:
            raise web.HTTPServiceUnavailable(text=f"{MAX_OPEN_PAGES} pages are already open: close one.\n")
        self._open += 1
        try:
            return await super().handle_websocket(request)
        finally:
            self._open -= 1

    def serve(self, debug: bool = False) -> None:
        """Serve until Ctrl-C or SIGTERM."""
        self.initialize_logging()
        web.run_app(self._make_app(), sock=self._listener, print=None, loop=asyncio.new_event_loop())


def serve(url: str, trace_url: str | None, port: int) -> int:
    """Serve until stopped. Returns the exit code."""
    for name in SECRETS:
        os.environ.pop(name, None)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen()
    except OSError as error:
        sys.stderr.write(
            f"tracecar: cannot listen on {HOST}:{port}: {error.strerror}. Choose another port with --port.\n"
        )
        return 1
    DashboardWebServer(url, trace_url, listener).serve()
    return 0
