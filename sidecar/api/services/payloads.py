"""Payloads, read back on request: from a small cache of the latest batches, else from the broker."""

from __future__ import annotations

import asyncio
import contextlib
import time
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from sidecar.api.mappers.payload import ReadPayload
from sidecar.api.services.stored_payloads import StoredPayloads
from sidecar.decoding.decoder import EventDecoder
from sidecar.domain.errors import Outage, Refused
from sidecar.domain.large_records import count_value_bytes
from sidecar.domain.model import Decoded, Record
from sidecar.domain.ports.broker import Broker
from sidecar.domain.position import Partition, Position
from sidecar.domain.record_size import count_record_bytes

MAX_CACHE_BYTES = 8 << 20
MAX_CACHE_RECORDS = 10_000
CACHE_IDLE_S = 60.0
"""Time without a request for a payload after which the cache is dropped."""
SCHEMA_TIMEOUT_S = 3.0
"""Longest wait of a request for a schema that is not cached."""
GONE = "the broker no longer has this record (deleted by retention or a trim)"
MAX_CONCURRENT_READS = 16
"""Positions to read from the brokers at the same time for one request."""
MAX_HELD_BYTES = 4 << 20
"""Size of the payloads that `each` holds at once. Their bodies take several times as much."""
MIN_PAYLOADS_PER_READ, GROWTH_PER_READ_FACTOR, MAX_PAYLOADS_PER_READ = 8, 4, 64
"""Payloads that `each` reads at once: at first, while their size is unknown, then some times as many, and at most."""


