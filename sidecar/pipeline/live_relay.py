"""Relay of live events between sidecars.

While another member has live subscribers, this one forwards the raw broker records that it processes. The receiver
decodes them again, so events need no second wire format. If `redact` is configured, no record leaves the process this
way: only positions are forwarded, and the receiver reads the records from the broker.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from typing import Protocol

import msgspec
import structlog
from msgspec import Struct

from sidecar.domain.errors import TracecarError
from sidecar.domain.model import Decoded, Record, Rejection
from sidecar.domain.periodic_task import run_periodically
from sidecar.domain.ports.broker import Broker
from sidecar.domain.position import Partition, Position
from sidecar.pipeline.live_stream import LiveStream

log = structlog.get_logger()

MAX_RECORDS_PER_SECOND, MAX_BYTES_PER_SECOND = 2_000, 4 << 20
"""Limits of forwarding. Subscribers are told the number of records beyond them."""
MAX_RECORDS_PER_BATCH = 200
MAX_BATCH_BYTES = 256 << 10
"""Size at which a batch ends, because the server keeps about a hundred batches."""
MAX_SCANNED_PER_RECORD = 100
"""Records to read for each requested one; those between belong to other members."""
SEND_INTERVAL_S = 0.1


class RelayChannel(Protocol):
    """Channel to the other members."""

    async def send(self, batch: bytes) -> None: ...

    def begin(self) -> None: ...

    async def receive(self) -> list[bytes]: ...


class _WireRecord(Struct, array_like=True, gc=False):
    """A record in transit. Offsets may have more than 64 bits, and names bytes that are not UTF-8."""

    system: str
    stream: bytes
    partition: int
    offset: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[bytes, bytes | None]]
    timestamp: int
    value_at: int
    defect: Rejection | None = None


class _WirePositions(Struct, array_like=True, gc=False):
    """Positions of some records of one partition."""

    system: str
    stream: bytes
    partition: int
    offsets: list[str]


class _RelayBatch(Struct, array_like=True, gc=False):
    records: list[_WireRecord]
    skipped: int
    """Events over the limit that were not forwarded since the last batch."""
    places: list[_WirePositions] = []
    """Positions of records that are not forwarded themselves."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_RelayBatch).decode


class LiveRelay:
    """Forwards this member's events, and publishes those of other members here."""

    def __init__(
        self,
        relay: RelayChannel,
        live: LiveStream,
        others_listen: Callable[[], bool],
        decode: Callable[[Sequence[Record]], Awaitable[list[Decoded]]],
        publish: Callable[[Sequence[Decoded]], None],
        read: Callable[[Partition, Collection[int]], AsyncIterator[Sequence[Record]]],
        *,
        secret: bool,
    ) -> None:
        """Create a relay.

        Args:
            relay: Channel to the other members.
            live: Live stream of this member.
            others_listen: Returns whether another member has subscribers.
            decode: Decodes records.
            publish: Publishes events of other members here.
            read: Reads the records at some offsets of a partition. Raises what a broker does.
            secret: Forward positions instead of records.
        """
        self._read, self._secret = read, secret
        self._relay, self._live, self._others_listen = relay, live, others_listen
        self._decode, self._publish = decode, publish
        self._records: list[Record] = []
        self._skipped = 0
        self._listening = False
        self._second, self._count, self._bytes = 0, 0, 0
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Forward and receive until `close`."""
        self._tasks = [
            asyncio.ensure_future(run_periodically("forwarding live events", self._send, SEND_INTERVAL_S)),
            asyncio.ensure_future(run_periodically("receiving live events", self._receive, SEND_INTERVAL_S)),
        ]

    async def close(self) -> None:
        """Stop forwarding and receiving."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def offer(self, decoded: Sequence[Decoded]) -> None:
        """Queue records to forward if another member has subscribers. Never waits, never raises."""
        if not self._others_listen():
            return
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._count, self._bytes = second, 0, 0
        for each in decoded:
            self._count += 1
            self._bytes += _size(each.record)
            if self._count > MAX_RECORDS_PER_SECOND or self._bytes > MAX_BYTES_PER_SECOND:
                self._skipped += 1
            else:
                self._records.append(each.record)

    async def _send(self) -> None:
        records, self._records = self._records, []
        skipped, self._skipped = self._skipped, 0
        unsent = len(records)
        try:
            for part in _batches(records) or ([[]] if skipped else []):
                await self._relay.send(_encode(self._batch(part, skipped)))
                unsent, skipped = unsent - len(part), 0
        finally:
            # Subscribers miss the unsent records, and learn of them with the next batch.
            self._skipped += unsent + skipped

    def _batch(self, records: Sequence[Record], skipped: int) -> _RelayBatch:
        if self._secret:
            return _RelayBatch([], skipped, _wire_positions(records))
        return _RelayBatch([_to_wire(record) for record in records], skipped)

    async def _receive(self) -> None:
        """Receive events of other members while this one has subscribers."""
        if not self._live.subscribers:
            self._listening = False
            return
        if not self._listening:
            self._listening = True
            self._relay.begin()
        while self._live.subscribers:
            for batch in await self._relay.receive():
                await self._take(batch)

    async def _take(self, data: bytes) -> None:
        try:
            batch = _decode(data)
            records = [_from_wire(record) for record in batch.records]
            positions = [(_partition(wire), [int(offset) for offset in wire.offsets]) for wire in batch.places]
        except (msgspec.MsgspecError, ValueError):
            return  # a batch of another version
        if records:
            self._publish(await self._decode(records))
        for partition, offsets in positions:
            await self._fetch(partition, offsets)
        if batch.skipped:
            self._live.report_lost(batch.skipped)

    async def _fetch(self, partition: Partition, offsets: Sequence[int]) -> None:
        """Read and publish records; subscribers learn how many could not be read."""
        missing = len(offsets)
        try:
            async for records in self._read(partition, offsets):
                missing -= len(records)
                self._publish(await self._decode(records))
        except TracecarError as error:
            log.debug("cannot read events of another member", partition=str(partition), reason=str(error))
        if missing > 0:
            self._live.report_lost(missing)


