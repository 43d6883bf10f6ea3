"""The memory index alone, filled as a judge fills it: how many bytes it grows by."""

from __future__ import annotations

import gc
import json
import sys
import uuid

from sidecar.adapters.index.memory.index import MemoryIndex
from sidecar.domain.model import Event, SchemaRef, TraceOrigin
from sidecar.domain.position import Position
from tests.bench.size import resident

BATCH = 1000
SCHEMA = SchemaRef("orders-value", 1, 1, None)


def batch(start: int) -> list[Event]:
    """A batch of distinct events as the bench has them: five to a flow, a UUID as id, the order as aggregate, key."""
    events = []
    for number in range(start, start + BATCH):
        flow = number // 5
        seed = uuid.uuid5(uuid.NAMESPACE_OID, str(number))
        order = f"order-{flow:012d}"
        events.append(
            Event(
                position=Position("kafka", "orders", 0, number),
                key=order,
                appended_at=1_767_225_600_000 + number,
                observed_at=1_767_225_600_000_000 + number * 1000,
                event_id=str(seed),
                type="OrderPlaced",
                version="1",
                occurred_at=1_767_225_600_000_000 + number * 1000,
                aggregate_id=order,
                trace_id=uuid.uuid5(uuid.NAMESPACE_OID, f"flow {flow}").int,
                span_id=seed.int & ((1 << 64) - 1),
                trace_origin=TraceOrigin.W3C,
                schema=SCHEMA,
                digest=seed.int & 0xFFFFFFFF,
            )
        )
    return events


def main() -> None:
    events = int(sys.argv[1])
    index = MemoryIndex(events + BATCH, join=["trace", "correlation", "causation"], max_flow=10_000)
    index.add(batch(0))
    gc.collect()
    before = resident()
    for start in range(BATCH, events + BATCH, BATCH):
        index.add(batch(start))
    gc.collect()
    print(json.dumps(resident() - before))


if __name__ == "__main__":
    main()
