"""Bounded scans of the brokers, beyond the index, with progress. To cancel a scan, stop iterating."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from msgspec import Struct

from sidecar.api.services.payloads import PayloadReader
from sidecar.domain.broker_traits import is_time_observed
from sidecar.domain.errors import NotFoundError, QueryError, Refused
from sidecar.domain.json_safe import to_text
from sidecar.domain.model import Decoded, Record
from sidecar.domain.ports.broker import Broker
from sidecar.domain.position import Partition

MAX_RECORDS_PER_SCAN = 2_000_000
RECORDS_PER_SLICE = 500
"""Records to decode in one step of the event loop: a few milliseconds of work."""
MAX_PARTITIONS_PER_SCAN = 4_096


class ScanRequest(Struct, frozen=True):
    """The records to read."""

    streams: frozenset[str] | None = None
    """None: all watched streams."""
    key: bytes | None = None
    since: int | None = None
    until: int | None = None
    """End of the range, exclusive: milliseconds, compared with the broker's timestamps."""
    most_records: int = MAX_RECORDS_PER_SCAN
    is_partition_read: Callable[[Partition], bool] = lambda partition: True
    is_decoded: Callable[[Record], bool] | None = None
    """Tells whether a record is wanted before it is decoded; None: all are."""


class ScanSlice(Struct):
    """Some decoded records of one partition, and the progress of the scan."""

    partition: Partition
    decoded: Sequence[Decoded]
    scanned: int
    total: int | None


class ScanProgress(Struct):
    """Progress of a scan, updated while it runs."""

    scanned: int = 0
    notes: list[str] = []
    complete: bool = True


StreamFilter = Callable[[str, str], Awaitable[bool]]
"""Predicate that tells whether the caller may see a stream, given its system and name."""


async def scan(
    brokers: Sequence[Broker],
    payloads: PayloadReader,
    request: ScanRequest,
    progress: ScanProgress,
    is_visible: StreamFilter,
) -> AsyncIterator[ScanSlice]:
    """Read partition by partition, each from its oldest record on.

    Raises Outage and Refused, and NotFoundError if no broker has the requested streams or the caller may not see them.
    """
    searched = [broker for broker in brokers if request.key is None or broker.traits.keyed]
    if request.key is not None and len(searched) < len(brokers):
        _report_unkeyed(request.key, brokers, searched, progress)
    selected = [
        (broker, partition)
        for broker in searched
        for partition in await _partitions(broker, request, progress, is_visible)
        if request.is_partition_read(partition)
    ]
    if request.streams is not None and not selected:
        raise NotFoundError(f"no watched stream has the name {', '.join(sorted(request.streams))}")
    total = await _total(selected)
    for broker, partition in selected:
        async for records in broker.scan(partition, since=request.since):
            chosen = _choose(records, request)
            for start in range(0, max(len(chosen), 1), RECORDS_PER_SLICE):
                await asyncio.sleep(0)  # reading, decoding and matching are steps of their own
                decoded = await payloads.open(chosen[start : start + RECORDS_PER_SLICE])
                await asyncio.sleep(0)
                is_last = start + RECORDS_PER_SLICE >= len(chosen)
                progress.scanned += len(records) if is_last else 0
                yield ScanSlice(partition, decoded, progress.scanned, total)
            if progress.scanned >= request.most_records:
                progress.complete = False
                progress.notes.append(
                    f"stopped after {progress.scanned} records, in {partition}: narrow the query with since: or stream:"
                )
                return
            if broker.traits.offset_at is not None and _is_past(records, request):
                break  # offsets are ordered by time; timestamps of producers need not be


def _choose(records: Sequence[Record], request: ScanRequest) -> Sequence[Record]:
    if request.key is not None or request.since is not None or request.until is not None:
        records = [record for record in records if _matches(record, request)]
    is_decoded = request.is_decoded
    return records if is_decoded is None else [record for record in records if is_decoded(record)]


def _report_unkeyed(key: bytes, brokers: Sequence[Broker], searched: Sequence[Broker], progress: ScanProgress) -> None:
    """Say which brokers have no keys. Raises QueryError if that leaves none to read."""
    systems = ", ".join(sorted({broker.system for broker in brokers if broker not in searched}))
    if not searched:
        raise QueryError(
            f"records of {systems} have no keys: search for an id, with aggregate:ID or ID in the query",
            to_text(key.decode("utf-8", "surrogateescape")),
            0,
        )
    progress.notes.append(f"{systems} was not read: its records have no keys")


def _matches(record: Record, request: ScanRequest) -> bool:
    if request.key is not None and record.key != request.key:
        return False
    if is_time_observed(record.position.system, record.position.offset):
        return request.until is None
    if request.since is not None and record.timestamp < request.since:
        return False
    return request.until is None or record.timestamp < request.until


def _is_past(records: Sequence[Record], request: ScanRequest) -> bool:
    return request.until is not None and bool(records) and records[-1].timestamp >= request.until


async def _partitions(
    broker: Broker, request: ScanRequest, progress: ScanProgress, is_visible: StreamFilter
) -> list[Partition]:
    if request.streams is None:
        partitions = [status.partition for status in await broker.status()]
    else:
        partitions = [
            partition
            for stream in sorted(request.streams)
            if await is_visible(broker.system, stream)
            for partition in await broker.partitions(stream)
        ]
    if len(partitions) > MAX_PARTITIONS_PER_SCAN:
        raise Refused(
            f"a scan reads at most {MAX_PARTITIONS_PER_SCAN} partitions, and these are {len(partitions)}: name a stream"
        )
    by_key = broker.traits.partitions_by_key
    if request.key is None or by_key is None:
        return partitions
    progress.notes.append("only the partitions to which Kafka's and librdkafka's partitioners map this key were read")
    counts = Counter(partition.stream for partition in partitions)
    return [partition for partition in partitions if partition.number in by_key(request.key, counts[partition.stream])]


async def _total(selected: Sequence[tuple[Broker, Partition]]) -> int | None:
    """Return an upper bound of the number of records; None if offsets do not count records."""
    total = 0
    for broker, partition in selected:
        if not broker.traits.offsets_count_records:
            return None
        first, end = await broker.bounds(partition)
        total += end - first
    return total
