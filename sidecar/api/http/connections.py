"""Limits of connections, so that a client without a token cannot make the API or the probes unavailable.

A connection must send the head of a request within a deadline. If there are too many connections, in all or from one
address, the one that has been without a request for longest is closed in favor of the new one: a probe is answered
however many idle connections there are. Connections with a running request are never closed in favor of others.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import structlog
from uvicorn.protocols.http.h11_impl import H11Protocol

log = structlog.get_logger()


@dataclass(frozen=True)
class ConnectionLimits:
    """Limits of one listener."""

    total: int = 512
    per_peer: int = 256
    head_timeout_s: float = 10.0
    """Time within which a connection must send the head of a request."""


@dataclass
class ConnectionTable:
    """The connections of one listener, the longest without a request first."""

    limits: ConnectionLimits = field(default_factory=ConnectionLimits)
    _peers: dict[LimitedProtocol, str] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)
    closed: int = 0
    """Connections that were closed in favor of others, or refused."""

    def add(self, connection: LimitedProtocol, peer: str) -> bool:
        """Add a connection, and close another one if there are too many. Returns False if there is no room."""
        while self._counts.get(peer, 0) >= self.limits.per_peer or len(self._peers) >= self.limits.total:
            from_peer = self._counts.get(peer, 0) >= self.limits.per_peer
            idle = (
                other for other, address in self._peers.items() if other.is_idle and (address == peer or not from_peer)
            )
            oldest = next(idle, None)
            if self.closed % 1_000 == 0:
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

    def build_protocol(self, *arguments: Any, **options: Any) -> LimitedProtocol:
        """Build the protocol of a new connection, as uvicorn asks for it."""
        return LimitedProtocol(self, *arguments, **options)


class LimitedProtocol(H11Protocol):
    """HTTP/1.1 on one connection, within the limits of its listener."""

    def __init__(self, table: ConnectionTable, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._table = table
        self._deadline: asyncio.TimerHandle | None = None

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
        if self._table.add(self, self.client[0] if self.client else ""):
            self._await_head()
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._table.remove(self)
        self._cancel_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.is_idle:
            self._await_head()
        else:
            self._cancel_deadline()
            self._table.touch(self)

    def _await_head(self) -> None:
        """Set the deadline, unless it is set: further bytes of an incomplete head do not move it."""
        if self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(self._table.limits.head_timeout_s, self._on_deadline)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _on_deadline(self) -> None:
        self._deadline = None
        if self.is_idle:
            self.abort()
