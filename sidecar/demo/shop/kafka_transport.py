"""Transport of the shop over Kafka, with aiokafka."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from sidecar.demo.shop.messages import WireRecord

PARTITION_COUNT = 3


class KafkaTransport:
    """The Kafka connection of a service: a producer, and a consumer in the service's own group."""

    def __init__(self, bootstrap_servers: str, service: str, producer: AIOKafkaProducer) -> None:
        self._servers, self._service, self._producer = bootstrap_servers, service, producer

    async def publish(self, stream: str, wire: WireRecord) -> None:
        """Publish a record."""
        await self._producer.send_and_wait(stream, wire.value, wire.key, headers=list(wire.headers))

    async def read(self, streams: Sequence[str]) -> AsyncGenerator[tuple[str, WireRecord], None]:
        """Yield the records of these streams from their beginning, each with its stream."""
        consumer = AIOKafkaConsumer(
            *streams,
            bootstrap_servers=self._servers,
            group_id=self._service,
            client_id=self._service,
            auto_offset_reset="earliest",
            auto_commit_interval_ms=1000,
        )
        await consumer.start()
        try:
            async for record in consumer:
                yield record.topic, WireRecord(record.key, record.value, tuple(record.headers))
        finally:
            await consumer.stop()

    async def close(self) -> None:
        """Close the connection."""
        await self._producer.stop()


async def connect(bootstrap_servers: str, service: str) -> KafkaTransport:
    """Connect a service."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, client_id=service, acks="all")
    await producer.start()
    return KafkaTransport(bootstrap_servers, service, producer)


async def create_topics(bootstrap_servers: str, streams: Sequence[str]) -> None:
    """Create the shop's topics."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(stream, PARTITION_COUNT, 1) for stream in streams])
    finally:
        await admin.close()