class PayloadCache:
    """Records of the latest batches, by position. Bounded by bytes and by count; evicts whole batches."""

    def __init__(
        self,
        most_bytes: int = MAX_CACHE_BYTES,
        most_records: int = MAX_CACHE_RECORDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most_bytes, self._most_records, self._clock = most_bytes, most_records, clock
        self._batches: deque[tuple[Partition, int, Sequence[Record]]] = deque()
        """Partition, memory and records of each batch."""
        self._starts: dict[Partition, list[tuple[int, Sequence[Record]]]] = {}
        """First offset and records of each batch, in the order of offsets, by partition."""
        self._bytes = self._records = 0
        self._read_at = -CACHE_IDLE_S

    @property
    def in_use(self) -> bool:
        """True if a payload was requested lately, so that the cache is useful.

        Otherwise all its records are dropped.
        """
        if self._clock() - self._read_at < CACHE_IDLE_S:
            return True
        if self._batches:
            self._batches.clear()
            self._starts.clear()
            self._bytes = self._records = 0
        return False

    def keep(self, records: Sequence[Record]) -> None:
        """Keep a batch of one partition, in order. Takes a fraction of a microsecond an event."""
        if not records:
            return
        size = count_record_bytes(records)
        if size > self._most_bytes:
            return
        first = records[0].position
        self._batches.append((first.log, size, records))
        starts = self._starts.setdefault(first.log, [])
        starts.append((first.offset, records))
        if len(starts) > 1 and starts[-2][0] > first.offset:
            starts.sort(key=_first_offset)
        self._bytes += size
        self._records += len(records)
        while self._bytes > self._most_bytes or self._records > self._most_records:
            self._evict()

    def _evict(self) -> None:
        partition, size, records = self._batches.popleft()
        self._bytes -= size
        self._records -= len(records)
        rest = [start for start in self._starts[partition] if start[1] is not records]
        if rest:
            self._starts[partition] = rest
        else:
            del self._starts[partition]

    def discard(self, partition: Partition) -> None:
        """Drop the records of a partition whose stream was created again."""
        self._starts.pop(partition, None)
        gone = [batch for batch in self._batches if batch[0] == partition]
        self._batches = deque(batch for batch in self._batches if batch[0] != partition)
        self._bytes -= sum(size for _, size, _ in gone)
        self._records -= sum(len(records) for _, _, records in gone)

    def get(self, position: Position) -> Record | None:
        """Return the record at a position, or None if it is not cached."""
        self._read_at = self._clock()
        starts = self._starts.get(position.log, [])
        at = bisect_right(starts, position.offset, key=_first_offset)
        # A batch that was redelivered may overlap the one before it: look at both.
        for _, records in starts[max(0, at - 2) : at]:
            end = bisect_right(records, position.offset, key=_offset)
            if end and records[end - 1].position.offset == position.offset:
                return records[end - 1]
        return None


def _first_offset(start: tuple[int, Sequence[Record]]) -> int:
    return start[0]


def _offset(record: Record) -> int:
    return record.position.offset


class PayloadReader:
    """Reads records back and decodes them."""

    def __init__(
        self,
        brokers: Mapping[str, Broker],
        decoder: EventDecoder,
        cache: PayloadCache,
        stored: StoredPayloads | None = None,
    ) -> None:
        """Create a reader. `stored`: payloads of records that the brokers no longer hold."""
        self._brokers, self._decoder, self._cache, self._stored = brokers, decoder, cache, stored

    async def at(self, position: Position) -> ReadPayload:
        """Read the record at a position and decode it. If there is no record, the note says why."""
        (payload,) = await self.all([position])
        if payload.note == GONE:
            with contextlib.suppress(Outage, Refused):
                payload.note = await _reason_of_absence(self._brokers[position.system], position)
        return payload

    async def all(self, positions: Sequence[Position]) -> list[ReadPayload]:
        """Read and decode the records at these positions, in the same order. Never raises.

        A payload that could not be read has a note with the reason.
        """
        limit = asyncio.Semaphore(MAX_CONCURRENT_READS)

        async def read(position: Position) -> Record | str:
            record = self._cache.get(position)
            if record is not None:
                return record
            async with limit:
                return await self._read(position)

        results = await asyncio.gather(*(read(position) for position in positions))
        decoded = iter(await self.open([result for result in results if isinstance(result, Record)]))
        payloads = [
            ReadPayload(next(decoded)) if isinstance(result, Record) else ReadPayload(note=result) for result in results
        ]
        if self._stored is not None:
            await self._stored.replace_missing(positions, payloads)
        return payloads

    async def each(self, positions: Sequence[Position]) -> AsyncIterator[ReadPayload]:
        """Yield the payloads at these positions, in the same order, like `all`.

        As many are held at once as have MAX_HELD_BYTES together, or one.
        """
        start, count = 0, MIN_PAYLOADS_PER_READ
        while start < len(positions):
            payloads = await self.all(positions[start : start + count])
            start += len(payloads)
            size = sum(count_value_bytes(each.decoded.record) for each in payloads if each.decoded is not None)
            fitting = MAX_HELD_BYTES * len(payloads) // max(size, 1)
            count = max(1, min(fitting, GROWTH_PER_READ_FACTOR * len(payloads), MAX_PAYLOADS_PER_READ))
            payloads.reverse()
            while payloads:
                yield payloads.pop()  # and hold it no longer

    async def _read(self, position: Position) -> Record | str:
        broker = self._brokers.get(position.system)
        if broker is None:
            return f"the payload cannot be read: no {position.system} source is configured here"
        try:
            return await broker.read(position) or GONE
        except (Outage, Refused) as error:
            return f"the payload cannot be read: {error}"

    async def open(self, records: Sequence[Record]) -> list[Decoded]:
        """Decode records as the pipeline does.

        Records whose schema cannot be fetched soon stay undecoded and `unchecked`.
        """
        return await self._decoder.decode_with_schemas(records, timeout_s=SCHEMA_TIMEOUT_S)


async def _reason_of_absence(broker: Broker, position: Position) -> str:
    """Say why there is no record at a position. Raises Outage and Refused."""
    partition = position.log
    if partition not in await broker.partitions(position.stream):
        return f"the broker has no {partition}, or no longer has it"
    _, end = await broker.bounds(partition)
    if position.offset >= end:
        return "the broker does not have a record there yet"
    return GONE
