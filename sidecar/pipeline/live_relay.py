"""The live stream of all members: while somebody listens at another member, what passes here is handed on, as the
broker's records; who receives them judges them again, which needs no second way of writing an event down.

Where anything is to be hidden (`redact`), no record leaves us this way: what is handed on is where each lies, and who
receives that reads it from the broker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from typing import Protocol

import msgspec
import structlog
from msgspec import Struct

from sidecar.domain.errors import TracecarError
from sidecar.domain.model import Decoded, Record
from sidecar.domain.periodic_task import run_periodically
from sidecar.domain.ports.broker import Broker
from sidecar.domain.position import Partition, Position
from sidecar.pipeline.live_stream import LiveStream

log = structlog.get_logger()

MOST_A_SECOND, MOST_BYTES_A_SECOND = 2_000, 4 << 20
"""Events, and bytes of theirs, that are handed on; of the rest the listeners learn how many there were."""
PARCEL = 200
PARCEL_BYTES = 256 << 10
"""Events that are sent together, and after how many bytes of theirs no more are put in: the server keeps some hundred
parcels."""
MOST_BETWEEN = 100
"""Records that are read for each one that is looked for: those between are other members'."""
EVERY = 0.1
"""Seconds between two sendings."""


class RelayChannel(Protocol):
    """The way to the other members."""

    async def send(self, parcel: bytes) -> None: ...

    def begin(self) -> None: ...

    async def receive(self) -> list[bytes]: ...


class _WireRecord(Struct, array_like=True, gc=False):
    """A record under way. Offsets may have more than 64 bits, streams bytes that are no UTF-8."""

    system: str
    stream: bytes
    partition: int
    offset: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[bytes, bytes | None]]
    timestamp: int
    value_at: int


class _WirePositions(Struct, array_like=True, gc=False):
    """Where some records of one partition lie."""

    system: str
    stream: bytes
    partition: int
    offsets: list[str]


