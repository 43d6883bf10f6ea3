"""Large, many, damaged and refused records on a real Kafka; and options of the client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from sidecar.adapters.brokers.kafka.broker import KafkaBroker
from sidecar.config import schema as config
from sidecar.config.value_types import StartPosition
from sidecar.demo.embedded_kafka import EmbeddedKafka
from sidecar.domain.errors import RecordRefused, TooLarge
from sidecar.domain.model import Outgoing
from tests.contracts.batch_reader import Reader, by_lease, letter
from tests.contracts.test_broker_kafka import QUICK, KafkaHarness
from tests.servers import kafka as server
from tests.support.conditions import until

pytestmark = pytest.mark.kafka

MEBIBYTE = 1 << 20


@pytest.fixture
async def harness(kafka: EmbeddedKafka) -> AsyncIterator[KafkaHarness]:
    harness = KafkaHarness(kafka.bootstrap_servers)
    yield harness
    await harness.close()


@pytest.fixture
def topic(kafka: EmbeddedKafka) -> str:
    return server.create_topic(kafka.bootstrap_servers, server.unique("orders"), max_message_bytes=2 * MEBIBYTE)


@pytest.fixture
def group() -> str:
    return server.unique("tracecar")


def _produce(servers: str, topic: str, *values: bytes, **settings: object) -> None:
    from confluent_kafka import Producer

    limits = {"message.max.bytes": 200 * MEBIBYTE, "compression.type": "zstd", "linger.ms": 200}
    producer = Producer({"bootstrap.servers": servers, **limits, **settings})
    for value in values:
        producer.produce(topic, value, partition=0)
    assert producer.flush(30) == 0


async def test_a_gate_writes_compressed_as_the_source_did(harness, topic, group):
    """A letter of 30 MiB fits the broker's limit of 2 MiB only if it is compressed."""
    target = server.create_topic(harness.servers, server.unique("checked"), max_message_bytes=2 * MEBIBYTE)
    await asyncio.to_thread(_produce, harness.servers, topic, b"a", b"x" * (30 * MEBIBYTE), b"b")
    async with AsyncExitStack() as stack:
        broker = harness.broker(topic, group=group)
        await broker.start()
        reader = await stack.enter_async_context(Reader(broker))
        await reader.read(3)
        (batches,) = by_lease(reader.batches)
        passed = [Outgoing(target, None, r.value, r.headers, 0, r.timestamp, origin=r.position) for r in reader.records]
        await broker.commit(batches, passed)
        found = await broker.read(reader.records[1].position)
        assert found == reader.records[1]
        offset = (await broker.partitions(target))[0]
        records = [record async for part in broker.scan(offset) for record in part]
    assert [len(record.value or b"") for record in records] == [1, 30 * MEBIBYTE, 1]


async def test_a_record_that_inflates_too_far_is_rejected_and_its_neighbors_pass(harness, topic, group):
    await asyncio.to_thread(_produce, harness.servers, topic, b"a", b"x" * (70 * MEBIBYTE), b"b")
    async with AsyncExitStack() as stack:
        broker = harness.broker(topic, group=group)
        await broker.start()
        reader = await stack.enter_async_context(Reader(broker))
        await reader.read(3)
        assert [record.value for record in reader.records] == [b"a", None, b"b"]
        assert [record.defect and record.defect.code for record in reader.records] == [None, "decode.limit", None]
        assert [batch.gap for batch in reader.batches if batch.gap is not None] == []
        bad = reader.records[1]
        assert await broker.read(bad.position) == bad


