"""Topics and groups that change under a running broker: deleted, created again, trimmed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from aiokafka.protocol.group import LeaveGroupRequest
from confluent_kafka import KafkaException

from sidecar.adapters.brokers.kafka import fetcher, topic_ids
from sidecar.adapters.brokers.kafka.broker import KafkaBroker
from sidecar.config.value_types import StartPosition
from sidecar.demo.embedded_kafka import EmbeddedKafka
from sidecar.domain.position import Partition, Position
from tests.contracts.batch_reader import Reader, by_lease, letter, letter_ids
from tests.contracts.test_broker_kafka import KafkaHarness
from tests.servers import kafka as server
from tests.support.conditions import until
from tests.support.kafka_broker import records_of, start_reader

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


async def test_a_topic_that_was_deleted_and_created_again(harness, topic, group):
    await harness.produce(records_of(topic, [b"1", b"2", b"3"]))
    async with AsyncExitStack() as stack:
        broker = harness.broker(topic, group=group)
        reader = await start_reader(broker, stack)
        await reader.read(3)
        await broker.commit(by_lease(reader.batches)[0], [])
        old = reader.batches[0].lease
        server.delete_topic(harness.servers, topic)
        await until(lambda: old.lost)
        await harness.create(topic)
        await harness.produce(records_of(topic, [b"4"]))
        await reader.read(4)
        assert reader.records[-1].value == b"4"
        await broker.commit(by_lease(reader.batches)[-1], [])
        (status,) = await broker.status()
        assert (status.committed, status.lag) == (1, 0)


async def test_a_topic_that_was_created_again_while_the_broker_was_stopped(harness, topic, group):
    """The group's offset is beyond the end.

    Kafka deletes offsets with the topic; tools and mirrors bring them back.
    """
    await harness.produce(records_of(topic, [b"1"]))
    server.commit(harness.servers, group, topic, 5)
    async with AsyncExitStack() as stack:
        broker = harness.broker(topic, group=group)
        reader = await start_reader(broker, stack)
        await reader.read(1)
        (gap,) = [batch.gap for batch in reader.batches if batch.gap is not None]
        assert (gap.wanted, gap.resumed) == (5, 0)
        assert "created again" in gap.reason
        await broker.commit(by_lease(reader.batches)[0], [letter(reader.records[0], harness.naming(group), group)])
        await until(lambda: _caught_up(broker))


async def _caught_up(broker: KafkaBroker) -> bool:
    """Return True once the lag is 0: the broker shows an offset shortly after its transaction was committed."""
    return all(status.lag == 0 for status in await broker.status())


async def test_a_topic_that_was_created_again_with_more_records_than_were_read(harness, topic, group):
    """The new topic has more records than were read of the old one, so that only its id differs."""
    await harness.produce(records_of(topic, [b"1", b"2"]))
    async with AsyncExitStack() as stack:
        broker = harness.broker(topic, group=group, start=LATEST)
        reader = await start_reader(broker, stack)
        await reader.until(lambda r: r.batches)
        await harness.produce(records_of(topic, [b"3"]))
        await reader.read(1)
        await broker.commit(by_lease(reader.batches)[0], [])
        server.delete_topic(harness.servers, topic)
        await harness.create(topic)
        await harness.produce(records_of(topic, [b"a", b"b", b"c", b"d"]))
        await reader.read(5)
        assert [record.value for record in reader.records] == [b"3", b"a", b"b", b"c", b"d"]
        assert [record.position.offset for record in reader.records] == [2, 0, 1, 2, 3]
        (gap,) = [batch.gap for batch in reader.batches if batch.gap is not None]
        assert (gap.wanted, gap.resumed, gap.recreated) == (3, 0, True)
        assert "created again" in gap.reason
        batches = by_lease(reader.batches)[-1]
        await broker.commit(batches, [letter(reader.records[2], harness.naming(group), group)])
        await until(lambda: _caught_up(broker))
    letters = await harness.contents(harness.naming(group).dead_letter_stream(topic))
    assert letter_ids(letters) == [f"{group}@kafka://{topic}/0/1"]


@pytest.mark.parametrize("count", [1, 3, 6])
async def test_a_broker_that_cannot_fetch_by_id_is_asked_for_ids_now_and_then(
    harness, topic, group, monkeypatch, count
):
    """Kafka 2.8 to 3.0. The new topic ends before, at or behind the offset that is read next."""
    monkeypatch.setattr(topic_ids, "_FETCH_API_VERSION", 99)
    monkeypatch.setattr(fetcher, "TOPIC_CHECK_INTERVAL_S", 0.1)
    await harness.produce(records_of(topic, [b"1", b"2", b"3"]))
    async with AsyncExitStack() as stack:
        broker = harness.broker(topic, group=group)
        reader = await start_reader(broker, stack)
        await reader.read(3)
        await broker.commit(by_lease(reader.batches)[0], [])
        server.delete_topic(harness.servers, topic)
        await harness.create(topic)
        values = [b"new %d" % number for number in range(count)]
        await harness.produce(records_of(topic, values))
        await reader.until(lambda r: [record.value for record in r.records[-count:]] == values)
        assert reader.positions[-count:] == [Position("kafka", topic, 0, number) for number in range(count)]
        (gap,) = [batch.gap for batch in reader.batches if batch.gap is not None]
        assert (gap.wanted, gap.resumed, gap.recreated) == (3, 0, True)


async def test_a_commit_of_the_old_topic_does_not_count_for_the_new_one(harness, topic, group):
    """The group's offset still exists although the topic was replaced; its metadata names the old topic."""
    await harness.produce(records_of(topic, [b"1", b"2"]))
    async with AsyncExitStack() as stack:
        broker = harness.broker(topic, group=group)
        reader = await start_reader(broker, stack)
        await reader.read(2)
        await broker.commit(by_lease(reader.batches)[0], [])
        assert broker._session is not None
        lease = reader.batches[0].lease
        old = lease.topic_id
        assert old is not None
        lease.topic_id = bytes(15) + b"x"
        await broker._session.committer.move(lease, 1)
    await broker.close()
    async with AsyncExitStack() as stack:
        broker = harness.broker(topic, group=group)
        reader = await start_reader(broker, stack)
        await reader.read(2)
        (gap,) = [batch.gap for batch in reader.batches if batch.gap is not None]
        assert (gap.wanted, gap.resumed, gap.recreated) == (1, 0, True)
        assert reader.batches[0].lease.topic_id == old


