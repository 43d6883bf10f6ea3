"""What stands before the routes: who asks, from where, and ids in paths that hold slashes.

Positions (`kafka://orders/0/4711`) and dead-letter ids hold slashes and may hold percent signs. They work in a path
percent-encoded, which is right, and raw, which is what people type: whatever stands where a path expects an id becomes
one segment before routing, which `id_of` turns back into text.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from sidecar.api import models
from sidecar.api.http.auth import TokenStore
from sidecar.api.http.problem_details import MEDIA_TYPE, encoded, problem
from sidecar.domain.position import SCHEME

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope

OPEN = frozenset({"/healthz", "/readyz", "/metrics"})
"""No token is asked for here."""
CALLER = "tracecar.caller"
"""The key of the ASGI scope that holds the `Caller`."""
LONGEST_TARGET = 16_384
"""Bytes of a path and query string."""

_ID = re.compile(r"(/v1/(?:events|flows|aggregates|dead-letters|schemas)/)(.+)", re.DOTALL)
_STREAM = re.compile(r"(/v1/streams/)(.+)(/(?:resume|skip))", re.DOTALL)
_RAW = re.compile(rf"(?:^|(?<=@))({SCHEME}):/+")
"""Where a position that was not encoded begins."""

HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)


class EdgeMiddleware:
    """Wraps the application. `tokens` None: everything is open (the listener for probes)."""

    def __init__(self, app: ASGI3Application, tokens: TokenStore | None, *, loopback: bool) -> None:
        self._app, self._tokens, self._loopback = app, tokens, loopback

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope["path"], headers, len(scope["raw_path"]) + len(scope["query_string"]))
        if refusal is None and self._tokens is not None and scope["path"] not in OPEN:
            caller = self._tokens.caller(headers.get("authorization"))
            if caller is None:
                refusal = problem(401, _UNAUTHORISED if "authorization" in headers else _NO_TOKEN)
            scope[CALLER] = caller  # type: ignore[literal-required]  # ASGI lets servers add keys of their own
        if refusal is not None:
            await _refuse(send, refusal)
            return
        scope["path"] = _one_segment(scope["raw_path"].decode("utf-8", "surrogateescape"), scope["path"])

        async def sending(message: object) -> None:
            if message["type"] == "http.response.start":  # type: ignore[index]
                message["headers"] = [*message.get("headers", ()), *HEADERS]  # type: ignore[index, attr-defined]
            await send(message)  # type: ignore[arg-type]

        await self._app(scope, receive, sending)

    def _refusal(self, path: str, headers: dict[str, str], length: int) -> models.Problem | None:
        if length > LONGEST_TARGET:
            return problem(414, f"the path and query are {length} bytes long; at most {LONGEST_TARGET} are read")
        if self._loopback and not _is_local(headers.get("host", "")):
            return problem(421, f"this listens on loopback only, and is not {headers.get('host', '')!r}")
        return None


_NO_TOKEN = "a token is needed: send it as `Authorization: Bearer TOKEN`"
_UNAUTHORISED = "this token is not known here"


async def _refuse(send: ASGISendCallable, value: models.Problem) -> None:
    body = encoded(value)
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode()), *HEADERS]
    if value.status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="tracecar"'))
    await send({"type": "http.response.start", "status": value.status, "headers": headers, "trailers": False})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _is_local(host: str) -> bool:
    """A name or address that only this machine can be meant by. A web page whose own name was pointed at loopback (DNS
    rebinding) brings that name here."""
    name = re.sub(r":[0-9]+$", "", host).strip("[]").lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _one_segment(raw: str, path: str) -> str:
    """The path with its id, if it has one, as one segment."""
    raw = raw.partition("?")[0]
    if match := _STREAM.fullmatch(raw):
        return match[1] + _quoted(_id(match[2])) + match[3]
    if match := _ID.fullmatch(raw):
        return match[1] + _quoted(_id(match[2]))
    return path


def _quoted(id: str) -> str:
    return quote(id, safe="", errors="surrogateescape")


def _id(written: str) -> str:
    """What an id in a path means. Encoded, it is decoded once. A position written raw keeps its own percent signs. The
    slash that some proxies take away comes back."""
    raw = _RAW.search(written)
    encoded_part, rest = (written, "") if raw is None else (written[: raw.start()], written[raw.start() :])
    return _RAW.sub(r"\1://", unquote(encoded_part, errors="surrogateescape") + rest, count=1)


def id_of(segment: str) -> str:
    """The text of an id that `EdgeMiddleware` made one segment of."""
    return unquote(segment, errors="surrogateescape")