async def test_a_compacted_dead_letter_topic_is_named_with_the_command_that_changes_it(harness, topic, group):
    letters = harness.naming(group).dead_letter_stream(topic)
    server.create_topic(
        harness.servers, letters, cleanup_policy="compact", retention_ms=1_000, max_message_bytes=100_000
    )
    await harness.produce([Outgoing(topic, None, b"bad", (), partition=0)])
    async with AsyncExitStack() as stack:
        broker = harness.broker(topic, group=group)
        await broker.start()
        reader = await stack.enter_async_context(Reader(broker))
        await reader.read(1)
        (batches,) = by_lease(reader.batches)
        with pytest.raises(RecordRefused, match=r"cleanup\.policy=compact") as refusal:
            await broker.commit(batches, [letter(reader.records[0], harness.naming(group), group)])
        command = f"--entity-name {letters} --add-config cleanup.policy=delete"
        assert command in str(refusal.value)
        assert refusal.value.index == 0
        findings = [finding for finding in await broker.inspect() if f"settings of {letters}" in finding.what]
        assert [finding.ok for finding in findings] == [False, False]
        assert command in findings[0].detail
        assert "max.message.bytes=100000" in findings[1].detail
        warnings = await broker.warnings()
        assert len(warnings) == 2
        assert command in warnings[0]


async def test_dead_letter_topics_are_made_as_safe_as_their_origin(harness, group):
    topic = server.create_topic(harness.servers, server.unique("orders"), retention_ms=777_000_000)
    await harness.produce([Outgoing(topic, None, b"bad", (), partition=0)])
    async with AsyncExitStack() as stack:
        broker = harness.broker(topic, group=group)
        await broker.start()
        reader = await stack.enter_async_context(Reader(broker))
        await reader.read(1)
        (batches,) = by_lease(reader.batches)
        await broker.commit(batches, [letter(reader.records[0], harness.naming(group), group)])
        retention = await broker.retention(harness.naming(group).dead_letter_stream(topic))
        assert retention.keeps_ms == 777_000_000
        assert await broker.warnings() == []


async def test_every_option_of_the_client_works(harness, topic, group):
    client = {
        **QUICK,
        "client_rack": "a",
        "linger_ms": 20,
        "max_request_size": 100_000,
        "max_poll_interval_ms": 60_000,
        "compression_type": "lz4",
    }
    source = config.KafkaConfig(bootstrap_servers=harness.servers, topics=[topic], group_id=group, client=client)
    broker = KafkaBroker(source, "options", harness.naming(group))
    await broker.start()
    try:
        calls = [broker.publish([Outgoing(topic, None, b"%d" % n, (), partition=0)]) for n in range(20)]
        positions = [position for (position,) in await asyncio.gather(*calls)]
        assert sorted(position.offset for position in positions) == list(range(20))
        records = [await broker.read(position) for position in positions]
        assert [record and record.value for record in records] == [b"%d" % n for n in range(20)]
        large = Outgoing(topic, None, bytes(range(256)) * 2_000, (), partition=0)
        results = await asyncio.gather(
            broker.publish([Outgoing(topic, None, b"before", (), partition=0)]),
            broker.publish([large]),
            broker.publish([Outgoing(topic, None, b"after", (), partition=0)]),
            return_exceptions=True,
        )
        assert not isinstance(results[0], BaseException)
        assert not isinstance(results[2], BaseException)
    finally:
        await broker.close()
    uncompressed = config.KafkaConfig(
        bootstrap_servers=harness.servers, topics=[topic], group_id=group, client={"max_request_size": 100_000}
    )
    broker = KafkaBroker(uncompressed, "options", harness.naming(group))
    await broker.start()
    try:
        with pytest.raises(TooLarge, match=r"max\.message\.bytes|512000"):
            await broker.publish([large])
    finally:
        await broker.close()


async def test_a_member_that_does_not_poll_leaves_the_group(harness, topic, group):
    await harness.produce([Outgoing(topic, None, b"v", (), partition=0)])
    source = config.KafkaConfig(
        bootstrap_servers=harness.servers,
        topics=[topic],
        group_id=group,
        start=StartPosition("earliest"),
        client={**QUICK, "max_poll_interval_ms": 600},
    )
    stuck = KafkaBroker(source, "stuck", harness.naming(group))
    await stuck.start()
    try:
        await anext(aiter(stuck.batches()))
        broker = harness.broker(topic, group=group)
        async with AsyncExitStack() as stack:
            await broker.start()
            reader = await stack.enter_async_context(Reader(broker))
            await until(lambda: bool(reader.records))
    finally:
        await stuck.close()
