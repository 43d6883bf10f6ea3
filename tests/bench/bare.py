"""The bare loop: what anyone would write by hand. Fetch, decode with fastavro, one dict by trace id; nothing else.

On Kafka there are two of them: with aiokafka, and with confluent-kafka."""

from __future__ import annotations

import json
import sys
from io import BytesIO
from typing import Any

import fastavro
import msgspec
import uvloop

from tests.bench.event_producer import order_schema
from tests.bench.processor_time import EventClock

WARM_UP = 20_000
"""Events before the clock starts: first batches are not counted."""


class Loop:
    """Decodes events and keeps them by trace id."""

    def __init__(self, events: int) -> None:
        self.schema: Any = fastavro.parse_schema(order_schema())
        self.by_trace: dict[str, list[Any]] = {}
        self.seen, self.events = 0, events
        self.clock = EventClock(WARM_UP)

    def take(self, value: bytes, traceparent: bytes) -> None:
        trace = traceparent[3:35].decode()
        try:
            if value[0] == 0:
                body = fastavro.schemaless_reader(BytesIO(value[5:]), self.schema, None)
            elif value[0] == 0x7B:
                body = msgspec.json.decode(value)
            else:  # its schema's id is in a header
                body = fastavro.schemaless_reader(BytesIO(value), self.schema, None)
        except Exception:  # broken on purpose; by hand one would log it and go on
            body = None
        self.by_trace.setdefault(trace, []).append(body)

    def batch(self, size: int) -> bool:
        """Count a batch; True when that was all."""
        self.seen += size
        self.clock.seen(self.seen)
        return self.seen >= self.events

    def result(self) -> dict[str, float]:
        """Rate and processor time."""
        return self.clock.result(self.seen)


async def kafka(loop: Loop, address: str, stream: str, group: str) -> None:
    from aiokafka import AIOKafkaConsumer

    consumer = AIOKafkaConsumer(
        stream, bootstrap_servers=address, group_id=group, auto_offset_reset="earliest", enable_auto_commit=True
    )
    await consumer.start()
    try:
        while True:
            fetched = await consumer.getmany(timeout_ms=1000, max_records=2000)
            size = 0
            for records in fetched.values():
                for record in records:
                    loop.take(record.value, record.headers[0][1])
                size += len(records)
            if loop.batch(size):
                return
    finally:
        await consumer.stop()


def confluent(loop: Loop, address: str, stream: str, group: str) -> None:
    from confluent_kafka import Consumer

    consumer = Consumer(
        {"bootstrap.servers": address, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": True}
    )
    consumer.subscribe([stream])
    try:
        while True:
            records = consumer.consume(2000, 1.0)
            for record in records:
                loop.take(record.value(), record.headers()[0][1])
            if loop.batch(len(records)):
                return
    finally:
        consumer.close()


async def redis(loop: Loop, address: str, stream: str, group: str) -> None:
    from redis.asyncio import Redis

    client = Redis.from_url(address)
    await client.xgroup_create(stream, group, id="0")
    while True:
        reply = await client.xreadgroup(group, "bare", {stream: ">"}, count=1000, block=1000)
        entries = reply[0][1] if isinstance(reply, list) else next(iter(reply.values()))[0]
        for _, fields in entries:
            loop.take(fields[b"payload"], fields[b"traceparent"])
        await client.xack(stream, group, *(entry for entry, _ in entries))
        if loop.batch(len(entries)):
            break
    await client.aclose()


def main() -> None:
    given = json.loads(sys.argv[1])
    loop = Loop(given["events"])
    where = (given["address"], given["stream"], given["group"])
    if given.get("client") == "confluent":
        confluent(loop, *where)
    else:
        uvloop.run((kafka if given["system"] == "kafka" else redis)(loop, *where))
    print(json.dumps({**loop.result(), "flows": len(loop.by_trace)}))


if __name__ == "__main__":
    main()
