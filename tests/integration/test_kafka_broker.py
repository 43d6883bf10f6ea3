"""Kafka alone: rebalances, codecs of other clients, dead-letter topics, timestamps, new topics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from sidecar.adapters.brokers.kafka import cluster_client
from sidecar.adapters.brokers.kafka.broker import KafkaBroker
from sidecar.config.value_types import StartPosition
from sidecar.demo.embedded_kafka import EmbeddedKafka
from sidecar.domain.errors import Fenced, Refused
from sidecar.domain.model import Outgoing
from sidecar.domain.position import Partition, Position
from tests.contracts.batch_reader import Reader, by_lease, letter
from tests.contracts.test_broker_kafka import KafkaHarness
from tests.servers import kafka as server
from tests.support.conditions import until
from tests.support.kafka_broker import commit_succeeds, records_of, start_reader

pytestmark = pytest.mark.kafka
LATEST = StartPosition("latest")


@pytest.fixture
async def harness(kafka: EmbeddedKafka) -> AsyncIterator[KafkaHarness]:
    harness = KafkaHarness(kafka.bootstrap_servers)
    yield harness
    await harness.close()


@pytest.fixture
def topic(kafka: EmbeddedKafka) -> str:
    return server.create_topic(kafka.bootstrap_servers, server.unique("orders"))


@pytest.fixture
def group() -> str:
    return server.unique("tracecar")


async def test_partitions_that_stay_keep_their_lease_over_a_rebalance(harness, group):
    """The lease, holds, and uncommitted records of a partition that stays are kept; those of a moved one are lost."""
    topic = server.unique("moves")
    await harness.create(topic, 4)
    logs = [Partition("kafka", topic, n) for n in range(4)]
    async with AsyncExitStack() as stack:
        one, two = harness.broker(topic, group=group), harness.broker(topic, group=group)
        first = await start_reader(one, stack)
        leases = await first.leases(*logs)
        await harness.produce([record for n in range(4) for record in records_of(topic, [b"v"], n)])
        await first.read(4)
        batches = by_lease(first.batches)
        for lease in leases:
            one.hold(lease)
        second = await start_reader(two, stack)
        await second.until(lambda r: len({batch.lease.partition for batch in r.batches}) == 2)
        kept = [lease for lease in leases if not lease.lost]
        assert len(kept) == 2
        moved = {lease.partition for lease in leases} - {lease.partition for lease in kept}
        assert {batch.lease.partition for batch in second.batches} == moved
        for (batch,) in batches:
            if batch.lease.lost:
                with pytest.raises(Fenced):
                    await one.commit([batch], [letter(batch.records[0], harness.naming(group), group)])
            else:
                await one.commit([batch], [letter(batch.records[0], harness.naming(group), group)])
        await harness.produce([record for n in range(4) for record in records_of(topic, [b"w"], n)])
        await second.read(4)
        assert len(first.records) == 4, "the hold continues after the rebalance"
        for lease in kept:
            one.release(lease)
        await first.read(6)
        assert all(batch.lease in kept for batch in first.batches[-2:])
        for (batch,) in by_lease(first.batches[-2:]):
            await one.commit([batch], [])


async def test_a_member_that_leaves_hands_over_at_once(harness, topic, group):
    async with AsyncExitStack() as stack:
        one, two = harness.broker(topic, group=group), harness.broker(topic, group=group)
        first = await start_reader(one, stack)
        await first.leases(Partition("kafka", topic, 0))
        second = await start_reader(two, stack)
        await one.close()
        (lease,) = await second.leases(Partition("kafka", topic, 0))
        assert not lease.lost


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
async def test_records_of_another_client_are_read_in_every_codec(harness, topic, group, codec):
    values = [bytes([n % 256]) * 700 for n in range(500)]
    headers = [("n", b"1"), ("n", None), ("n", b"1")]
    more = {"compression.type": codec, "linger.ms": 50}
    await asyncio.to_thread(server.produce, harness.servers, topic, values, key=b"k", headers=headers, **more)
    broker = harness.broker(topic, group=group, max_records=90)
    await broker.start()
    async with Reader(broker) as reader:
        records = await reader.read(500)
    assert [record.value for record in records] == values
    assert {(record.key, record.headers) for record in records} == {(b"k", tuple(headers))}
    assert await broker.read(records[333].position) == records[333]


async def test_aborted_transactions_are_skipped_and_committed(harness, topic, group):
    from confluent_kafka import Producer

    def write() -> None:
        for commit in (False, True, False):
            settings = {"bootstrap.servers": harness.servers, "transactional.id": server.unique("t"), "log_level": 0}
            producer = Producer(settings)
            producer.init_transactions(30)
            producer.begin_transaction()
            producer.produce(topic, b"committed" if commit else b"aborted")
            producer.flush(30)
            (producer.commit_transaction if commit else producer.abort_transaction)(30)

    await asyncio.to_thread(write)
    broker = harness.broker(topic, group=group)
    await broker.start()
    async with Reader(broker) as reader:
        await reader.until(lambda r: r.batches and r.batches[-1].next_offset == 6)
        assert [record.value for record in reader.records] == [b"committed"]
        await broker.commit([batch for batch in reader.batches if batch.next_offset], [])
        (status,) = await broker.status()
        assert (status.committed, status.end, status.lag) == (6, 6, 0)
        pages = [page async for page in broker.scan(Partition("kafka", topic, 0))]
        assert [record.value for page in pages for record in page] == [b"committed"]
        assert await broker.read(Position("kafka", topic, 0, 0)) is None
        assert await broker.read(Position("kafka", topic, 0, 1)) is None


async def test_letters_go_to_the_partition_of_their_origin_if_it_exists(harness, kafka, group):
    """A new topic has the origin's partitions. In an existing one with fewer partitions, the key decides."""
    topic = server.unique("wide")
    await harness.create(topic, 3)
    sent = [Outgoing(topic, b"key", b"v", (), partition=n) for n in range(3)]
    await harness.produce(sent)
    naming = harness.naming(group)
    for dead, partitions in ((f"{topic}.dlt", [0, 1, 2]), (f"{topic}.dlq", [0, 0, 0])):
        if dead.endswith("q"):
            await harness.create(dead, 1)
        broker = harness.broker(topic, group=f"{group}{dead[-1]}")
        await broker.start()
        async with Reader(broker) as reader:
            await reader.read(3)
            for batches in by_lease(reader.batches):
                letters = [letter(record, naming, group) for batch in batches for record in batch.records]
                moved = [Outgoing(dead, o.key, o.value, o.headers, o.partition, origin=o.origin) for o in letters]
                await broker.commit(batches, moved)

        await until(lambda dead=dead, partitions=partitions: _are_in(harness, dead, partitions))
        await broker.close()


