"""The groups contract on a real Kafka, also with groups of librdkafka and of KIP-848."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from sidecar.adapters.brokers.kafka.broker import KafkaBroker
from sidecar.config import schema as config
from sidecar.config.schema import SaslConfig
from sidecar.demo.embedded_kafka import EmbeddedKafka
from tests.contracts.groups_contract import GroupsContract
from tests.contracts.test_broker_kafka import KafkaHarness
from tests.servers.kafka import PASSWORD, allow, create_topic, produce, unique
from tests.support.conditions import until

pytestmark = pytest.mark.kafka


def read_and_stop(servers: str, group: str, topic: str, count: int, protocol: str) -> None:
    """Run another program's consumer that commits `count` records and ends."""
    from confluent_kafka import Consumer

    settings = {"bootstrap.servers": servers, "group.id": group, "auto.offset.reset": "earliest"}
    settings |= {"enable.auto.commit": "false", "group.protocol": protocol, "log_level": "0"}
    consumer = Consumer(settings)
    consumer.subscribe([topic])
    seen = 0
    while seen < count:
        message = consumer.poll(1.0)
        if message is not None and message.error() is None:
            seen += 1
            consumer.commit(message, asynchronous=False)
    consumer.close()


def bob(kafka: EmbeddedKafka, topic: str, group: str) -> KafkaBroker:
    """A broker of a user without rights but those that a test grants."""
    sasl = SaslConfig(mechanism="PLAIN", username="bob", password=PASSWORD)
    source = config.KafkaConfig(bootstrap_servers=kafka.address("SASL"), topics=[topic], group_id=group, sasl=sasl)
    return KafkaBroker(
        source, "shop", config.Config(service="shop", sources=config.SourcesConfig()).stream_names(group)
    )


async def test_a_user_sees_the_groups_that_he_may_describe(kafka: EmbeddedKafka) -> None:
    servers = kafka.bootstrap_servers
    topic, group, other = create_topic(servers, unique("rights")), unique("tracecar.bob"), unique("seen")
    produce(servers, topic, [b"1", b"2"])
    for name in (other, unique("hidden")):
        await asyncio.to_thread(read_and_stop, servers, name, topic, 1, "classic")
    allow(servers, "bob", "topic", topic, "READ")
    allow(servers, "bob", "group", group, "READ")
    broker = bob(kafka, topic, group)
    await broker.start()
    assert await broker.groups() == []
    allow(servers, "bob", "group", other, "DESCRIBE")

    async def seen() -> bool:
        return [one.group for one in await broker.groups()] == [other]

    await until(seen)
    await broker.close()


class TestKafkaGroups(GroupsContract):
    @pytest.fixture
    async def harness(self, kafka: EmbeddedKafka) -> AsyncIterator[KafkaHarness]:
        harness = KafkaHarness(kafka.bootstrap_servers)
        yield harness
        await harness.close()

    @pytest.mark.parametrize("protocol", ["classic", "consumer"])
    async def test_groups_of_other_programs_are_seen(self, harness, stream, group, foreign, protocol):
        await harness.create(stream)
        positions = await self._sent(harness, stream, 5)
        broker = harness.broker(stream, group=group)
        await broker.start()
        await asyncio.to_thread(read_and_stop, harness.servers, foreign, stream, 3, protocol)
        found = await self._of(broker, foreign)
        assert found is not None
        (one,) = found.partitions
        assert (one.committed, one.end, one.lag) == (3, 5, 2)
        assert [one.has_consumed(position.offset) for position in positions] == [True, True, True, False, False]
        assert found.members == (0 if protocol == "classic" else None)
        await broker.close()