class _RelayBatch(Struct, array_like=True, gc=False):
    records: list[_WireRecord]
    skipped: int
    """Events that were too many to be handed on, since the last parcel."""
    places: list[_WirePositions] = []
    """Of events whose records stay where they are."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_RelayBatch).decode


class LiveRelay:
    """Hands on what passes here, and shows here what passes elsewhere."""

    def __init__(
        self,
        relay: RelayChannel,
        live: LiveStream,
        others_listen: Callable[[], bool],
        judged: Callable[[Sequence[Record]], Awaitable[list[Decoded]]],
        show: Callable[[Sequence[Decoded]], None],
        read: Callable[[Partition, Collection[int]], AsyncIterator[Sequence[Record]]],
        *,
        secret: bool,
    ) -> None:
        """`read` gives the records at some offsets of a partition, and raises what a broker does. `secret`: no record
        is handed on, only where it lies."""
        self._read, self._secret = read, secret
        self._relay, self._live, self._others_listen = relay, live, others_listen
        self._judged, self._show = judged, show
        self._records: list[Record] = []
        self._skipped = 0
        self._listening = False
        self._second, self._count, self._bytes = 0, 0, 0
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [
            asyncio.ensure_future(run_periodically("handing on what passes here", self._send, EVERY)),
            asyncio.ensure_future(run_periodically("hearing of what passes elsewhere", self._receive, EVERY)),
        ]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def offer(self, decoded: Sequence[Decoded]) -> None:
        """Hand these on, if somebody listens. Never waits, never raises."""
        if not self._others_listen():
            return
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._count, self._bytes = second, 0, 0
        for one in decoded:
            self._count += 1
            self._bytes += _size(one.record)
            if self._count > MOST_A_SECOND or self._bytes > MOST_BYTES_A_SECOND:
                self._skipped += 1
            else:
                self._records.append(one.record)

    async def _send(self) -> None:
        records, self._records = self._records, []
        skipped, self._skipped = self._skipped, 0
        unsent = len(records)
        try:
            for part in _parcels(records) or ([[]] if skipped else []):
                await self._relay.send(_encode(self._parcel(part, skipped)))
                unsent, skipped = unsent - len(part), 0
        finally:
            # What the index does not take is missed by who listens, and told to them with the next parcel.
            self._skipped += unsent + skipped

    def _parcel(self, records: Sequence[Record], skipped: int) -> _RelayBatch:
        if self._secret:
            return _RelayBatch([], skipped, _places(records))
        return _RelayBatch([_written(record) for record in records], skipped)

    async def _receive(self) -> None:
        """Hear what passes elsewhere, for as long as somebody listens here."""
        if not self._live.subscribers:
            self._listening = False
            return
        if not self._listening:
            self._listening = True
            self._relay.begin()
        while self._live.subscribers:
            for parcel in await self._relay.receive():
                await self._take(parcel)

    async def _take(self, data: bytes) -> None:
        try:
            parcel = _decode(data)
            records = [_record(record) for record in parcel.records]
            places = [(_partition(place), [int(offset) for offset in place.offsets]) for place in parcel.places]
        except (msgspec.MsgspecError, ValueError):
            return  # of another version
        if records:
            self._show(await self._judged(records))
        for partition, offsets in places:
            await self._fetch(partition, offsets)
        if parcel.skipped:
            self._live.lost(parcel.skipped)

    async def _fetch(self, partition: Partition, offsets: Sequence[int]) -> None:
        """Show what lies there; of what cannot be had the listeners learn how much it is."""
        missing = len(offsets)
        try:
            async for records in self._read(partition, offsets):
                missing -= len(records)
                self._show(await self._judged(records))
        except TracecarError as error:
            log.debug("what passes elsewhere cannot be read", partition=str(partition), reason=str(error))
        if missing > 0:
            self._live.lost(missing)


def _size(record: Record) -> int:
    headers = sum(len(name) + len(value or b"") for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers


def _parcels(records: Sequence[Record]) -> list[list[Record]]:
    """What is sent together; an event that is too large alone."""
    found: list[list[Record]] = []
    size = 0
    for record in records:
        size += _size(record)
        if not found or len(found[-1]) >= PARCEL or size > PARCEL_BYTES:
            found.append([])
            size = _size(record)
        found[-1].append(record)
    return found


def _places(records: Sequence[Record]) -> list[_WirePositions]:
    found: dict[Partition, _WirePositions] = {}
    for record in records:
        log, offset = record.position.log, str(record.position.offset)
        known = found.get(log)
        if known is None:
            stream = log.stream.encode("utf-8", "surrogateescape")
            found[log] = _WirePositions(log.system, stream, log.number, [offset])
        else:
            known.offsets.append(offset)
    return list(found.values())


def _partition(positions: _WirePositions) -> Partition:
    return Partition(positions.system, positions.stream.decode("utf-8", "surrogateescape"), positions.partition)


async def read_at(
    brokers: Mapping[str, Broker], partition: Partition, offsets: Collection[int]
) -> AsyncIterator[Sequence[Record]]:
    """The records at some offsets that are close together: what lies too far on is left out. Raises what the broker
    does."""
    wanted, broker = frozenset(offsets), brokers.get(partition.system)
    if broker is None or not wanted:
        return
    passed = 0
    async for records in broker.scan(partition, start=min(wanted), until=max(wanted) + 1):
        yield [record for record in records if record.position.offset in wanted]
        passed += len(records)
        if passed > MOST_BETWEEN * len(wanted):
            return


def _written(record: Record) -> _WireRecord:
    position = record.position
    return _WireRecord(
        position.system,
        position.stream.encode("utf-8", "surrogateescape"),
        position.partition,
        str(position.offset),
        record.key,
        record.value,
        [(name.encode("utf-8", "surrogateescape"), value) for name, value in record.headers],
        record.timestamp,
        record.value_at,
    )


def _record(record: _WireRecord) -> Record:
    return Record(
        Position(record.system, record.stream.decode("utf-8", "surrogateescape"), record.partition, int(record.offset)),
        record.key,
        record.value,
        tuple((name.decode("utf-8", "surrogateescape"), value) for name, value in record.headers),
        record.timestamp,
        record.value_at,
    )
