"""What only Kafka has: rebalances, codecs of other clients, topics and groups that go away, a server that pauses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from aiokafka.protocol.group import LeaveGroupRequest
from confluent_kafka import KafkaException

from sidecar.adapters.brokers.kafka import cluster_client
from sidecar.adapters.brokers.kafka.broker import KafkaBroker
from sidecar.config.value_types import StartPosition
from sidecar.demo.embedded_kafka import EmbeddedKafka
from sidecar.domain.errors import Fenced, Outage, Refused
from sidecar.domain.model import Outgoing
from sidecar.domain.position import Partition, Position
from tests.contracts.batch_reader import Reader, by_lease, letter, letter_ids
from tests.contracts.test_broker_kafka import KafkaHarness
from tests.servers import kafka as server
from tests.support.conditions import until

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


def _records(topic: str, values: list[bytes], partition: int = 0) -> list[Outgoing]:
    return [Outgoing(topic, None, value, (), partition=partition) for value in values]


async def _started(broker: KafkaBroker, stack: AsyncExitStack) -> Reader:
    await broker.start()
    return await stack.enter_async_context(Reader(broker))


# --- rebalances


async def test_what_stays_with_a_member_goes_on_over_a_rebalance(harness, group):
    """Its lease, what is held of it, and what is read and not committed; only what moves is lost."""
    topic = server.unique("moves")
    await harness.create(topic, 4)
    logs = [Partition("kafka", topic, n) for n in range(4)]
    async with AsyncExitStack() as stack:
        one, two = harness.broker(topic, group=group), harness.broker(topic, group=group)
        first = await _started(one, stack)
        leases = await first.leases(*logs)
        await harness.produce([record for n in range(4) for record in _records(topic, [b"v"], n)])
        await first.read(4)
        batches = by_lease(first.batches)
        for lease in leases:
            one.hold(lease)
        second = await _started(two, stack)
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
        await harness.produce([record for n in range(4) for record in _records(topic, [b"w"], n)])
        await second.read(4)
        assert len(first.records) == 4, "held is held, also after the rebalance"
        for lease in kept:
            one.release(lease)
        await first.read(6)
        assert all(batch.lease in kept for batch in first.batches[-2:])
        for (batch,) in by_lease(first.batches[-2:]):
            await one.commit([batch], [])


async def test_a_member_that_leaves_hands_over_at_once(harness, topic, group):
    async with AsyncExitStack() as stack:
        one, two = harness.broker(topic, group=group), harness.broker(topic, group=group)
        first = await _started(one, stack)
        await first.leases(Partition("kafka", topic, 0))
        second = await _started(two, stack)
        await one.close()
        (lease,) = await second.leases(Partition("kafka", topic, 0))
        assert not lease.lost


# --- what others write


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
async def test_records_of_another_client_in_every_codec(harness, topic, group, codec):
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


async def test_aborted_transactions_are_not_seen_and_settled_past(harness, topic, group):
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


# --- letters


async def test_letters_go_where_they_can(harness, kafka, group):
    """The topic is made like the origin; in one that is there with fewer partitions the key decides."""
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

        await until(lambda dead=dead, partitions=partitions: _lie_in(harness, dead, partitions))
        await broker.close()


async def _lie_in(harness: KafkaHarness, topic: str, partitions: list[int]) -> bool:
    return [record.position.partition for record in await harness.contents(topic)] == partitions


async def test_a_record_as_large_as_its_topic_takes_has_a_letter(harness, group):
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


async def test_a_letters_topic_that_was_deleted_is_made_again(harness, topic, group, monkeypatch):
    monkeypatch.setattr(cluster_client, "RETRY_TIMEOUT_S", 1.0)
    await harness.produce(_records(topic, [b"1", b"2"]))
    broker = harness.broker(topic, group=group, max_records=1)
    await broker.start()
    async with Reader(broker) as reader:
        await reader.read(2)
        (batches,) = by_lease(reader.batches)
        for batch in batches:
            letters = [letter(batch.records[0], harness.naming(group), group)]
            await until(lambda batch=batch, letters=letters: _settles(broker, [batch], letters))
            if batch is batches[0]:
                server.delete_topic(harness.servers, f"{topic}.dlt")
    await until(lambda: _lie_in(harness, f"{topic}.dlt", [0]))


async def test_timestamps_are_kept_and_refused_where_the_topic_refuses_them(harness, topic, group):
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
    sent = _records(topic, [n.to_bytes(2, "big") * 1000 for n in range(1_500)])
    positions = await broker.publish(sent)
    assert [position.offset for position in positions] == [*range(1_500)]
    assert await _scanned(broker, Partition("kafka", topic, 0)) == [one.value for one in sent]


# --- where to begin


async def test_what_appears_later_is_read_from_its_beginning(harness, group):
    prefix = server.unique("appears")
    first = f"{prefix}-a"
    await harness.create(first)
    await harness.produce(_records(first, [b"old"]))
    async with AsyncExitStack() as stack:
        reader = await _started(harness.broker(f"^{prefix}.*", group=group, start=LATEST), stack)
        await reader.leases(Partition("kafka", first, 0))
        second = f"{prefix}-b"
        await harness.create(second)
        await harness.produce(_records(second, [b"new"]))
        server.add_partitions(harness.servers, first, 2)
        await until(lambda: _has_partitions(harness, first, 2))
        await harness.produce(_records(first, [b"more"], partition=1))
        await reader.read(2)
        assert sorted(record.value for record in reader.records) == [b"more", b"new"]


async def _has_partitions(harness: KafkaHarness, topic: str, count: int) -> bool:
    return set(server.admin(harness.servers).list_topics(topic).topics[topic].partitions) == set(range(count))


async def test_a_topic_that_does_not_exist_yet_joins_and_is_not_made_by_us(harness, group):
    topic = server.unique("later")
    async with AsyncExitStack() as stack:
        broker = harness.broker(topic, group=group, start=LATEST)
        reader = await _started(broker, stack)
        assert topic not in await broker.streams()
        await harness.create(topic)
        await harness.produce(_records(topic, [b"v"]))
        await reader.read(1)


# --- what goes away


async def test_a_topic_that_was_deleted_and_made_anew(harness, topic, group):
    await harness.produce(_records(topic, [b"1", b"2", b"3"]))
    async with AsyncExitStack() as stack:
        broker = harness.broker(topic, group=group)
        reader = await _started(broker, stack)
        await reader.read(3)
        await broker.commit(by_lease(reader.batches)[0], [])
        old = reader.batches[0].lease
        server.delete_topic(harness.servers, topic)
        await until(lambda: old.lost)
        await harness.create(topic)
        await harness.produce(_records(topic, [b"4"]))
        await reader.read(4)
        assert reader.records[-1].value == b"4"
        await broker.commit(by_lease(reader.batches)[-1], [])
        (status,) = await broker.status()
        assert (status.committed, status.lag) == (1, 0)


async def test_a_topic_that_was_made_anew_while_we_were_away(harness, topic, group):
    """The group's offset lies beyond the end. (Kafka deletes offsets with the topic; tools and mirrors bring them
    back.)"""
    await harness.produce(_records(topic, [b"1"]))
    server.commit(harness.servers, group, topic, 5)
    async with AsyncExitStack() as stack:
        broker = harness.broker(topic, group=group)
        reader = await _started(broker, stack)
        await reader.read(1)
        (gap,) = [batch.gap for batch in reader.batches if batch.gap is not None]
        assert (gap.wanted, gap.resumed) == (5, 0)
        assert "created again" in gap.reason
        await broker.commit(by_lease(reader.batches)[0], [letter(reader.records[0], harness.naming(group), group)])
        await until(lambda: _caught_up(broker))


async def _caught_up(broker: KafkaBroker) -> bool:
    """The broker shows an offset of a transaction a moment after the transaction was committed."""
    return all(status.lag == 0 for status in await broker.status())


async def test_a_topic_that_was_made_anew_with_more_records_than_were_read(harness, topic, group):
    """Its offsets go on beyond what was read of the old one, so that only its id tells."""
    await harness.produce(_records(topic, [b"1", b"2"]))
    async with AsyncExitStack() as stack:
        broker = harness.broker(topic, group=group, start=LATEST)
        reader = await _started(broker, stack)
        await reader.until(lambda r: r.batches)
        await harness.produce(_records(topic, [b"3"]))
        await reader.read(1)
        await broker.commit(by_lease(reader.batches)[0], [])
        server.delete_topic(harness.servers, topic)
        await harness.create(topic)
        await harness.produce(_records(topic, [b"a", b"b", b"c", b"d"]))
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


async def test_a_commit_of_the_old_topic_is_not_taken_for_the_new_ones(harness, topic, group):
    """The group's offset is still there although the topic is another: its metadata names the old topic."""
    await harness.produce(_records(topic, [b"1", b"2"]))
    async with AsyncExitStack() as stack:
        broker = harness.broker(topic, group=group)
        reader = await _started(broker, stack)
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
        reader = await _started(broker, stack)
        await reader.read(2)
        (gap,) = [batch.gap for batch in reader.batches if batch.gap is not None]
        assert (gap.wanted, gap.resumed, gap.recreated) == (1, 0, True)
        assert reader.batches[0].lease.topic_id == old


