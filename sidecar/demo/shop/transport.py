"""How a service of the shop publishes and reads: the plain clients that any service would use."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Protocol

from sidecar.demo.shop.messages import WireRecord

HISTORY = 100_000
"""Entries that a stream keeps at least."""


class ShopTransport(Protocol):
    """One service's connection to the broker."""

    async def publish(self, stream: str, wire: WireRecord) -> None:
        """Return once the broker has the record."""

    def read(self, streams: Sequence[str]) -> AsyncGenerator[tuple[str, WireRecord], None]:
        """Every record of these streams, from their beginning, with the stream that it stood on. Never ends."""

    async def close(self) -> None: ...


Connect = Callable[[str], Awaitable[ShopTransport]]
"""Makes the connection of a service with this name."""
