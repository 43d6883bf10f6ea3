"""Costs of the history: writes events as a sidecar does, and looks events up, cold, among many more.

`python -m tests.bench.history '{"events": 300000, "looked_up": 20000000, "folder": "/tmp/history"}'`. The files of a
named folder are used again by a later call. With `"events": 0` nothing is written.

Processor times are those of this process (the way of an event) and of the engine (everything else). Rows go through the
product's own encoder, storage and maintenance, in segments as a sidecar writes them at 1,000 events a second, so that
merging counts too.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import md5
from pathlib import Path

from sidecar.adapters.history.directory_store import DirectoryStore
from sidecar.adapters.history.engine import HistoryEngine
from sidecar.adapters.history.engine_sql import copy_to
from sidecar.adapters.history.file_catalog import FileCatalog
from sidecar.adapters.history.file_header import store_range
from sidecar.adapters.history.file_store import FileStore
from sidecar.adapters.history.parquet_history import ParquetHistory
from sidecar.adapters.history.sql_runner import HistorySqlRunner
from sidecar.domain.history_rows import COLUMN_NAMES, encode_event
from sidecar.domain.model import Event, SchemaRef, TraceOrigin
from sidecar.domain.offset_ranges import OffsetRange
from sidecar.domain.ports.history import HistoryKey, HistorySegment, HistorySelection
from sidecar.domain.ports.history_sql import SqlLimits
from sidecar.domain.position import Partition, Position

FIRST_MS = 1_790_000_000_000
EVENTS_PER_FLOW, PARTITIONS = 5, 6
SEGMENT_EVENTS = 30_000
"""Thirty seconds at 1,000 events a second."""
EVENTS_PER_FILE = 1_200_000
"""Events of a generated file: as many as maintenance merges at 1,000 events a second."""
LOOKUPS = 40
INCARNATION = "Rm9yQmVuY2htYXJrT25seQ"


def event(number: int) -> Event:
    """An event whose ids follow from its number, so that any can be looked up later."""
    flow, at = number // EVENTS_PER_FLOW, FIRST_MS + number
    ids = md5(b"e%d" % number, usedforsecurity=False).digest()
    trace_id = int(md5(b"t%d" % flow, usedforsecurity=False).hexdigest(), 16)
    order, correlation_id = f"order-{flow}", md5(b"c%d" % flow, usedforsecurity=False).digest()
    return Event(
        position=Position("kafka", "orders", number % PARTITIONS, number // PARTITIONS),
        key=order,
        appended_at=at,
        observed_at=at * 1000 + 77,
        event_id=str(uuid.UUID(bytes=ids)),
        type=("OrderPlaced", "OrderPaid", "OrderShipped", "InvoiceSent")[number % 4],
        version="1",
        occurred_at=at * 1000 - 5_000,
        aggregate_id=order,
        aggregate_type="Order",
        trace_id=trace_id,
        span_id=int.from_bytes(ids[:8], "big") or 1,
        trace_origin=TraceOrigin.W3C,
        correlation_id=str(uuid.UUID(bytes=correlation_id)),
        producer="shop",
        schema=SchemaRef("orders-value", 3, 17),
        digest=int.from_bytes(ids[8:12], "big"),
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


class Generator(HistoryEngine):
    """Writes files of many events at once, with the ids of `event`, as maintenance leaves them."""

    def write_file(self, folder: Path, first: int, end: int) -> None:
        """Write the events with numbers from `first` to `end` - 1."""
        values = {
            "system": "'kafka'",
            "stream": "'orders'",
            "partition": f"(n % {PARTITIONS})::INTEGER",
            "record_offset": f"n // {PARTITIONS}",
            "record_offset_high": "0",
            "incarnation": f"'{INCARNATION}'",
            "key": "'order-' || f",
            "appended_at": f"make_timestamp_ms({FIRST_MS} + n)::TIMESTAMP_MS",
            "observed_at": f"make_timestamp(({FIRST_MS} + n) * 1000 + 77)",
            "event_id": "md5('e' || n)::UUID::VARCHAR",
            "type": "['OrderPlaced', 'OrderPaid', 'OrderShipped', 'InvoiceSent'][n % 4 + 1]",
            "version": "'1'",
            "occurred_at": f"make_timestamp(({FIRST_MS} + n) * 1000 - 5000)",
            "aggregate_id": "'order-' || f",
            "aggregate_type": "'Order'",
            "trace_id": "md5('t' || f)",
            "span_id": "md5('e' || n)[1:16]",
            "trace_origin": "'w3c'",
            "correlation_id": "md5('c' || f)::UUID::VARCHAR",
            "producer": "'shop'",
            "schema_subject": "'orders-value'",
            "schema_version": "3",
            "schema_id": "17",
            "unchecked": "false",
            "digest": "hash(n) & 4294967295",
        }
        columns = ", ".join(f'{values.get(name, "NULL::VARCHAR")} AS "{name}"' for name in COLUMN_NAMES)
        source = f"(SELECT range AS n, range // {EVENTS_PER_FLOW} AS f FROM range({first}, {end}))"
        moment = datetime.fromtimestamp((FIRST_MS + first) // 1000, UTC)
        target = folder / f"events/day={moment:%Y-%m-%d}/hour={moment:%H}/m-{first:016d}.parquet"
        target.parent.mkdir(parents=True, exist_ok=True)
        self._connection.execute(copy_to(f"SELECT {columns} FROM {source}", str(target), {}))
        ranges = [
            OffsetRange(Partition("kafka", "orders", number), INCARNATION, first // PARTITIONS, end // PARTITIONS)
            for number in range(PARTITIONS)
        ]
        header = self._describe(str(target), [store_range(each) for each in ranges], [])
        self._write_companion(str(target), str(target.with_suffix(".idx")), header, filtered=True)


def generate(folder: Path, events: int) -> None:
    """Fill a directory with the files of a history."""
    with tempfile.TemporaryDirectory() as spool:
        generator = Generator(Path(spool), memory_bytes=512_000_000, threads=2)
        for first in range(0, events, EVENTS_PER_FILE):
            generator.write_file(folder, first, min(first + EVENTS_PER_FILE, events))


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


async def count_last_hour(store: FileStore, events: int) -> dict[str, float]:
    """Count the events of the last hour by type and minute in SQL, cold; returns seconds."""
    catalog = FileCatalog(store)
    runner = HistorySqlRunner(catalog, store, copies=False)
    last_ms = FIRST_MS + events
    limits = SqlLimits(since_ms=last_ms - 3_600_000, until_ms=None)
    hour = f"appended_at >= make_timestamp_ms({last_ms - 3_600_000})"
    begun = time.perf_counter()
    answer = await runner.run(
        f"SELECT type, date_trunc('minute', appended_at), count(*) FROM events WHERE {hour} GROUP BY ALL",
        limits,
    )
    elapsed = time.perf_counter() - begun
    assert sum(int(row[2]) for row in answer.rows) == min(events, 3_600_000)
    return {"last_hour_s": elapsed}


def measure(events: int, looked_up_events: int, folder: Path) -> dict[str, float]:
    """Write some events, generate the files of others in a folder unless it has them, and look up there."""
    with tempfile.TemporaryDirectory(prefix="tracecar-bench-") as temporary:
        written = asyncio.run(write(DirectoryStore(Path(temporary)), events)) if events else {}
    if not any(folder.glob("events/*")):
        generate(folder, looked_up_events)
    drop_cache(folder)
    looked_up = asyncio.run(look_up(DirectoryStore(folder), looked_up_events))
    drop_cache(folder)
    return written | looked_up | asyncio.run(count_last_hour(DirectoryStore(folder), looked_up_events))


def drop_cache(folder: Path) -> None:
    """Drop the files from the page cache, so that the disk is read."""
    for path in folder.glob("events/*/*/*"):
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def main() -> None:
    """Measure, and print the result as JSON. Arguments: `{events, looked_up, folder}` as JSON."""
    options = {"events": 300_000, "looked_up": 20_000_000, "folder": None} | json.loads((sys.argv[1:] or ["{}"])[0])
    with tempfile.TemporaryDirectory(prefix="tracecar-bench-") as temporary:
        result = measure(options["events"], options["looked_up"], Path(options["folder"] or temporary))
    print(json.dumps({name: round(value, 3) for name, value in result.items()}))


if __name__ == "__main__":
    main()
