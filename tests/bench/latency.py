"""Latencies through the real API: from append to visible at 2,000 events a second, and look-ups while draining."""

from __future__ import annotations

import asyncio
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from sidecar.adapters.registry.directory import schema_id
from tests.bench import event_producer, report
from tests.bench.ours import configuration
from tests.bench.size import _is_ready
from tests.support.bench_events import SCHEMA, bench_events
from tests.support.ports import free_port

RATE = 2_000
SECONDS = 15
GATED, GATED_RATE = 2_000, 400
"""Events through a gate, and how many a second."""
SAMPLE_EVERY = 40
"""One event in so many is looked for in the API."""


@asynccontextmanager
async def sidecar(given: dict[str, Any], start: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A sidecar as a process of its own, and a client of its API."""
    with tempfile.TemporaryDirectory() as directory:
        process, port = _started(given, Path(directory), start)
        try:
            while not _is_ready(httpx2, port):
                await asyncio.sleep(0.02)
            headers = {"Authorization": "Bearer bench"}
            async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers) as client:
                yield client
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def _started(given: dict[str, Any], directory: Path, start: str) -> tuple[subprocess.Popen[bytes], int]:
    file, port = Path(configuration(given, directory)), free_port()
    settings = json.loads(file.read_text())
    settings["api"]["port"] = port
    settings["sources"]["kafka"]["start"] = start
    file.write_text(json.dumps(settings))
    tracecar = str(Path(sys.executable).with_name("tracecar"))
    return subprocess.Popen([tracecar, "run", "-c", str(file)], stderr=subprocess.DEVNULL), port


async def visible(address: str) -> list[float]:
    """Milliseconds from the broker's acknowledgment of an event until the API shows it, for a sample of events."""
    from aiokafka import AIOKafkaProducer

    stream = "bench.latency"
    event_producer.load("kafka", address, stream, 1000, partitions=2)
    producer = AIOKafkaProducer(bootstrap_servers=address, linger_ms=0)
    await producer.start()
    found: list[float] = []
    given = {"system": "kafka", "address": address, "stream": stream, "group": "latency"}
    async with sidecar(given, "latest") as client:
        await asyncio.sleep(2)
        lookups = []
        began = time.perf_counter()
        events = bench_events(RATE * SECONDS, seed=2, schema_id=schema_id(json.dumps(SCHEMA)))
        for number, (key, value, headers) in enumerate(events):
            if (wait := began + number / RATE - time.perf_counter()) > 0.001:
                await asyncio.sleep(wait)
            sent = await producer.send(stream, value=value, key=key, headers=headers)
            if number % SAMPLE_EVERY == 0 and number > RATE:
                lookups.append(asyncio.ensure_future(_until_visible(client, sent, stream, found)))
        await asyncio.gather(*lookups)
    await producer.stop()
    return found


async def _until_visible(client: httpx2.AsyncClient, sent: Any, stream: str, found: list[float]) -> None:
    where = await sent
    appended = time.perf_counter()
    path = f"/v1/events/kafka://{stream}/{where.partition}/{where.offset}"
    while (await client.get(path)).status_code != 200:
        await asyncio.sleep(0.001)
    found.append((time.perf_counter() - appended) * 1000)


async def looked_up(address: str, stream: str) -> list[float]:
    """Milliseconds of an API look-up, again and again while a backlog is drained at full speed."""
    found: list[float] = []
    given = {"system": "kafka", "address": address, "stream": stream, "group": f"drain-{time.time_ns()}"}
    async with sidecar(given, "earliest") as client:
        while True:
            began = time.perf_counter()
            page = (await client.get("/v1/events?limit=5")).json()
            found.append((time.perf_counter() - began) * 1000)
            status = (await client.get("/v1/status")).json()
            if page["items"] and status["streams"] and status["streams"][0]["lag"] == 0:
                return found[1:]
            await asyncio.sleep(0.01)


async def gated(address: str) -> float:
    """Milliseconds that a gate adds: from a reader of the raw stream having an event until a reader of what is behind
    it has it, at `read_committed`; the median."""
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

    stream = "bench.gated"
    given = {"system": "kafka", "address": address, "stream": stream, "group": "gated", "gate": True}
    event_producer.load("kafka", address, stream, 100, partitions=2)
    event_producer.load("kafka", address, f"{stream}.gated", 0, partitions=2)
    producer = AIOKafkaProducer(bootstrap_servers=address, linger_ms=0)
    consumer = AIOKafkaConsumer(
        stream, f"{stream}.gated", bootstrap_servers=address, isolation_level="read_committed", fetch_max_wait_ms=10
    )
    seen: dict[str, dict[bytes, float]] = {stream: {}, f"{stream}.gated": {}}
    await producer.start()
    await consumer.start()
    async with sidecar(given, "latest"):
        await asyncio.sleep(2)
        await consumer.seek_to_end()
        events = bench_events(GATED, seed=3, schema_id=schema_id(json.dumps(SCHEMA)))

        async def produce() -> None:
            for key, value, headers in events:
                await producer.send(stream, value=value, key=key, headers=headers)
                await asyncio.sleep(1 / GATED_RATE)

        producing = asyncio.ensure_future(produce())
        while any(len(found) < GATED for found in seen.values()):
            record = await asyncio.wait_for(consumer.getone(), 60)
            seen[record.topic].setdefault(record.value, time.perf_counter())
        await producing
    await consumer.stop()
    await producer.stop()
    direct, through = seen.values()
    return statistics.median((through[value] - direct[value]) * 1000 for value in direct)


def p99(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


async def measure(given: dict[str, Any]) -> list[dict[str, Any]]:
    stream = "bench.drain"
    event_producer.load("kafka", given["address"], stream, given["events"], partitions=4)
    draining = await looked_up(given["address"], stream)
    seen = await visible(given["address"])
    added = await gated(given["address"])
    rows = [
        {"what": what, "value": value, "unit": "ms", **report.in_units(value * 1000, bound, given["decoding"], 1_000)}
        for what, value, bound in (
            (f"append to visible at {RATE:,}/s, median", statistics.median(seen), 3),
            (f"append to visible at {RATE:,}/s, p99", p99(seen), 13),
            ("API look-up while draining, p99", p99(draining), 13),
        )
    ]
    return [
        *rows,
        {"what": f"added by a gate at {GATED_RATE:,}/s, median", "value": added, "unit": "ms"},
    ]


def main() -> None:
    print(json.dumps({"rows": asyncio.run(measure(json.loads(sys.argv[1])))}))


if __name__ == "__main__":
    main()
