"""Fetcher of selected letters, which reads them again from their streams, many at once if they are close together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sidecar.dead_letters.dialects import read
from sidecar.domain.model import DeadLetter, Outgoing, Record
from sidecar.domain.ports.broker import Broker
from sidecar.domain.position import Partition, Position
from sidecar.domain.stream_names import StreamNames

MAX_SCANNED_PER_LETTER = 8
"""Records per wanted letter up to which a range is read; above it, each letter is read by itself."""
MAX_READ_CONCURRENCY = 16


async def fetch_letters(
    broker: Broker, naming: StreamNames, positions: Sequence[Position], most: int
) -> tuple[dict[Position, DeadLetter], set[Position]]:
    """Read the letters at some positions.

    Returns the existing letters, and the positions that were not read because the letters before them exceeded `most`
    bytes together. At least the first position is read. Raises Outage, Refused.
    """
    by_partition: dict[Partition, list[int]] = {}
    for position in positions:
        by_partition.setdefault(position.log, []).append(position.offset)
    letters: dict[Position, DeadLetter] = {}
    left: set[Position] = set()
    for partition, offsets in by_partition.items():
        records, unread, size = await _fetch_records(broker, partition, sorted(set(offsets)), most)
        for record in records:
            letters[record.position] = read(record, naming)
        most -= size
        left.update(map(partition.at, unread))
    if positions and positions[0] in left:  # others of its partition, which come later, were larger
        left.discard(positions[0])
        first = await broker.read(positions[0])
        if first is not None:
            letters[positions[0]] = read(first, naming)
    return letters, left


def estimate_bytes(record: Record | Outgoing) -> int:
    """Estimate the memory of a letter in bytes."""
    headers = sum([len(value) for _, value in record.headers if value]) + 150 * len(record.headers)
    return 200 + len(record.value or b"") + len(record.key or b"") + headers


async def _fetch_records(
    broker: Broker, partition: Partition, offsets: list[int], most: int
) -> tuple[list[Record], list[int], int]:
    """Read records by offset.

    Returns them, the offsets that were not read, and the approximate size of the records in bytes.
    """
    wanted_records: list[Record] = []
    size, seen = 0, 0
    wanted = set(offsets)
    if len(offsets) > 1 and most > 0:
        last = -1
        async for page in broker.scan(partition, start=offsets[0], until=offsets[-1] + 1):
            for record in page:
                if record.position.offset in wanted:
                    wanted_records.append(record)
                    size += estimate_bytes(record)
                last = record.position.offset
                if size >= most:
                    break
            seen += len(page)
            if size >= most or seen > 1_000 + MAX_SCANNED_PER_LETTER * len(wanted_records):
                break
        else:
            return wanted_records, [], size
        wanted = {offset for offset in offsets if offset > last}
    some = sorted(wanted)
    for at in range(0, len(some), MAX_READ_CONCURRENCY):
        if size >= most:
            return wanted_records, some[at:], size
        records = await asyncio.gather(
            *(broker.read(partition.at(offset)) for offset in some[at : at + MAX_READ_CONCURRENCY])
        )
        there = [record for record in records if record is not None]
        size += sum(map(estimate_bytes, there))
        wanted_records += there
    return wanted_records, [], size
