"""What export costs: an event's way from what was judged to bytes on the wire, by this process' own processor time."""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from typing import Any

from msgspec.structs import replace

from sidecar.domain.model import Decoded, Event, Record
from sidecar.runtime.gc_tuning import tune_gc
from tests.bench import report
from tests.bench.index_memory import BATCH, batch
from tests.bench.otlp_collector import collector
from tests.bench.unit import decoding

EVENTS = 200_000
KINDS = {
    "traced": "OTLP export, an event (processor time)",
    "alone": "OTLP export, an event without trace context",
    "linked": "OTLP export, an event without trace context, of a flow of five",
}


HELD = 60_000
"""Events without trace context: fewer, as each waits for its flow."""
PACE = 5_000
"""Of those so many a second, by a clock that runs ahead, so that as many wait at a time as do in life."""


def bare(event: Event, number: int, *, linked: bool) -> Event:
    """The same event without trace context. `linked`: five of a flow name it, and one another as cause."""
    words: dict[str, Any] = {"trace_id": None, "span_id": None, "trace_origin": None}
    if linked:
        words["correlation_id"] = event.key
        words["causation_id"] = str(uuid.uuid5(uuid.NAMESPACE_OID, str(number - 1))) if number % 5 else None
    return replace(event, **words)


async def cost(endpoint: str, kind: str) -> dict[str, Any]:
    """Microseconds an event, and what became of the spans."""
    from exporters.batch_queue import BatchQueue, QueueBounds
    from exporters.otlp.span_encoder import OtlpSpanEncoder
    from exporters.otlp.transport import create_transport
    from exporters.semantic_conventions import read_spelling
    from exporters.tracing.exporter import TraceExporter
    from exporters.tracing.span_mapper import DeadLetterTarget, SpanMapper
    from exporters.tracing.span_sink import SpanSink
    from sidecar.config.schema import ExportersConfig, OtlpConfig, SamplingConfig

    sending = create_transport(OtlpConfig(endpoint=endpoint, protocol="grpc", signals=["traces"]), "traces", "bench")
    backend = SpanSink("otlp", OtlpSpanEncoder(read_spelling({})), BatchQueue("otlp", sending, QueueBounds()))
    mapper = SpanMapper({"kafka": DeadLetterTarget("tracecar.bench", None)})
    join = ["trace", "correlation", "causation"]
    tracing = TraceExporter(
        [backend], mapper, ExportersConfig(), SamplingConfig(), join=join, max_flow=10_000, clock=lambda: now
    )
    value = b"x" * 350
    spent = now = 0.0
    count = EVENTS if kind == "traced" else HELD
    for start in range(0, count, BATCH):
        events = batch(start)
        if kind != "traced":
            events = [bare(event, start + at, linked=kind == "linked") for at, event in enumerate(events)]
        decoded = [Decoded(Record(event.position, b"k", value, (), 0), event) for event in events]
        now += BATCH / PACE
        # As a pipeline does: others get their turns, and what waits stays below its bound.
        began = time.process_time()
        tracing.offer(decoded)
        for _ in tracing.quiet():
            pass
        while backend.outbox.waiting > 20_000:
            await asyncio.sleep(0.001)
        spent += time.process_time() - began
    began = time.process_time()
    await tracing.close()
    spent += time.process_time() - began
    sent, dropped, failed = backend.counts()
    return {"micros": spent / count * 1e6, "events": count, "sent": sent, "lost": dropped + failed}


def main() -> None:
    tune_gc()  # as `tracecar run` does
    rows = []
    with collector() as other:
        for kind, what in KINDS.items():
            before = decoding()
            found = asyncio.run(cost(other.endpoint, kind))
            after = decoding()  # the machine is as busy around the work as during it
            unit = {**before, "value": (before["value"] + after["value"]) / 2}
            arrived = other.spans()
            if arrived != found["events"]:
                sys.exit(f"of {found['events']} spans {arrived} arrived, {found}")
            row = {"what": what, "value": found["micros"], "unit": "µs"}
            rows.append(row | report.in_units(found["micros"], 1.5, unit))
    print(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