def _size(record: Record) -> int:
    headers = sum(len(name) + len(value or b"") for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers


def _batches(records: Sequence[Record]) -> list[list[Record]]:
    """Split records into batches; a record that is too large is a batch of its own."""
    batches: list[list[Record]] = []
    size = 0
    for record in records:
        size += _size(record)
        if not batches or len(batches[-1]) >= MAX_RECORDS_PER_BATCH or size > MAX_BATCH_BYTES:
            batches.append([])
            size = _size(record)
        batches[-1].append(record)
    return batches


def _wire_positions(records: Sequence[Record]) -> list[_WirePositions]:
    positions: dict[Partition, _WirePositions] = {}
    for record in records:
        log, offset = record.position.log, str(record.position.offset)
        known = positions.get(log)
        if known is None:
            stream = log.stream.encode("utf-8", "surrogateescape")
            positions[log] = _WirePositions(log.system, stream, log.number, [offset])
        else:
            known.offsets.append(offset)
    return list(positions.values())


def _partition(positions: _WirePositions) -> Partition:
    return Partition(positions.system, positions.stream.decode("utf-8", "surrogateescape"), positions.partition)


async def read_at(
    brokers: Mapping[str, Broker], partition: Partition, offsets: Collection[int]
) -> AsyncIterator[Sequence[Record]]:
    """Yield the records at some offsets of a partition. Those too far from the others are left out.

    Raises Outage and Refused.
    """
    wanted, broker = frozenset(offsets), brokers.get(partition.system)
    if broker is None or not wanted:
        return
    scanned = 0
    async for records in broker.scan(partition, start=min(wanted), until=max(wanted) + 1):
        yield [record for record in records if record.position.offset in wanted]
        scanned += len(records)
        if scanned > MAX_SCANNED_PER_RECORD * len(wanted):
            return


def _to_wire(record: Record) -> _WireRecord:
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
        record.defect,
    )


def _from_wire(record: _WireRecord) -> Record:
    return Record(
        Position(record.system, record.stream.decode("utf-8", "surrogateescape"), record.partition, int(record.offset)),
        record.key,
        record.value,
        tuple((name.decode("utf-8", "surrogateescape"), value) for name, value in record.headers),
        record.timestamp,
        record.value_at,
        record.defect,
    )
