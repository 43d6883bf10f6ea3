"""ASGI middleware in front of the routes: authentication, host check, security headers, and ids with slashes.

Positions (`kafka://orders/0/4711`) and dead-letter ids contain slashes and may contain percent signs. In a path they
may be percent-encoded, which is correct, or raw, which is what people type. The middleware turns the id part of a path
into one segment before routing, and `id_of` turns the segment back into text.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from sidecar.api import models
from sidecar.api.documents.formats import negotiate_format
from sidecar.api.http.auth import TokenStore, read_basic_token
from sidecar.api.http.problem_details import MEDIA_TYPE, encode_problem, problem
from sidecar.domain.position import SCHEME

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
"""Paths that need no token."""
MAX_RUNNING_REQUESTS = 256
"""Requests that run at the same time, without probes and scrapes."""
CALLER = "tracecar.caller"
"""The key of the ASGI scope that holds the `Caller`."""
MAX_TARGET_BYTES = 16_384
"""Longest path with its query string."""

_PAGE_PATH = "/v1/flows/"
_ID = re.compile(r"(/v1/(?:events|flows|aggregates|dead-letters|schemas|sagas)/)(.+)", re.DOTALL)
_STREAM = re.compile(r"(/v1/streams/)(.+)(/(?:resume|skip))", re.DOTALL)
_RAW = re.compile(rf"(?:^|(?<=@))({SCHEME}):/+")
"""The beginning of a position that is not encoded."""

HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)


class EdgeMiddleware:
    """Wraps the application. If `tokens` is None, no path needs a token (the listener for probes)."""

    def __init__(self, app: ASGI3Application, tokens: TokenStore | None, *, loopback: bool) -> None:
        self._app, self._tokens, self._loopback = app, tokens, loopback
        self._running = 0

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope["path"], headers, len(scope["raw_path"]) + len(scope["query_string"]))
        if refusal is None and self._tokens is not None and scope["path"] not in OPEN_PATHS:
            page = _is_page_request(scope["method"], scope["path"], headers)
            authorization = headers.get("authorization")
            if page and authorization is not None:
                authorization = read_basic_token(authorization) or authorization
            caller = self._tokens.caller(authorization)
            if caller is None:
                refusal = problem(401, _UNKNOWN_TOKEN if "authorization" in headers else _NO_TOKEN)
            elif self._running >= MAX_RUNNING_REQUESTS:
                refusal = problem(503, f"{MAX_RUNNING_REQUESTS} requests are running: try again")
            scope[CALLER] = caller  # type: ignore[literal-required]  # ASGI lets servers add keys of their own
        if refusal is not None:
            await _refuse(send, refusal, prompt=_is_page_request(scope["method"], scope["path"], headers))
            return
        scope["path"] = _one_segment(scope["raw_path"].decode("utf-8", "surrogateescape"), scope["path"])

        async def sending(message: object) -> None:
            if message["type"] == "http.response.start":  # type: ignore[index]
                own = list(message.get("headers", ()))  # type: ignore[attr-defined]
                names = {name.lower() for name, _ in own}
                more = [header for header in HEADERS if header[0] not in names]
                message["headers"] = [*own, *more]  # type: ignore[index]
            await send(message)  # type: ignore[arg-type]

        counted = int(scope["path"] not in OPEN_PATHS)
        self._running += counted
        try:
            await self._app(scope, receive, sending)
        finally:
            self._running -= counted

    def _refusal(self, path: str, headers: dict[str, str], length: int) -> models.Problem | None:
        if length > MAX_TARGET_BYTES:
            return problem(414, f"the path and query have {length} bytes; the limit is {MAX_TARGET_BYTES}")
        if self._loopback and not _is_local(headers.get("host", "")):
            return problem(
                421,
                f"this server listens on loopback only and does not answer for the host {headers.get('host', '')!r}",
            )
        return None


_NO_TOKEN = "a token is required: send it as `Authorization: Bearer TOKEN`"
_UNKNOWN_TOKEN = "the token is unknown to this sidecar"


def _is_page_request(method: str, path: str, headers: dict[str, str]) -> bool:
    """Check for a browser that opens the page of a flow.

    It cannot send a bearer token, so it may send the token as a password. Browsers add remembered passwords to requests
    that other sites trigger; therefore nothing but these pages, which no other site can read, accepts them.
    """
    return (
        method in ("GET", "HEAD") and path.startswith(_PAGE_PATH) and negotiate_format(headers.get("accept")) == "html"
    )


async def _refuse(send: ASGISendCallable, value: models.Problem, *, prompt: bool = False) -> None:
    """Answer with a problem. `prompt`: let a browser ask for the token."""
    body = encode_problem(value)
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode()), *HEADERS]
    if value.status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="tracecar"'))
        if prompt:
            headers.append((b"www-authenticate", b'Basic realm="Tracecar: the password is the token", charset="UTF-8"'))
    await send({"type": "http.response.start", "status": value.status, "headers": headers, "trailers": False})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _is_local(host: str) -> bool:
    """Tell whether a host name can mean this machine only.

    A web page whose own name was pointed at loopback (DNS rebinding) sends that name.
    """
    name = re.sub(r":[0-9]+$", "", host).strip("[]").lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _one_segment(raw: str, path: str) -> str:
    """Return the path with its id, if it has one, as one segment."""
    raw = raw.partition("?")[0]
    if match := _STREAM.fullmatch(raw):
        return match[1] + _quote(_decode_id(match[2])) + match[3]
    if match := _ID.fullmatch(raw):
        return match[1] + _quote(_decode_id(match[2]))
    return path


def _quote(id: str) -> str:
    return quote(id, safe="", errors="surrogateescape")


def _decode_id(written: str) -> str:
    """Decode an id in a path.

    An encoded id is decoded once; a raw position keeps its own percent signs. The slash that some proxies remove from
    `://` is restored.
    """
    raw = _RAW.search(written)
    encoded_part, rest = (written, "") if raw is None else (written[: raw.start()], written[raw.start() :])
    return _RAW.sub(r"\1://", unquote(encoded_part, errors="surrogateescape") + rest, count=1)


def id_of(segment: str) -> str:
    """Return the id that `EdgeMiddleware` turned into one segment."""
    return unquote(segment, errors="surrogateescape")
