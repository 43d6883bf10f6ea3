"""Half-open probe of the circuit breaker: decodes the next records of a held stream without committing them."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.decoding.decoder import stop_on_outage
from sidecar.domain.model import Record
from sidecar.pipeline.circuit_breaker import CircuitBreaker
from sidecar.pipeline.partition_worker import PartitionWorker, PipelineContext


async def would_trip_again(
    context: PipelineContext, breaker: CircuitBreaker, workers: Sequence[PartitionWorker]
) -> bool:
    """Check whether the breaker would open again on the first records that these workers hold back. Raises Outage."""
    events = rejected = 0
    for worker in workers:
        if worker.first_held is None:
            continue
        count = max(1, breaker.minimum // len(workers))
        records = await _first_records(context, worker, count)
        decoded = await context.decoder.decode_with_schemas(records, stop_on_outage)
        events += len(decoded)
        rejected += sum(each.event.rejection is not None for each in decoded)
    return breaker.would_open(max(events, breaker.minimum), rejected)


async def _first_records(context: PipelineContext, worker: PartitionWorker, count: int) -> list[Record]:
    records: list[Record] = []
    async for page in context.broker.scan(worker.lease.partition, start=worker.first_held):
        records.extend(page)
        if len(records) >= count:
            break
    return records[:count]