async def test_a_log_that_is_trimmed_while_we_wait(harness, topic, group):
    await harness.produce(_records(topic, [b"%d" % n for n in range(10)]))
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
        assert len(read) == 10 or [(gap.wanted, gap.resumed) for gap in gaps] == [(0, 7)]


async def test_the_groups_offsets_are_deleted_under_us(harness, topic, group):
    """Nothing is read twice and nothing jumped over: what this process committed stands."""
    broker = harness.broker(topic, group=group, start=LATEST)
    async with AsyncExitStack() as stack:
        reader = await _started(broker, stack)
        await reader.leases(Partition("kafka", topic, 0))
        await harness.produce(_records(topic, [b"1", b"2"]))
        await reader.read(2)
        await broker.commit(by_lease(reader.batches)[0], [])
        await until(lambda: _group_deleted(broker, harness))
        await reader.until(lambda r: len({id(batch.lease) for batch in r.batches}) == 2)
        await harness.produce(_records(topic, [b"3"]))
        await reader.until(lambda r: r.records[-1].value == b"3")
        assert [record.value for record in reader.records] == [b"1", b"2", b"3"]
        last = by_lease(reader.batches)[-1]
        assert last[0].lease.start == 2
        await broker.commit(last, [letter(reader.records[-1], harness.naming(group), group)])


