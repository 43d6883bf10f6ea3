"""What the check says *now* about records that would be sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sidecar.model import Decoded, Outgoing, Position, Record, Rejection

AT_ONCE = 100
"""Records that are judged before the event loop gets its turn."""


class Opening(Protocol):
    """Decodes and checks records (`sidecar.payloads.Payloads`)."""

    async def open(self, records: Sequence[Record]) -> list[Decoded]: ...


class Checking:
    """Judges records as if they lay on the stream that they go to. `system` is the broker's."""

    def __init__(self, payloads: Opening, system: str) -> None:
        self._payloads, self._system = payloads, system

    async def __call__(self, outgoing: Sequence[Outgoing]) -> list[Rejection | None]:
        """For each why it would be rejected; None where it passes, or cannot be checked."""
        found: list[Rejection | None] = []
        for at in range(0, len(outgoing), AT_ONCE):
            records = [as_record(one, self._system) for one in outgoing[at : at + AT_ONCE]]
            found += [one.event.rejection for one in await self._payloads.open(records)]
        return found


def as_record(one: Outgoing, system: str) -> Record:
    """The record as it will lie on its stream, but for where."""
    position = Position(system, one.stream, one.partition or 0, 0)
    return Record(position, one.key, one.value, one.headers, one.timestamp or 0, one.value_at)
