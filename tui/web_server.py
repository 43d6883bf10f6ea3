"""The dashboard in a browser, served by textual-serve on the loopback interface.

Each page is a dashboard of its own. The server process knows no token, so a page has to bring one: it posts the token
to `/session`, and gets an id with which it can open one dashboard. So the token is in no address. Pages of other
origins can neither get a session nor open the WebSocket (`Origin` check), nor reach the server under another name
(`Host` check).
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shlex
import socket
import string
import sys
import time
from collections.abc import Awaitable, Callable
from html import escape
from pathlib import Path
from typing import NamedTuple

import msgspec
from aiohttp import web
from textual_serve.app_service import AppService
from textual_serve.download_manager import DownloadManager
from textual_serve.server import Server

from sidecar.api.client.client import Client, ClientError, Unauthorized
from sidecar.api.models.links import DashboardLink, parse_link

HOST = "127.0.0.1"
MAX_OPEN_PAGES = 8
"""Open pages; each one is a process."""
MAX_SESSIONS = 64
"""Sessions that no page has opened yet."""
SESSION_TIMEOUT_S = 60.0
"""Time within which a page must open its session."""
MAX_CELLS = 1_000
"""Largest width and height of a terminal."""
SECRETS = ("TRACECAR_TOKEN", "TRACECAR_TOKEN_FILE")
PAGE_FOLDER = Path(__file__).with_name("web_page")
PAGE_FILES = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}
_TOO_MANY_PAGES = f"{MAX_OPEN_PAGES} pages are already open: close one."
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self' ws://{host} wss://{host}; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class SessionRequest(msgspec.Struct):
    """Body of a request for a session."""

    token: str
    link: str = ""


class DashboardSession(NamedTuple):
    """A dashboard that a page may open: its token, and its command line."""

    token: str
    arguments: tuple[str, ...]
    until: float


class SessionProcess(AppService):
    """The process of a dashboard, which gets its token from the environment."""

    def __init__(self, session: DashboardSession, websocket: web.WebSocketResponse, downloads: DownloadManager) -> None:
        self._token = session.token
        super().__init__(
            shlex.join(session.arguments),
            write_bytes=websocket.send_bytes,
            write_str=websocket.send_str,
            close=websocket.close,  # type: ignore[arg-type]  # its result is not used
            download_manager=downloads,
            debug=False,
        )

    def _build_environment(self, width: int = 80, height: int = 24) -> dict[str, str]:
        return super()._build_environment(width, height) | {"TRACECAR_TOKEN": self._token}


class DashboardWebServer(Server):
    """Serves the dashboard of the sidecar at `url`."""

    def __init__(
        self, url: str, trace_url: str | None, listener: socket.socket, link: DashboardLink | None = None
    ) -> None:
        self._place = "" if link is None else str(link)
        self._listener, self._sidecar_url = listener, url
        port = listener.getsockname()[1]
        self._hosts = (f"{HOST}:{port}", f"localhost:{port}")
        # -P: a module in the current directory must not replace one of ours.
        self._arguments = [sys.executable, "-P", "-m", "sidecar", "tui", "--url", url]
        if trace_url:
            self._arguments += ["--trace-url", trace_url]
        self._open = 0
        self._sessions: dict[str, DashboardSession] = {}
        super().__init__(shlex.join([*self._arguments, "--ask-token"]), host=HOST, port=port, title="Tracecar")

    def initialize_logging(self) -> None:
        logging.basicConfig(level="WARNING", format="%(message)s")

    async def on_startup(self, app: web.Application) -> None:
        """Print the address."""
        sys.stderr.write(
            f"The dashboard is at {self.public_url}/{self._place} and asks for the sidecar's token. Ctrl-C stops it.\n"
        )
        sys.stderr.flush()

    async def _make_app(self) -> web.Application:
        app = await super()._make_app()
        app.middlewares.append(self._guard)
        app.add_routes(
            [
                web.get("/page/{name}", self._send_file),
                web.post("/session", self._create_session),
                web.get("/ws/{session}", self._open_session),
            ]
        )
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.host not in self._hosts:
            raise web.HTTPForbidden(text=f"Unknown host name. Open {self.public_url}/ instead.\n")
        origin = request.headers.get("Origin")
        if origin is not None and origin not in [f"http://{host}" for host in self._hosts]:
            raise web.HTTPForbidden(text="Requests from pages of other origins are refused.\n")
        if origin is None and (request.path.startswith("/ws") or request.method == "POST"):
            raise web.HTTPForbidden(text="Requests from pages of other origins are refused.\n")
        return await handler(request)

    async def handle_index(self, request: web.Request) -> web.Response:
        """Return the page. It loads nothing from other hosts."""
        page = string.Template((PAGE_FOLDER / "index.html").read_text(encoding="utf-8"))
        return web.Response(
            text=page.substitute(sidecar=escape(self._sidecar_url)),
            content_type="text/html",
            headers={
                "Content-Security-Policy": _POLICY.format(host=request.host),
                "Referrer-Policy": "no-referrer",
                "Cache-Control": "no-store",
                "X-Content-Type-Options": "nosniff",
            },
        )

    async def _send_file(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in PAGE_FILES:
            raise web.HTTPNotFound(text="There is no such file.\n")
        return web.Response(
            text=(PAGE_FOLDER / name).read_text(encoding="utf-8"),
            content_type=PAGE_FILES[name],
            headers={"X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"},
        )

    async def _create_session(self, request: web.Request) -> web.Response:
        """Check a token with the sidecar, and return the id of a session in which one dashboard can be opened."""
        try:
            wanted = msgspec.json.decode(await request.read(), type=SessionRequest)
            link = str(parse_link(wanted.link)) if wanted.link.strip("#/") else ""
        except (msgspec.DecodeError, ValueError) as error:
            return _answer(400, detail=str(error))
        if self._open >= MAX_OPEN_PAGES:
            return _answer(503, detail=_TOO_MANY_PAGES)
        try:
            async with Client(self._sidecar_url, wanted.token) as client:
                service = (await client.status()).service
        except Unauthorized as error:
            return _answer(401, detail=_sentence(error))
        except ClientError as error:
            return _answer(502, detail=_sentence(error))
        now = time.monotonic()
        self._sessions = {id: session for id, session in self._sessions.items() if session.until > now}
        if len(self._sessions) >= MAX_SESSIONS:
            return _answer(503, detail="Too many pages are being opened: try again in a minute.")
        id = secrets.token_urlsafe(24)
        arguments = (*self._arguments, *(["--", link] if link else []))
        self._sessions[id] = DashboardSession(wanted.token, arguments, now + SESSION_TIMEOUT_S)
        return _answer(200, id=id, service=service)

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """Run a dashboard that asks for the token itself."""
        self._check_open_pages()
        self._open += 1
        try:
            return await super().handle_websocket(request)
        finally:
            self._open -= 1

    async def _open_session(self, request: web.Request) -> web.WebSocketResponse:
        """Run the dashboard of a session."""
        self._check_open_pages()
        session = self._sessions.pop(request.match_info["session"], None)
        if session is None or session.until < time.monotonic():
            raise web.HTTPForbidden(text="The session is unknown or was opened already: reload the page.\n")
        self._open += 1
        try:
            return await self._run_session(request, session)
        finally:
            self._open -= 1

    def _check_open_pages(self) -> None:
        if self._open >= MAX_OPEN_PAGES:
            raise web.HTTPServiceUnavailable(text=f"{_TOO_MANY_PAGES}\n")

    async def _run_session(self, request: web.Request, session: DashboardSession) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse(heartbeat=15)
        await websocket.prepare(request)
        dashboard = SessionProcess(session, websocket, self.download_manager)
        try:
            await dashboard.start(_read_size(request, "width", 80), _read_size(request, "height", 24))
            await self._process_messages(websocket, dashboard)
        finally:
            await dashboard.stop()
        return websocket

    def serve(self, debug: bool = False) -> None:
        """Serve until Ctrl-C or SIGTERM."""
        self.initialize_logging()
        web.run_app(self._make_app(), sock=self._listener, print=None, loop=asyncio.new_event_loop())


def _answer(status: int, **values: str) -> web.Response:
    return web.Response(body=msgspec.json.encode(values), status=status, content_type="application/json")


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."


def _read_size(request: web.Request, name: str, default: int) -> int:
    value = request.query.get(name, "")
    return min(int(value), MAX_CELLS) if value.isascii() and value.isdecimal() else default


def serve(url: str, trace_url: str | None, port: int, link: DashboardLink | None = None) -> int:
    """Serve until stopped. Returns the exit code. `link`: the place that the printed address opens."""
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
    DashboardWebServer(url, trace_url, listener, link).serve()
    return 0
