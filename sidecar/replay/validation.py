"""Validation of records before they are sent, as if they were on their target stream already."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from sidecar.decoding.schema_cache import SchemaCache
from sidecar.domain.model import Decoded, Outgoing, Record, Rejection
from sidecar.domain.ports.record_decoder import RecordDecoder
from sidecar.domain.position import Position

RECORDS_PER_YIELD = 50
"""Records to validate before yielding to the event loop."""
VALIDATION_TIMEOUT_S = 15.0
"""Time limit of one call, because every schema that a slow registry does not return costs time."""
UNCHECKED = "unchecked"
"""Code of records that could not be checked."""


class RecordValidator:
    """Validates records as if they were on their target stream.

    `system` is the broker's; `trouble` returns the reason why the registry is unreachable, or None; `clock` returns
    seconds.
    """

    def __init__(
        self,
        payloads: RecordDecoder,
        system: str,
        trouble: Callable[[], str | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._payloads, self._system = payloads, system
        self._trouble, self._clock = trouble, clock

    async def __call__(self, outgoing: Sequence[Outgoing]) -> list[Rejection | None]:
        """Return for each record the rejection that it would get; None if it passes or no schema is registered.

        If the registry is unreachable or too slow, the rejection has the code `unchecked`; it raises no error.
        """
        rejections: list[Rejection | None] = []
        until = self._clock() + VALIDATION_TIMEOUT_S
        for at in range(0, len(outgoing), RECORDS_PER_YIELD):
            records = [as_record(record, self._system) for record in outgoing[at : at + RECORDS_PER_YIELD]]
            try:
                async with asyncio.timeout(max(until - self._clock(), 0)):
                    opened = await self._payloads.open(records)
            except TimeoutError:
                late = _build_unchecked(f"the registry did not give the schemas within {VALIDATION_TIMEOUT_S:g} s")
                return rejections + [late] * (len(outgoing) - len(rejections))
            rejections += [self._describe(decoded) for decoded in opened]
        return rejections

    def _describe(self, decoded: Decoded) -> Rejection | None:
        if decoded.event.rejection is None and decoded.event.unchecked:
            trouble = self._trouble()
            return None if trouble is None else _build_unchecked(trouble)
        return decoded.event.rejection


def describe_registry_trouble(catalog: SchemaCache) -> str | None:
    """Return the reason why the registry is unreachable; None if it is reachable, as far as it was tried."""
    return (catalog.problem or "no answer") if catalog.reachable is False else None


def _build_unchecked(why: str) -> Rejection:
    return Rejection(UNCHECKED, f"it could not be checked: {why}"[:2_000])


def as_record(outgoing: Outgoing, system: str) -> Record:
    """Build the record as it will be on its stream, without its final offset."""
    position = Position(system, outgoing.stream, outgoing.partition or 0, 0)
    return Record(position, outgoing.key, outgoing.value, outgoing.headers, outgoing.timestamp or 0, outgoing.value_at)
