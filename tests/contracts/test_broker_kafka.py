"""The broker contract on a real Kafka."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Sequence

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.conn import AIOKafkaConnection

from sidecar.adapters.brokers.kafka.broker import KafkaBroker
from sidecar.config import schema as config
from sidecar.config.value_types import StartPosition
from sidecar.demo.embedded_kafka import EmbeddedKafka
from sidecar.domain.model import Outgoing, Record
from sidecar.domain.position import Partition, Position
from tests.contracts.broker_contract import BrokerContract
from tests.contracts.broker_harness import EARLIEST, BrokerHarness
from tests.servers.kafka import create_topic, delete_records, published

pytestmark = pytest.mark.kafka

QUICK = {"metadata_max_age_ms": 300, "session_timeout_ms": 2_000, "heartbeat_interval_ms": 300}


class KafkaHarness(BrokerHarness):
    system = "kafka"

    def __init__(self, servers: str) -> None:
        self.servers = servers
        self._brokers: list[KafkaBroker] = []

    def pattern(self, prefix: str) -> str:
        return f"^{prefix}.*"

    def broker(
        self,
        *streams: str,
        group: str,
        start: StartPosition = EARLIEST,
        max_records: int = 1000,
        servers: str | None = None,
        impatient: bool = False,
    ) -> KafkaBroker:
        """Create a broker. `impatient`: its requests time out after half a second."""
        source = config.KafkaConfig(
            bootstrap_servers=servers or self.servers,
            topics=list(streams),
            group_id=group,
            start=start,
            client={**QUICK, **({"request_timeout_ms": 500} if impatient else {})},
        )
        broker = KafkaBroker(source, "contract", self.naming(group), max_records=max_records)
        self._brokers.append(broker)
        return broker

    def unreachable(self) -> KafkaBroker:
        return self.broker("orders", group="group", servers="127.0.0.1:1")

    async def create(self, stream: str, partitions: int = 1) -> None:
        import confluent_kafka

        try:
            create_topic(self.servers, stream, partitions)
        except confluent_kafka.KafkaException as error:
            if error.args[0].code() != confluent_kafka.KafkaError.TOPIC_ALREADY_EXISTS:
                raise

    async def produce(self, records: Sequence[Outgoing]) -> list[Position]:
        if not any("\x00" in name for one in records for name, _ in one.headers):
            return await asyncio.to_thread(published, self.servers, records)
        # librdkafka cuts header names at a zero byte.
        where = []
        async with AIOKafkaProducer(bootstrap_servers=self.servers) as producer:
            for one in records:
                batch = producer.create_batch()
                batch.append(timestamp=one.timestamp, key=one.key, value=one.value, headers=list(one.headers))
                to = await (await producer.send_batch(batch, one.stream, partition=one.partition or 0))
                where.append(Position("kafka", to.topic, to.partition, to.offset))
        return where

    async def contents(self, stream: str) -> list[Record]:
        """Return all committed records, read by aiokafka's own consumer.

        Waits for open transactions first, because records become visible shortly after their commit.
        """
        found: list[Record] = []
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.servers, isolation_level="read_committed", auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            tps = sorted(TopicPartition(stream, n) for n in await self._partitions(consumer, stream))
            consumer.assign(tps)
            ends = await self._ends(tps)
            for tp in tps:
                await consumer.seek_to_beginning(tp)
                while await consumer.position(tp) < ends[tp]:
                    for batch in (await consumer.getmany(tp, timeout_ms=100)).values():
                        for one in batch:
                            position = Position("kafka", one.topic, one.partition, one.offset)
                            found.append(Record(position, one.key, one.value, one.headers, one.timestamp))
        finally:
            await consumer.stop()
        return found

    async def _ends(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        if not tps:
            return {}
        async with AIOKafkaConsumer(bootstrap_servers=self.servers) as consumer:
            return await consumer.end_offsets(tps)

    async def _partitions(self, consumer: AIOKafkaConsumer, stream: str) -> set[int]:
        return (await consumer._client.fetch_all_metadata()).partitions_for_topic(stream) or set()

    async def crash(self, broker: KafkaBroker) -> None:
        await broker._end_session(tell=False)

    async def trim(self, partition: Partition, before: int) -> None:
        delete_records(self.servers, partition.stream, partition.number, before)

    async def too_large(self) -> bytes:
        return b"x" * 2_000_000

    async def close(self) -> None:
        for broker in self._brokers:
            await broker.close()


class TestKafkaBroker(BrokerContract):
    @pytest.fixture
    async def harness(self, kafka: EmbeddedKafka) -> AsyncIterator[KafkaHarness]:
        harness = KafkaHarness(kafka.bootstrap_servers)
        yield harness
        await harness.close()
        # aiokafka forgets some connections that are canceled while they are made.
        for connection in [each for each in gc.get_objects() if isinstance(each, AIOKafkaConnection)]:
            connection.close()
        await asyncio.sleep(0)

    # Those that are collected within the test are closed with a warning.
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    async def test_a_start_that_is_disturbed_leaves_the_group_to_the_next_member(self, harness, stream, group):
        await super().test_a_start_that_is_disturbed_leaves_the_group_to_the_next_member(harness, stream, group)
        gc.collect()
