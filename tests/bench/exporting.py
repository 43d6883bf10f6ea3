"""What export costs: an event's way from what was judged to bytes on the wire, by this process' own processor time."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from sidecar.model import Decoded, Record
from tests.bench.indexing import BATCH, batch
from tests.bench.receiving import collector

EVENTS = 200_000


async def cost(endpoint: str) -> dict[str, Any]:
    """Microseconds an event, and what became of the spans."""
    from exporters.backend import Backend
    from exporters.conventions import spelling
    from exporters.otlp_spans import SpanEncoder
    from exporters.otlp_transport import transport
    from exporters.outbox import Bounds, Outbox
    from exporters.spans import Letters, Mapper
    from exporters.tracing import Tracing
    from sidecar.config import Exporters, Otlp, Sampling

    sending = transport(Otlp(endpoint=endpoint, protocol="grpc", signals=["traces"]), "traces", "bench")
    backend = Backend("otlp", SpanEncoder(spelling({})), Outbox("otlp", sending, Bounds()))
    mapper = Mapper({"kafka": Letters("tracecar.bench", None)})
    join = ["trace", "correlation", "causation"]
    tracing = Tracing([backend], mapper, Exporters(), Sampling(), join=join, max_flow=10_000)
    value = b"x" * 350
    spent = 0.0
    for start in range(0, EVENTS, BATCH):
        decoded = [Decoded(Record(event.position, b"k", value, (), 0), event) for event in batch(start)]
        # As a pipeline does: others get their turns, and what waits stays below its bound.
        began = time.process_time()
        tracing.offer(decoded)
        while backend.outbox.waiting > 20_000:
            await asyncio.sleep(0.001)
        spent += time.process_time() - began
    began = time.process_time()
    await tracing.close()
    spent += time.process_time() - began
    sent, dropped, failed = backend.counts()
    return {"micros": spent / EVENTS * 1e6, "sent": sent, "lost": dropped + failed}


def main() -> None:
    with collector() as other:
        found = asyncio.run(cost(other.endpoint))
        arrived = other.spans()
    if arrived != EVENTS:
        sys.exit(f"of {EVENTS} spans {arrived} arrived, {found}")
    rows = [{"what": "OTLP export, an event (processor time)", "value": found["micros"], "unit": "µs", "bound": 7.0}]
    print(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
