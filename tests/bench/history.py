"""Costs of the history: `python -m tests.bench.history [EVENTS]` writes events and looks some up, cold.

Processor times are those of this process (the way of an event) and of the engine (everything else). Rows go through the
product's own encoder, storage and maintenance, in segments as a sidecar writes them at 1,000 events a second, so that
merging counts too.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from sidecar.adapters.history.directory_store import DirectoryStore
from sidecar.adapters.history.file_store import FileStore
from sidecar.adapters.history.parquet_history import ParquetHistory
from sidecar.domain.history_rows import encode_event
from sidecar.domain.model import Event, SchemaRef, TraceOrigin
from sidecar.domain.offset_ranges import OffsetRange
from sidecar.domain.ports.history import HistoryKey, HistorySegment, HistorySelection
from sidecar.domain.position import Partition, Position

FIRST_MS = 1_790_000_000_000
EVENTS_PER_FLOW, PARTITIONS = 5, 6
SEGMENT_EVENTS = 30_000
"""Thirty seconds at 1,000 events a second."""
LOOKUPS = 40
INCARNATION = "Rm9yQmVuY2htYXJrT25seQ"


def event(number: int) -> Event:
    """An event whose ids follow from its number, so that any can be looked up later."""
    flow, at = number // EVENTS_PER_FLOW, FIRST_MS + number
    ids = random.Random(number)
    flow_ids = random.Random(-flow - 1)
    order, trace_id = f"order-{flow}", flow_ids.getrandbits(128) or 1
    return Event(
        position=Position("kafka", "orders", number % PARTITIONS, number // PARTITIONS),
        key=order,
        appended_at=at,
        observed_at=at * 1000 + 77,
        event_id=str(uuid.UUID(int=ids.getrandbits(128))),
        type=("OrderPlaced", "OrderPaid", "OrderShipped", "InvoiceSent")[number % 4],
        version="1",
        occurred_at=at * 1000 - 5_000,
        aggregate_id=order,
        aggregate_type="Order",
        trace_id=trace_id,
        span_id=ids.getrandbits(64) or 1,
        trace_origin=TraceOrigin.W3C,
        correlation_id=str(uuid.UUID(int=flow_ids.getrandbits(128))),
        producer="shop",
        schema=SchemaRef("orders-value", 3, 17),
        digest=ids.getrandbits(32),
    )


def segments(events: int) -> Iterator[list[Event]]:
    """All events in order, a segment at a time."""
    for first in range(0, events, SEGMENT_EVENTS):
        yield [event(number) for number in range(first, min(first + SEGMENT_EVENTS, events))]


def covered(rows: list[Event]) -> list[OffsetRange]:
    """The ranges of offsets of a segment."""
    ranges = []
    for number in range(PARTITIONS):
        offsets = [row.position.offset for row in rows if row.position.partition == number]
        ranges.append(OffsetRange(Partition("kafka", "orders", number), INCARNATION, offsets[0], offsets[-1] + 1))
    return ranges


def processor_s(who: int) -> float:
    """Processor time so far, user and system."""
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


async def write(store: FileStore, events: int) -> dict[str, float]:
    """Write all events; returns microseconds and bytes for each."""
    clock = [FIRST_MS * 1000]
    history = ParquetHistory(store, now_us=lambda: clock[0])
    encoding = storing = 0.0
    for number, rows in enumerate(segments(events)):
        begun = processor_s(resource.RUSAGE_SELF)
        lines = [encode_event(row, INCARNATION) for row in rows]
        encoded = processor_s(resource.RUSAGE_SELF)
        encoding += encoded - begun
        clock[0] = (FIRST_MS + number * SEGMENT_EVENTS) * 1000
        ranges = covered(rows)
        begun = processor_s(resource.RUSAGE_SELF)
        await history.append(HistorySegment(lines, ranges))
        await history.maintain()
        storing += processor_s(resource.RUSAGE_SELF) - begun
    clock[0] += 2 * 3_600_000_000
    await history.maintain()
    coverage = await history.coverage()
    before = processor_s(resource.RUSAGE_CHILDREN)
    await history.writer.close()
    engine = processor_s(resource.RUSAGE_CHILDREN) - before
    assert coverage.events == events
    return {
        "way_us": encoding / events * 1e6,
        "all_us": (encoding + storing + engine) / events * 1e6,
        "bytes": coverage.bytes / events,
        "files": coverage.files,
    }


async def look_up(store: FileStore, events: int) -> dict[str, float]:
    """Look ids up in a reader that was just started; returns milliseconds."""
    history = ParquetHistory(store)
    await history.start()
    numbers = random.Random(1)
    times: dict[str, list[float]] = {}
    for _ in range(LOOKUPS):
        wanted = event(numbers.randrange(events))
        keys = {
            "event_id": wanted.event_id,
            "trace_id": f"{wanted.trace_id:032x}",
            "aggregate_id": wanted.aggregate_id,
            "correlation_id": wanted.correlation_id,
        }
        for word, value in keys.items():
            begun = time.perf_counter()
            page = await history.find(HistorySelection(keys=[HistoryKey(word, value)]))  # type: ignore[arg-type]
            times.setdefault(word, []).append((time.perf_counter() - begun) * 1000)
            assert len(page.rows) == (1 if word == "event_id" else EVENTS_PER_FLOW)
    await history.close()
    every = sorted(each for group in times.values() for each in group)
    return {
        **{f"{word}_median_ms": statistics.median(group) for word, group in times.items()},
        "median_ms": statistics.median(every),
        "p99_ms": every[min(len(every) - 1, int(len(every) * 0.99))],
    }


async def measure(events: int) -> dict[str, float]:
    """Write and look up in a temporary directory."""
    with tempfile.TemporaryDirectory(prefix="tracecar-bench-") as folder:
        written = await write(DirectoryStore(Path(folder)), events)
        return written | await look_up(DirectoryStore(Path(folder)), events)


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 4_000_000
    result = asyncio.run(measure(count))
    print(json.dumps({"events": count, **{name: round(value, 2) for name, value in result.items()}}))
