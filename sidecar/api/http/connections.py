"""Limits of connections, so that a client without a token cannot make the API or the probes unavailable.

A connection must send the head of a request within a deadline. If there are too many connections, in all or from one
address, the one that has been without a request for longest is closed in favor of the new one: a probe is answered
however many idle connections there are. Connections with a running request are never closed in favor of others.

Requests that servers and proxies read differently (RFC 9112, sections 2.2, 5.2, 6.3 and 11.2) are refused, so that
none is smuggled past a proxy.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import Any

import h11
import structlog
from uvicorn.protocols.http.h11_impl import H11Protocol

log = structlog.get_logger()

MAX_HEAD_BYTES = 65_536
"""Longest request line with its headers."""
MIN_REFUSALS_PER_LOG_LINE = 1_000
"""Closed connections or malformed requests for which one line is logged: anyone can cause them."""
_AMBIGUOUS_HEAD = re.compile(rb"(?<!\r)\n|\n[ \t]")
"""A line that ends with LF alone, or one that continues the line before it."""
_HEAD_END = re.compile(rb"\n\r?\n")


@dataclass(frozen=True)
class ConnectionLimits:
    """Limits of one listener."""

    total: int = 512
    per_peer: int = 256
    head_timeout_s: float = 10.0
    """Time within which a connection must send the head of a request."""
    body_timeout_s: float = 60.0
    """Time without a further byte of a request's body after which the connection is closed."""


@dataclass
class ConnectionTable:
    """The connections of one listener, the longest without a request first."""

    limits: ConnectionLimits = field(default_factory=ConnectionLimits)
    _peers: dict[LimitedProtocol, str] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)
    closed: int = 0
    """Connections that were closed in favor of others, or refused."""
    malformed: int = 0
    """Requests that were not HTTP/1.1, or ambiguous."""

    def add(self, connection: LimitedProtocol, peer: str) -> bool:
        """Add a connection, and close another one if there are too many. Returns False if there is no room."""
        while self._counts.get(peer, 0) >= self.limits.per_peer or len(self._peers) >= self.limits.total:
            from_peer = self._counts.get(peer, 0) >= self.limits.per_peer
            idle = (
                other for other, address in self._peers.items() if other.is_idle and (address == peer or not from_peer)
            )
            oldest = next(idle, None)
            if self.closed % MIN_REFUSALS_PER_LOG_LINE == 0:
                log.warning("too many connections: closing idle ones", peer=peer, connections=len(self._peers))
            self.closed += 1
            if oldest is None:
                return False
            self.remove(oldest)
            oldest.abort()
        self._peers[connection] = peer
        self._counts[peer] = self._counts.get(peer, 0) + 1
        return True

    def remove(self, connection: LimitedProtocol) -> None:
        """Remove a connection."""
        peer = self._peers.pop(connection, None)
        if peer is not None:
            self._counts[peer] -= 1
            if not self._counts[peer]:
                del self._counts[peer]

    def touch(self, connection: LimitedProtocol) -> None:
        """Note that a connection sent a request."""
        peer = self._peers.pop(connection, None)
        if peer is not None:
            self._peers[connection] = peer

    def count_malformed(self, peer: str) -> None:
        """Count a malformed request."""
        if self.malformed % MIN_REFUSALS_PER_LOG_LINE == 0:
            log.warning("a client sent what is not a valid HTTP/1.1 request", peer=peer)
        self.malformed += 1

    def build_protocol(self, *arguments: Any, **options: Any) -> LimitedProtocol:
        """Build the protocol of a new connection, as uvicorn asks for it."""
        return LimitedProtocol(self, *arguments, **options)


class StrictConnection(h11.Connection):
    """The parser of one connection, which refuses ambiguous requests that h11 accepts."""

    def next_event(self) -> Any:
        """Return the next event. Raises h11.RemoteProtocolError for an ambiguous request."""
        if self.their_state is h11.IDLE:
            received = self.trailing_data[0]
            end = _HEAD_END.search(received)
            head = received[: end.end()] if end else received
            if _AMBIGUOUS_HEAD.search(head):
                raise h11.RemoteProtocolError("a line ends with LF alone, or continues the line before it")
        event = super().next_event()
        if isinstance(event, h11.Request):
            if event.http_version not in (b"1.0", b"1.1"):
                raise h11.RemoteProtocolError("the version is not HTTP/1.0 or HTTP/1.1", error_status_hint=505)
            names = {name for name, _ in event.headers}
            if b"content-length" in names and b"transfer-encoding" in names:
                raise h11.RemoteProtocolError("the request has both Content-Length and Transfer-Encoding")
        return event


class LimitedProtocol(H11Protocol):
    """HTTP/1.1 on one connection, within the limits of its listener."""

    def __init__(self, table: ConnectionTable, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.conn = StrictConnection(h11.SERVER, MAX_HEAD_BYTES)
        self._table = table
        self._deadline: asyncio.TimerHandle | None = None
        self._received = 0
        """Calls of `data_received`, to see whether a body makes progress."""

    @property
    def is_idle(self) -> bool:
        """True while no request is running."""
        return self.cycle is None or self.cycle.response_complete

    def abort(self) -> None:
        """Close the connection at once, even if the client has not read all replies."""
        self._cancel_deadline()
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        if self._table.add(self, self._peer):
            self._await_head()
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._table.remove(self)
        self._cancel_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._received += 1
        super().data_received(data)
        if self.is_idle:
            self._await_head()
        else:
            self._cancel_deadline()
            self._table.touch(self)
            self._await_body()

    def handle_events(self) -> None:
        """Handle what was received. Nothing is read behind a chunked body, whose end servers find differently."""
        super().handle_events()
        if self.cycle is not None and any(name == b"transfer-encoding" for name, _ in self.cycle.scope["headers"]):
            self.cycle.keep_alive = False

    def send_400_response(self, msg: str) -> None:
        """Refuse a malformed request, and close the connection; its running request sees a disconnect."""
        self._table.count_malformed(self._peer)
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.abort()
        else:
            super().send_400_response(msg)
        if not self.is_idle:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    @property
    def _peer(self) -> str:
        return self.client[0] if self.client else ""

    def _await_head(self) -> None:
        """Set the deadline, unless it is set: further bytes of an incomplete head do not move it."""
        if self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(self._table.limits.head_timeout_s, self._on_deadline)

    def _await_body(self) -> None:
        if self.cycle.more_body and not self.transport.is_closing():
            timeout_s = self._table.limits.body_timeout_s
            self._deadline = self.loop.call_later(timeout_s, self._on_body_deadline, self._received)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _on_deadline(self) -> None:
        self._deadline = None
        if self.is_idle:
            self.abort()

    def _on_body_deadline(self, received: int) -> None:
        self._deadline = None
        if self.is_idle or not self.cycle.more_body:
            return
        if self._received == received and not self.flow.read_paused:
            self.abort()
        else:
            self._await_body()