async def test_a_log_that_is_trimmed_during_a_hold(harness, topic, group):
    await harness.produce(records_of(topic, [b"%d" % n for n in range(10)]))
    async with AsyncExitStack() as stack:
        broker = harness.broker(topic, group=group, max_records=2)
        await broker.start()
        first = await anext(aiter(broker.batches()))
        broker.hold(first.lease)
        await broker.commit([first], [])
        reader = await stack.enter_async_context(Reader(broker))
        server.delete_records(harness.servers, topic, 0, 7)
        await broker.rewind(first.lease)
        broker.release(first.lease)
        await reader.until(lambda r: r.records and r.records[-1].value == b"9")
        read = [record.value for record in reader.records]
        gaps = [batch.gap for batch in reader.batches if batch.gap is not None]
        assert read[-3:] == [b"7", b"8", b"9"]
        assert len(read) == 10 or {(gap.wanted, gap.resumed) for gap in gaps} == {(0, 7)}


async def test_deleted_offsets_of_the_group_lose_and_repeat_nothing(harness, topic, group):
    """No record is repeated or skipped, because this process knows what it committed."""
    broker = harness.broker(topic, group=group, start=LATEST)
    async with AsyncExitStack() as stack:
        reader = await start_reader(broker, stack)
        await reader.leases(Partition("kafka", topic, 0))
        await harness.produce(records_of(topic, [b"1", b"2"]))
        await reader.read(2)
        await broker.commit(by_lease(reader.batches)[0], [])
        await until(lambda: _group_deleted(broker, harness))
        await reader.until(lambda r: len({id(batch.lease) for batch in r.batches}) == 2)
        await harness.produce(records_of(topic, [b"3"]))
        await reader.until(lambda r: r.records[-1].value == b"3")
        assert [record.value for record in reader.records] == [b"1", b"2", b"3"]
        last = by_lease(reader.batches)[-1]
        assert last[0].lease.start == 2
        await broker.commit(last, [letter(reader.records[-1], harness.naming(group), group)])


async def _group_deleted(broker: KafkaBroker, harness: KafkaHarness) -> bool:
    """Expel the only member, as an operator's tool does, and delete the group before the member returns."""
    assert broker._session is not None
    cluster, (member, _) = broker._session.cluster, broker._session.membership.identity
    node = await cluster.group_coordinator(broker.group)
    await cluster.ask(node, LeaveGroupRequest(broker.group, member))
    try:
        await asyncio.to_thread(server.delete_group, harness.servers, broker.group)
    except KafkaException:
        return False
    return True
