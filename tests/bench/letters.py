"""Dead letters in numbers: reading them beside the bare loop, their causes once read, and a replay beside a bare
transactional copy of the same records."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sidecar.config import schema as config
from tests.bench.processor_time import EventClock
from tests.support.bench_events import bench_events

READ, REPLAYED = 100_000, 50_000
COPY = 2_000
"""Records of one transaction of the bare copy."""
MESSAGES = (
    'data.items[{n}].qty: expected int, found string "{n}"',
    "no such customer: {n}",
    "the event ends after {n} bytes",
    "timed out after {n} ms",
)


def load(address: str, stream: str, count: int) -> None:
    """`count` letters of a stream, as our sidecar writes them, of a dozen causes."""
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": address})
    topics = [
        NewTopic(name, num_partitions=4, replication_factor=1) for name in (stream, f"{stream}.dlt", f"{stream}.retry")
    ]
    for future in admin.create_topics(topics).values():
        future.result()
    producer = Producer(
        {
            "bootstrap.servers": address,
            "compression.type": "lz4",
            "linger.ms": 20,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    for number, (key, value, headers) in enumerate(bench_events(count)):
        facts = {
            "dead-letter-id": f"billing@kafka://{stream}/{number % 4}/{number // 4}",
            "stage": "reported",
            "code": f"reported.error{number % 3}",
            "message": MESSAGES[number % 4].format(n=number),
            "failed-at": "2026-01-31T12:00:00.000001Z",
            "service": "billing",
            "attempts": "1",
            "origin": f"kafka://{stream}/{number % 4}/{number // 4}",
            "origin-timestamp": str(1_700_000_000_000 + number),
            "event-id": f"e-{number}",
            "event-type": "OrderPlaced",
            "aggregate-id": key.decode(),
        }
        ours = [(f"tracecar.{name}", text.encode()) for name, text in facts.items()]
        producer.produce(f"{stream}.dlt", value=value, key=key, partition=number % 4, headers=[*headers, *ours])
        if number % 10_000 == 0:
            producer.poll(0)
    producer.flush()


def _clock() -> EventClock:
    clock = EventClock(0)
    clock.seen(0)
    return clock


# --- reading


async def read_bare(address: str, stream: str) -> dict[str, Any]:
    """Fetch, decode with fastavro, one dict."""
    from tests.bench import bare

    loop = bare.Loop(READ)
    await bare.kafka(loop, address, f"{stream}.dlt", f"bare-{time.time_ns()}")
    return loop.result()


@asynccontextmanager
async def _broker(address: str, stream: str) -> AsyncIterator[tuple[Any, Any]]:
    from sidecar.adapters.brokers.kafka.broker import KafkaBroker
    from sidecar.adapters.brokers.kafka.traits import KAFKA_TRAITS
    from sidecar.domain.broker_traits import register_traits
    from sidecar.runtime.wiring import BrokerSource

    register_traits(KAFKA_TRAITS)
    source = config.KafkaConfig(bootstrap_servers=address, topics=[stream], group_id=f"tracecar.bench-{time.time_ns()}")
    naming = config.Config(service="bench", sources=config.SourcesConfig(kafka=source)).stream_names(
        source.group_id or ""
    )
    broker = KafkaBroker(source, "bench", naming, max_records=500)
    await broker.start()
    try:
        yield broker, BrokerSource(broker, source.group_id or "", naming)
    finally:
        await broker.close()


async def read_ours(address: str, stream: str) -> dict[str, Any]:
    """`tracecar dlq groups`: every letter read, its dialect and its state told, grouped by its cause."""
    from sidecar.dead_letters.grouping import CauseGrouping
    from sidecar.dead_letters.store import DeadLetterFilter, DeadLetterStore

    async with _broker(address, stream) as (_, source):
        desk = DeadLetterStore([source], 5)
        clock = _clock()
        grouped = await desk.groups()
        result = clock.result(READ)
        assert grouped.letters == READ, grouped.notes
        letters = [letter async for letter in desk.each(DeadLetterFilter(), [])]
        causes, began = CauseGrouping(time.time_ns() // 1_000), time.perf_counter()
        for letter in letters:
            causes.add(letter)
        found = causes.causes()
        return {**result, "causes": len(found), "listing_s": time.perf_counter() - began}


# --- replaying


async def copy_bare(address: str, stream: str) -> dict[str, Any]:
    """Consume and produce REPLAYED records in transactions, as one would by hand with aiokafka."""
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

    consumer = AIOKafkaConsumer(
        f"{stream}.dlt",
        bootstrap_servers=address,
        group_id=f"copy-{time.time_ns()}",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=address, transactional_id=f"copy-{time.time_ns()}", linger_ms=5, max_batch_size=512 << 10
    )
    await consumer.start()
    await producer.start()
    clock, sent = _clock(), 0
    try:
        while sent < REPLAYED:
            fetched = await consumer.getmany(timeout_ms=1000, max_records=COPY)
            async with producer.transaction():
                offsets, acks = {}, []
                for partition, records in fetched.items():
                    for record in records:
                        acks.append(
                            await producer.send(
                                f"{stream}.retry", record.value, key=record.key, headers=list(record.headers)
                            )
                        )
                    offsets[partition] = records[-1].offset + 1
                await asyncio.gather(*acks)
                await producer.send_offsets_to_transaction(offsets, consumer._group_id)
            sent += len(acks)
    finally:
        await consumer.stop()
        await producer.stop()
    return clock.result(sent)


async def replay_ours(address: str, stream: str) -> dict[str, Any]:
    """A whole replay job, from the request to its end: selection, ledger, sending."""
    from sidecar.dead_letters.ledger_entries import Actor
    from sidecar.dead_letters.store import DeadLetterFilter, DeadLetterStore
    from sidecar.pipeline.consumer_groups.tracker import ConsumerGroupTracker
    from sidecar.replay.job_control import build_broker_replays
    from sidecar.replay.models import ReplayRequest
    from sidecar.replay.service import ReplayService

    class Queries:
        def build_filter(self, query: str) -> DeadLetterFilter:
            return DeadLetterFilter()

        async def fits(self, records: Sequence[Any], query: str) -> Sequence[bool]:
            return [True] * len(records)

        async def in_sight(self, system: str, stream: str) -> bool:
            return True

    async with _broker(address, stream) as (broker, source):
        queries, groups = Queries(), ConsumerGroupTracker([broker])
        operations = ReplayService(
            build_broker_replays([source], groups, None, queries.in_sight, queries.fits),  # type: ignore[arg-type]
            store=DeadLetterStore([source], 5),
            queries=queries,
            tracker=groups,
            index=None,  # type: ignore[arg-type]  # only dry runs ask it
            editor=None,  # type: ignore[arg-type]  # nothing is edited
            check_records=None,  # type: ignore[arg-type]
            exporting=None,  # type: ignore[arg-type]
            reporting=None,  # type: ignore[arg-type]
            selection=REPLAYED,
        )
        clock = _clock()
        job = await operations.replay(ReplayRequest(to=f"{stream}.retry"), Actor("bench"))
        while (job := await operations.job(job.id)).state == "running":
            await asyncio.sleep(0.1)
        result = clock.result(REPLAYED)
        await operations.close()
        assert (job.state, job.published) == ("done", REPLAYED), job
        return result


def main() -> None:
    import uvloop

    given = json.loads(sys.argv[1])
    if given["work"] == "load":
        load(given["address"], given["stream"], given["count"])
        print("{}")
        return
    if given["work"] in ("read_ours", "replay_ours"):
        from sidecar.runtime.gc_tuning import tune_gc

        tune_gc()  # as `tracecar run` does
    work = {"read_bare": read_bare, "read_ours": read_ours, "copy_bare": copy_bare, "replay_ours": replay_ours}
    print(json.dumps(uvloop.run(work[given["work"]](given["address"], given["stream"]))))


if __name__ == "__main__":
    main()
