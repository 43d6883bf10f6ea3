"""Hostile records on a real Kafka: the longest step of the event loop, and the memory during and after them.

Runs the product as `tracecar run` does, in this process.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sidecar.adapters.registry.directory import DirectoryRegistry
from tests.bench.processor_time import LoopWatch
from tests.bench.size import resident
from tests.support.hostile import (
    CHECKED_SCHEMA,
    CHECKED_STREAM,
    FREE_STREAM,
    HostileRecord,
    hostile_records,
    schema_text,
)

SIZE_BYTES = 1 << 20
ROUNDS = 4
"""How often every record is sent to every stream on which it costs much."""
RETURN_S = 60.0
"""Seconds within which the memory has to return."""
MEBIBYTE = 1 << 20
MAX_STEP_MS, MAX_PEAK_MIB, MAX_KEPT_MIB = 25.0, 500.0, 60.0
PREFIX = "bench.hostile."


def write_schemas(directory: Path) -> None:
    """Write the schemas of all streams into a registry's directory."""
    directory.mkdir()
    (directory / f"{PREFIX}{CHECKED_STREAM}-value.avsc").write_text(json.dumps(CHECKED_SCHEMA))
    for hostile in hostile_records(100):
        if hostile.schema is not None:
            (directory / f"{PREFIX}{hostile.stream}-value.avsc").write_text(schema_text(hostile))


async def load(address: str, schemas: Path) -> int:
    """Send the records, compressed. Returns how many there are."""
    from confluent_kafka import Producer

    registry = DirectoryRegistry(schemas)
    producer = Producer({"bootstrap.servers": address, "compression.type": "zstd", "message.max.bytes": 64 * MEBIBYTE})
    sent = 0

    def send(stream: str, value: bytes | None, hostile: HostileRecord) -> None:
        nonlocal sent
        producer.produce(PREFIX + stream, value, headers=list(hostile.headers))
        producer.poll(0)
        sent += 1

    for hostile in hostile_records(SIZE_BYTES):
        for _ in range(ROUNDS):
            if hostile.schema is None:
                send(FREE_STREAM, hostile.value, hostile)
                send(CHECKED_STREAM, hostile.value, hostile)
            else:
                schema = await registry.by_version(f"{PREFIX}{hostile.stream}-value", None)
                assert schema is not None
                assert schema.ref.id is not None
                send(hostile.stream, hostile.framed(schema.ref.id), hostile)
        producer.flush(60)
    return sent


async def measure(address: str, directory: Path, sent: int) -> dict[str, float]:
    """Read all records as a sidecar does, and measure."""
    from sidecar.config.loader import load as load_config
    from sidecar.runtime.wiring import build_service

    file = directory / "tracecar.yaml"
    kafka = {"bootstrap_servers": address, "topics": [f"^{PREFIX}.*"], "start": "earliest", "group_id": "hostile"}
    config = {
        "service": "bench",
        "sources": {"kafka": kafka},
        "registry": {"directory": str(directory / "schemas")},
        "dead_letters": {"breaker": {"ratio": 1.0}},
        "api": {"port": 0, "token": "bench", "token_file": str(directory / "token")},
    }
    file.write_text(json.dumps(config))
    service = build_service(load_config(str(file)))
    idle = peak = resident()
    running, watch = asyncio.ensure_future(service.run()), LoopWatch()
    watch.start()
    try:
        while service.counters.total() < sent:
            await asyncio.sleep(0.05)
            if running.done():
                running.result()
                raise RuntimeError("the sidecar ended")
            peak = max(peak, resident())
        await service.wait_until_committed()
        until = time.monotonic() + RETURN_S
        while time.monotonic() < until and resident() > idle + MAX_KEPT_MIB * MEBIBYTE / 2:
            await asyncio.sleep(0.5)
        kept = resident()
    finally:
        watch.stop()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return {"step_ms": watch.longest_ms, "peak": (peak - idle) / MEBIBYTE, "kept": (kept - idle) / MEBIBYTE}


def main() -> None:
    given = json.loads(sys.argv[1])
    directory = Path(given["directory"])
    if given["work"] == "load":
        write_schemas(directory / "schemas")
        print(json.dumps({"sent": asyncio.run(load(given["address"], directory / "schemas"))}))
        return
    import uvloop

    from sidecar.runtime.gc_tuning import tune_gc

    tune_gc()  # as `tracecar run` does
    print(json.dumps(uvloop.run(measure(given["address"], directory, given["sent"]))))


def rows(address: str, side: Callable[..., dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Measure in processes of their own."""
    with tempfile.TemporaryDirectory() as directory:
        given = {"address": address, "directory": directory}
        sent = side("hostile", work="load", **given)["sent"]
        measured = side("hostile", work="measure", sent=sent, **given)
    what = f"kafka: {sent:,} hostile records of 1 MB"
    yield {"what": f"{what}: longest step", "value": measured["step_ms"], "unit": "ms", "bound": MAX_STEP_MS}
    yield {
        "what": f"{what}: memory above the start, at most",
        "value": measured["peak"],
        "unit": "MB",
        "bound": MAX_PEAK_MIB,
    }
    yield {
        "what": f"{what}: memory above the start, a minute later",
        "value": measured["kept"],
        "unit": "MB",
        "bound": MAX_KEPT_MIB,
    }


if __name__ == "__main__":
    main()
