"""Payloads read back when somebody looks: from a small cache of what just passed, else from the broker itself."""

from __future__ import annotations

import asyncio
import contextlib
from bisect import bisect_right
from collections import deque
from collections.abc import Mapping, Sequence

from sidecar.api.mappers.payload import ReadPayload
from sidecar.decoding.decoder import EventDecoder
from sidecar.domain.errors import Outage, Refused
from sidecar.domain.model import Decoded, Record
from sidecar.domain.ports.broker import Broker
from sidecar.domain.position import Partition, Position

CACHE_BYTES = 8 << 20
CACHE_RECORDS = 10_000
"""A record costs some 600 bytes beside its value."""
SCHEMA_SECONDS = 3.0
"""How long somebody who looks waits for a schema that is not cached."""
GONE = "the broker does not hold this record any more (retention or a trim has taken it)"
AT_ONCE = 16
"""Positions read from the brokers at the same time for one answer."""


class PayloadCache:
    """The records of the latest batches, by position. Bounded by bytes and by count, whole batches at a time."""

    def __init__(self, most_bytes: int = CACHE_BYTES, most_records: int = CACHE_RECORDS) -> None:
        self._most_bytes, self._most_records = most_bytes, most_records
        self._batches: deque[tuple[Partition, int, Sequence[Record]]] = deque()
        """Partition, bytes of the values, records."""
        self._starts: dict[Partition, list[tuple[int, Sequence[Record]]]] = {}
        """By partition: first offset and records of each batch, by first offset."""
        self._bytes = self._records = 0

    def keep(self, records: Sequence[Record]) -> None:
        """Take a batch of one partition, in order. Costs a fraction of a microsecond an event."""
        if not records:
            return
        size = sum([len(record.value) for record in records if record.value is not None])
        if size > self._most_bytes:
            return
        first = records[0].position
        self._batches.append((first.log, size, records))
        starts = self._starts.setdefault(first.log, [])
        starts.append((first.offset, records))
        if len(starts) > 1 and starts[-2][0] > first.offset:
            starts.sort(key=_first)
        self._bytes += size
        self._records += len(records)
        while self._bytes > self._most_bytes or self._records > self._most_records:
            self._evict()

    def _evict(self) -> None:
        partition, size, records = self._batches.popleft()
        self._bytes -= size
        self._records -= len(records)
        left = [start for start in self._starts[partition] if start[1] is not records]
        if left:
            self._starts[partition] = left
        else:
            del self._starts[partition]

    def get(self, position: Position) -> Record | None:
        starts = self._starts.get(position.log, [])
        at = bisect_right(starts, position.offset, key=_first)
        # A batch that came again may overlap the one before it: look at both.
        for _, records in starts[max(0, at - 2) : at]:
            found = bisect_right(records, position.offset, key=_offset)
            if found and records[found - 1].position.offset == position.offset:
                return records[found - 1]
        return None


def _first(start: tuple[int, Sequence[Record]]) -> int:
    return start[0]


def _offset(record: Record) -> int:
    return record.position.offset


class PayloadReader:
    """Reads records back and decodes them."""

    def __init__(self, brokers: Mapping[str, Broker], judge: EventDecoder, cache: PayloadCache) -> None:
        self._brokers, self._judge, self._cache = brokers, judge, cache

    async def at(self, position: Position) -> ReadPayload:
        """The record at a position, decoded. Raises nothing, as `all`; where there is none, it looks why."""
        (payload,) = await self.all([position])
        if payload.note == GONE:
            with contextlib.suppress(Outage, Refused):
                payload.note = await _why_not(self._brokers[position.system], position)
        return payload

    async def all(self, positions: Sequence[Position]) -> list[ReadPayload]:
        """The records at these positions, decoded, in the order asked for. Raises nothing: what could not be had is
        said in its note."""
        turn = asyncio.Semaphore(AT_ONCE)

        async def one(position: Position) -> Record | str:
            record = self._cache.get(position)
            if record is not None:
                return record
            async with turn:
                return await self._read(position)

        read = await asyncio.gather(*(one(position) for position in positions))
        decoded = iter(await self.open([record for record in read if isinstance(record, Record)]))
        return [ReadPayload(next(decoded)) if isinstance(one, Record) else ReadPayload(note=one) for one in read]

    async def _read(self, position: Position) -> Record | str:
        broker = self._brokers.get(position.system)
        if broker is None:
            return f"no {position.system} source is configured here: the payload cannot be read"
        try:
            return await broker.read(position) or GONE
        except (Outage, Refused) as error:
            return f"the payload could not be read: {error}"

    async def open(self, records: Sequence[Record]) -> list[Decoded]:
        """Decode records as the pipeline does. Where a schema cannot be had soon they stay undecoded, `unchecked`."""
        return await self._judge.decode_with_schemas(records, timeout_s=SCHEMA_SECONDS)


async def _why_not(broker: Broker, position: Position) -> str:
    """Why there is no record at a position. Raises Outage, Refused."""
    partition = position.log
    if partition not in await broker.partitions(position.stream):
        return f"the broker has no {partition} (any more)"
    _, end = await broker.bounds(partition)
    if position.offset >= end:
        return "the broker has no record there yet"
    return GONE