async def _are_in(harness: KafkaHarness, topic: str, partitions: list[int]) -> bool:
    return [record.position.partition for record in await harness.contents(topic)] == partitions


async def test_the_largest_record_of_a_topic_is_dead_lettered(harness, group):
    topic = server.create_topic(harness.servers, server.unique("large"), max_message_bytes=3_000_000)
    await asyncio.to_thread(
        server.produce, harness.servers, topic, [b"x" * 2_999_000], **{"message.max.bytes": 4_000_000}
    )
    broker = harness.broker(topic, group=group)
    await broker.start()
    async with Reader(broker) as reader:
        (record,) = await reader.read(1)
        await broker.commit(by_lease(reader.batches)[0], [letter(record, harness.naming(group), group)])
    (partition,) = await broker.partitions(f"{topic}.dlt")
    await until(lambda: _scanned(broker, partition))


async def _scanned(broker: KafkaBroker, partition: Partition) -> list[bytes | None]:
    return [record.value async for page in broker.scan(partition) for record in page]


async def test_a_deleted_dead_letter_topic_is_created_again(harness, topic, group, monkeypatch):
    monkeypatch.setattr(cluster_client, "RETRY_TIMEOUT_S", 1.0)
    await harness.produce(records_of(topic, [b"1", b"2"]))
    broker = harness.broker(topic, group=group, max_records=1)
    await broker.start()
    async with Reader(broker) as reader:
        await reader.read(2)
        (batches,) = by_lease(reader.batches)
        for batch in batches:
            letters = [letter(batch.records[0], harness.naming(group), group)]
            await until(lambda batch=batch, letters=letters: commit_succeeds(broker, [batch], letters))
            if batch is batches[0]:
                server.delete_topic(harness.servers, f"{topic}.dlt")
    await until(lambda: _are_in(harness, f"{topic}.dlt", [0]))


async def test_timestamps_are_kept_unless_the_topic_refuses_them(harness, topic, group):
    broker = harness.broker(topic, group=group)
    await broker.start()
    (position,) = await broker.publish([Outgoing(topic, None, b"v", (), timestamp=1_000_000_000_000)])
    record = await broker.read(position)
    assert record is not None
    assert record.timestamp == 1_000_000_000_000
    with pytest.raises(Refused, match="Timestamp"):
        await broker.publish([Outgoing(topic, None, b"v", (), timestamp=9_000_000_000_000)])
    (position,) = await broker.publish([Outgoing(topic, None, b"w", ())])
    assert position.offset == 1


async def test_publishing_more_than_a_batch_keeps_the_order(harness, topic, group):
    broker = harness.broker(topic, group=group)
    await broker.start()
    sent = records_of(topic, [n.to_bytes(2, "big") * 1000 for n in range(1_500)])
    positions = await broker.publish(sent)
    assert [position.offset for position in positions] == [*range(1_500)]
    assert await _scanned(broker, Partition("kafka", topic, 0)) == [one.value for one in sent]


async def test_new_topics_and_partitions_are_read_from_their_beginning(harness, group):
    prefix = server.unique("appears")
    first = f"{prefix}-a"
    await harness.create(first)
    await harness.produce(records_of(first, [b"old"]))
    async with AsyncExitStack() as stack:
        reader = await start_reader(harness.broker(f"^{prefix}.*", group=group, start=LATEST), stack)
        await reader.leases(Partition("kafka", first, 0))
        second = f"{prefix}-b"
        await harness.create(second)
        await harness.produce(records_of(second, [b"new"]))
        server.add_partitions(harness.servers, first, 2)
        await until(lambda: _has_partitions(harness, first, 2))
        await harness.produce(records_of(first, [b"more"], partition=1))
        await reader.read(2)
        assert sorted(record.value for record in reader.records) == [b"more", b"new"]


async def _has_partitions(harness: KafkaHarness, topic: str, count: int) -> bool:
    return set(server.admin(harness.servers).list_topics(topic).topics[topic].partitions) == set(range(count))


async def test_a_missing_topic_is_awaited_and_not_created(harness, group):
    topic = server.unique("later")
    async with AsyncExitStack() as stack:
        broker = harness.broker(topic, group=group, start=LATEST)
        reader = await start_reader(broker, stack)
        assert topic not in await broker.streams()
        await harness.create(topic)
        await harness.produce(records_of(topic, [b"v"]))
        await reader.read(1)
