"""Visibility of streams: callers may read the watched streams, and those with their dead letters.

A broker usually lets the sidecar read more streams. A caller must not read those through the sidecar.
"""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.api.services.ports import DeadLetterSource, StatusProvider
from sidecar.domain.json_safe import to_text
from sidecar.domain.ports.broker import Broker


class WatchedStreams:
    """Streams that the brokers watch for this sidecar."""

    def __init__(self, brokers: Sequence[Broker]) -> None:
        self._brokers = list(brokers)

    async def contains(self, system: str, stream: str) -> bool:
        """Check whether this is a watched stream. Raises Outage and Refused."""
        for broker in self._brokers:
            if broker.system == system:
                for status in await broker.status():
                    if status.partition.stream == stream:
                        return True
        return False


class StreamVisibility:
    """Streams whose records callers may see."""

    def __init__(self, status: StatusProvider, dead_letters: DeadLetterSource) -> None:
        self._status, self._dead_letters = status, dead_letters

    async def allows(self, system: str, stream: str) -> bool:
        """Check whether this is a watched stream or holds dead letters of one. Raises Outage and Refused."""
        watched = {status.stream for status in (await self._status.status()).streams if status.system == system}
        return to_text(stream) in watched or await self._dead_letters.reads(system, stream)
