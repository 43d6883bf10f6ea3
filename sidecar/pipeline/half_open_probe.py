"""The breaker's half-open try: look at what would be committed next, without committing it."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.decoding.decoder import stop_on_outage
from sidecar.domain.model import Record
from sidecar.pipeline.circuit_breaker import CircuitBreaker
from sidecar.pipeline.partition_worker import PartitionWorker, PipelineContext


async def would_trip_again(way: PipelineContext, breaker: CircuitBreaker, lanes: Sequence[PartitionWorker]) -> bool:
    """Whether the breaker would open again on the first records that these lanes hold back. Raises Outage."""
    events = rejected = 0
    for lane in lanes:
        if lane.first_held is None:
            continue
        wanted = max(1, breaker.minimum // len(lanes))
        records = await _first(way, lane, wanted)
        decoded = await way.judge.decode_with_schemas(records, stop_on_outage)
        events += len(decoded)
        rejected += sum(one.event.rejection is not None for one in decoded)
    return breaker.would_open(max(events, breaker.minimum), rejected)


async def _first(way: PipelineContext, lane: PartitionWorker, wanted: int) -> list[Record]:
    records: list[Record] = []
    async for some in way.broker.scan(lane.lease.partition, start=lane.first_held):
        records.extend(some)
        if len(records) >= wanted:
            break
    return records[:wanted]