async def _group_deleted(broker: KafkaBroker, harness: KafkaHarness) -> bool:
    """Expels the only member, as an operator's tool does, and deletes the group before it is back."""
    assert broker._session is not None
    cluster, (member, _) = broker._session.cluster, broker._session.membership.identity
    node = await cluster.group_coordinator(broker.group)
    await cluster.ask(node, LeaveGroupRequest(broker.group, member))
    try:
        await asyncio.to_thread(server.delete_group, harness.servers, broker.group)
    except KafkaException:
        return False
    return True


# --- a server that does not answer


@pytest.fixture
def paused(kafka: EmbeddedKafka, monkeypatch: pytest.MonkeyPatch):
    """Pauses the server; it goes on at the end in any case."""
    monkeypatch.setattr(cluster_client, "RETRY_TIMEOUT_S", 0.5)
    yield kafka
    kafka.resume()


@pytest.mark.parametrize("bad", [True, False])
async def test_an_answer_that_does_not_come(harness, topic, group, paused, bad):
    """Whether it was committed is not known; committing again, or reading again, finds out, and letters are there
    once."""
    await harness.produce(_records(topic, [b"1", b"2"]))
    broker = harness.broker(topic, group=group, impatient=True)
    naming = harness.naming(group)
    async with AsyncExitStack() as stack:
        reader = await _started(broker, stack)
        records = await reader.read(2)
        await broker.commit([reader.batches[0]], [])
        (batches,) = by_lease(reader.batches)
        letters = [letter(record, naming, group) for record in records] if bad else []
        server.create_topic(harness.servers, f"{topic}.dlt")
        paused.pause()
        with pytest.raises((Outage, Fenced)):
            await broker.commit(batches, letters)
        paused.resume()
        try:
            await until(lambda: _settles(broker, batches, letters))
        except Fenced:
            end = batches[-1].next_offset
            await reader.until(
                lambda r: r.batches[-1].lease is not batches[0].lease and r.batches[-1].next_offset == end
            )
            again = [batch for batch in reader.batches if batch.lease is not batches[0].lease]
            dead_lettered = (
                [letter(record, naming, group) for batch in again for record in batch.records] if bad else []
            )
            await broker.commit(again, dead_lettered)

        async def lag() -> bool:
            (status,) = await broker.status()
            return status.lag == 0

        await until(lag)
    found = await harness.contents(f"{topic}.dlt")
    assert letter_ids(found) == (sorted(f"{group}@{record.position}" for record in records) if bad else [])


async def _settles(broker: KafkaBroker, batches, letters) -> bool:
    try:
        await broker.commit(batches, letters)
    except Outage:
        return False
    return True


async def test_three_nodes_one_after_the_other_killed(group):
    """Leaders and coordinators move; everything is read, and dead-lettered once."""
    with EmbeddedKafka(nodes=3, heap="256m", group_min_session_timeout_ms=500) as cluster:
        harness = KafkaHarness(cluster.bootstrap_servers)
        topic = server.create_topic(harness.servers, server.unique("moved"), 3, copies=3)
        naming = harness.naming(group)
        broker = harness.broker(topic, group=group, max_records=5)
        wanted: list[str] = []
        stop = asyncio.Event()

        async def work() -> None:
            while not stop.is_set():
                try:
                    await broker.start()
                    async for batch in broker.batches():
                        letters = [letter(record, naming, group) for record in batch.records]
                        while batch.records:
                            try:
                                await broker.commit([batch], letters)
                            except Fenced:
                                break
                            except Outage:
                                continue
                            break
                except Outage:
                    await broker.close()

        worker = asyncio.ensure_future(work())
        for node in range(2):
            sent = [record for n in range(3) for record in _records(topic, [b"v"] * 20, n)]
            wanted += [f"{group}@{position}" for position in await harness.produce(sent)]
            await asyncio.to_thread(cluster.kill, node)
            sent = [record for n in range(3) for record in _records(topic, [b"w"] * 20, n)]
            wanted += [f"{group}@{position}" for position in await harness.produce(sent)]
            await asyncio.to_thread(cluster.start, node)

        async def all_there() -> bool:
            return len(letter_ids(await harness.contents(f"{topic}.dlt"))) >= len(wanted)

        await until(all_there)
        stop.set()
        worker.cancel()
        await asyncio.wait((worker,))
        assert letter_ids(await harness.contents(f"{topic}.dlt")) == sorted(wanted)
        await harness.close()
