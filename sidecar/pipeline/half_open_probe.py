"""The breaker's half-open try: look at what would be settled next, without settling it."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.decoding.schema_cache import NeedsSchema
from sidecar.domain.model import Decoded, Record
from sidecar.pipeline.circuit_breaker import Breaker
from sidecar.pipeline.partition_worker import Lane, Way


async def would_flood(way: Way, breaker: Breaker, lanes: Sequence[Lane]) -> bool:
    """Whether the breaker would open again on the first records that these lanes hold back. Raises Outage."""
    events = rejected = 0
    for lane in lanes:
        if lane.first_held is None:
            continue
        wanted = max(1, breaker.minimum // len(lanes))
        decoded = await _judge(way, await _first(way, lane, wanted))
        events += len(decoded)
        rejected += sum(one.event.rejection is not None for one in decoded)
    return breaker.would_open(max(events, breaker.minimum), rejected)


async def _first(way: Way, lane: Lane, wanted: int) -> list[Record]:
    records: list[Record] = []
    async for some in way.broker.scan(lane.lease.partition, start=lane.first_held):
        records.extend(some)
        if len(records) >= wanted:
            break
    return records[:wanted]


async def _judge(way: Way, records: list[Record]) -> list[Decoded]:
    decoded: list[Decoded] = []
    while len(decoded) < len(records):
        try:
            way.judge.verdicts(records, decoded)
        except NeedsSchema as missing:
            await way.catalog.fetch(missing.key)
    return decoded
