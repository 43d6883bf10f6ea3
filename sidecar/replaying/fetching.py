"""The letters of a selection, read again from their streams when they are sent: many at once where they lie close."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sidecar.dead_letters.dialects import read
from sidecar.dead_letters.naming import Naming
from sidecar.model import DeadLetter, Partition, Position, Record
from sidecar.ports import Broker

CROWDED = 8
"""Reading on is worth it while at least one record in so many is wanted; else each is asked for by itself."""
AT_ONCE = 16


async def letters_at(broker: Broker, naming: Naming, positions: Sequence[Position]) -> dict[Position, DeadLetter]:
    """The letters at these positions, those that are there. Raises Outage, Refused."""
    by_partition: dict[Partition, list[int]] = {}
    for position in positions:
        by_partition.setdefault(position.log, []).append(position.offset)
    found: dict[Position, DeadLetter] = {}
    for partition, offsets in by_partition.items():
        for record in await _records(broker, partition, sorted(set(offsets))):
            found[record.position] = read(record, naming)
    return found


async def _records(broker: Broker, partition: Partition, offsets: list[int]) -> list[Record]:
    found: list[Record] = []
    wanted, seen = set(offsets), 0
    if len(offsets) > 1:
        async for page in broker.scan(partition, start=offsets[0], until=offsets[-1] + 1):
            found += [record for record in page if record.position.offset in wanted]
            seen += len(page)
            last = page[-1].position.offset if page else -1
            if seen > 1_000 + CROWDED * len(found):
                wanted = {offset for offset in offsets if offset > last}
                break
        else:
            return found
    for at in range(0, len(some := sorted(wanted)), AT_ONCE):
        records = await asyncio.gather(*(broker.read(partition.at(one)) for one in some[at : at + AT_ONCE]))
        found += [record for record in records if record is not None]
    return found
