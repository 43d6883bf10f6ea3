"""The port through which a service of the shop publishes and reads."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Protocol

from sidecar.demo.shop.messages import WireRecord

MIN_STREAM_ENTRIES = 100_000
"""Minimum number of entries that a stream keeps."""


class ShopTransport(Protocol):
    """One service's connection to the broker."""

    async def publish(self, stream: str, wire: WireRecord) -> None:
        """Publish a record and wait until the broker has it."""

    def read(self, streams: Sequence[str]) -> AsyncGenerator[tuple[str, WireRecord], None]:
        """Yield the records of these streams from their beginning, each with its stream. Never ends."""

    async def close(self) -> None:
        """Close the connection."""


Connect = Callable[[str], Awaitable[ShopTransport]]
"""Connects the service with this name."""
