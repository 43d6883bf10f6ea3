"""Reading the broker itself, beyond the index: bounded, with progress, cancelled by not going on."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from msgspec import Struct

from sidecar.api.services.payloads import PayloadReader
from sidecar.domain.errors import NotFoundError, Refused
from sidecar.domain.model import Decoded, Record
from sidecar.domain.ports.broker import Broker
from sidecar.domain.position import Partition

MOST_RECORDS = 2_000_000
"""Records that one scan looks at."""
SLICE = 200
"""Records that are decoded before the event loop gets its turn: a few milliseconds of work."""
MOST_PARTITIONS = 4_096


class ScanRequest(Struct, frozen=True):
    """What to read."""

    streams: frozenset[str] | None = None
    """None: all streams that are watched."""
    key: bytes | None = None
    since: int | None = None
    until: int | None = None
    """Milliseconds, of the broker's timestamps; `until` is not included."""
    most_records: int = MOST_RECORDS


class ScanSlice(Struct):
    """Some records that were read and decoded, and how far the scan is."""

    partition: Partition
    decoded: Sequence[Decoded]
    scanned: int
    total: int | None


class ScanProgress(Struct):
    """How far a scan came. Filled while it runs."""

    scanned: int = 0
    notes: list[str] = []
    complete: bool = True


InSight = Callable[[str, str], Awaitable[bool]]
"""Whether a stream (system, name) may be looked at."""


async def scan(
    brokers: Sequence[Broker], payloads: PayloadReader, wish: ScanRequest, reach: ScanProgress, in_sight: InSight
) -> AsyncIterator[ScanSlice]:
    """Read partition by partition, each from its oldest record on. Raises Outage, Refused, and Unknown where no
    broker shows the streams asked for, or they are not in sight."""
    wanted = [
        (broker, partition) for broker in brokers for partition in await _partitions(broker, wish, reach, in_sight)
    ]
    if wish.streams is not None and not wanted:
        raise NotFoundError(f"no such stream is watched: {', '.join(sorted(wish.streams))}")
    total = await _total(wanted)
    for broker, partition in wanted:
        async for records in broker.scan(partition, since=wish.since):
            chosen = [record for record in records if _within(record, wish)]
            for start in range(0, max(len(chosen), 1), SLICE):
                decoded = await payloads.open(chosen[start : start + SLICE])
                last = start + SLICE >= len(chosen)
                reach.scanned += len(records) if last else 0
                yield ScanSlice(partition, decoded, reach.scanned, total)
            if reach.scanned >= wish.most_records:
                reach.complete = False
                reach.notes.append(
                    f"stopped after {reach.scanned} records, in {partition}: narrow it by since: or stream:"
                )
                return
            if broker.traits.offset_at is not None and _beyond(records, wish):
                break  # in order of time; timestamps of producers need not be


def _within(record: Record, wish: ScanRequest) -> bool:
    if wish.key is not None and record.key != wish.key:
        return False
    if wish.since is not None and record.timestamp < wish.since:
        return False
    return wish.until is None or record.timestamp < wish.until


def _beyond(records: Sequence[Record], wish: ScanRequest) -> bool:
    return wish.until is not None and bool(records) and records[-1].timestamp >= wish.until


async def _partitions(broker: Broker, wish: ScanRequest, reach: ScanProgress, in_sight: InSight) -> list[Partition]:
    if wish.streams is None:
        found = [status.partition for status in await broker.status()]
    else:
        found = [
            partition
            for stream in sorted(wish.streams)
            if await in_sight(broker.system, stream)
            for partition in await broker.partitions(stream)
        ]
    if len(found) > MOST_PARTITIONS:
        raise Refused(f"{len(found)} partitions are too many for one scan: name a stream")
    by_key = broker.traits.partitions_by_key
    if wish.key is None or by_key is None:
        return found
    reach.notes.append("only the partitions where Kafka's own and librdkafka's partitioners put this key were read")
    counts = Counter(partition.stream for partition in found)
    return [partition for partition in found if partition.number in by_key(wish.key, counts[partition.stream])]


async def _total(wanted: Sequence[tuple[Broker, Partition]]) -> int | None:
    """How many records there are at most; None where offsets do not count them."""
    total = 0
    for broker, partition in wanted:
        if not broker.traits.offsets_count_records:
            return None
        first, end = await broker.bounds(partition)
        total += end - first
    return total
