"""Adverse events on a Redis server: deleted groups and streams, restarts, trims, keys of another type."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest

from sidecar.adapters.brokers.redis.broker import RedisBroker
from sidecar.demo.embedded_valkey import EmbeddedValkey
from sidecar.domain.errors import Disconnected, Fenced, Outage
from sidecar.domain.model import Outgoing, Record
from sidecar.domain.position import Partition
from tests.contracts.batch_reader import Reader, by_lease, letter, letter_ids
from tests.contracts.broker_harness import LATEST, outgoing
from tests.support.conditions import until
from tests.support.redis import RedisHarness

pytestmark = pytest.mark.valkey


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedValkey]:
    """A server of its own, which the tests flush and stop."""
    with EmbeddedValkey(appendonly="yes", appendfsync="always") as server:
        yield server


@pytest.fixture
async def harness(server: EmbeddedValkey) -> AsyncIterator[RedisHarness]:
    server.start()
    harness = RedisHarness(server.url)
    yield harness
    await harness.close()


@pytest.fixture
def stream() -> str:
    return f"orders-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def group() -> str:
    return f"group-{uuid.uuid4().hex[:12]}"


def letters_of(harness: RedisHarness, group: str, records: Sequence[Record]) -> list[Outgoing]:
    return [letter(record, harness.naming(group), group) for record in records]


def wanted(group: str, records: Sequence[Record]) -> list[str]:
    return sorted(f"{group}@{record.position}" for record in records)


async def settle_until_it_is_safe(broker: RedisBroker, batches: Sequence, letters: Sequence[Outgoing]) -> None:  # type: ignore[type-arg]
    async def committed() -> bool:
        try:
            await broker.commit(batches, letters)
        except Outage:
            return False
        return True

    await until(committed)


async def numbered(harness: RedisHarness, stream: str, first: int, last: int) -> None:
    await harness.produce([outgoing(stream, b"%d" % n) for n in range(first, last)])


async def test_a_deleted_group_is_restored_at_its_position(harness: RedisHarness, stream: str, group: str) -> None:
    await numbered(harness, stream, 0, 20)
    broker = harness.broker(stream, group=group, max_records=10)
    await broker.start()
    async with Reader(broker) as reader:
        records = await reader.read(20)
        one, two = ([batch] for batch in reader.batches if batch.records)
        await broker.commit(one, letters_of(harness, group, records[:10]))
        await harness.client.xgroup_destroy(stream, group)
        await settle_until_it_is_safe(broker, two, letters_of(harness, group, records[10:]))
        await numbered(harness, stream, 20, 30)
        await reader.read(30)
        assert [record.value for record in reader.records] == [b"%d" % n for n in range(30)]
        (gap,) = [batch.gap for batch in reader.batches if batch.gap]
        assert "deleted" in gap.reason
        await broker.commit([batch for batch in reader.batches if batch.records][2:], [])
    assert letter_ids(await harness.contents(f"{stream}.dlt")) == wanted(group, records)
    await broker.close()


async def test_a_group_that_another_program_recreated_loses_no_entry(
    harness: RedisHarness, stream: str, group: str
) -> None:
    await numbered(harness, stream, 0, 10)
    broker = harness.broker(stream, group=group)
    await broker.start()
    async with Reader(broker) as reader:
        records = await reader.read(10)
        (batches,) = by_lease(reader.batches)
        pipe = harness.client.pipeline(transaction=True)
        pipe.execute_command("XGROUP", "DESTROY", stream, group)
        pipe.execute_command("XGROUP", "CREATE", stream, group, "$")
        await pipe.execute()
        await settle_until_it_is_safe(broker, batches, letters_of(harness, group, records))
        await numbered(harness, stream, 10, 12)
        await reader.read(12)
        assert [record.value for record in reader.records] == [b"%d" % n for n in range(12)]
    assert letter_ids(await harness.contents(f"{stream}.dlt")) == wanted(group, records)
    await broker.close()


async def test_two_members_mend_a_deleted_group_together(harness: RedisHarness, stream: str, group: str) -> None:
    brokers = [harness.broker(stream, group=group, max_records=5) for _ in range(2)]
    for broker in brokers:
        await broker.start()
    async with Reader(brokers[0]) as one, Reader(brokers[1]) as two:
        await numbered(harness, stream, 0, 40)
        await until(lambda: len(one.records) + len(two.records) == 40)
        kept = list(one.batches), list(two.batches)
        await harness.client.xgroup_destroy(stream, group)
        for broker, batches in zip(brokers, kept, strict=True):
            filled = [batch for batch in batches if batch.records]
            if filled:
                records = [record for batch in filled for record in batch.records]
                await settle_until_it_is_safe(broker, filled, letters_of(harness, group, records))
        await numbered(harness, stream, 40, 60)
        await until(lambda: len(one.records) + len(two.records) >= 60)
        assert sorted(int(r.value or b"") for r in one.records + two.records) == list(range(60))
    ids = letter_ids(await harness.contents(f"{stream}.dlt"))
    assert ids == wanted(group, (await harness.contents(stream))[:40])


async def test_after_a_flush_new_entries_are_read(harness: RedisHarness, stream: str, group: str) -> None:
    await numbered(harness, stream, 0, 5)
    broker = harness.broker(stream, group=group)
    await broker.start()
    async with Reader(broker) as reader:
        await reader.read(5)
        lease = reader.batches[0].lease
        await harness.client.flushall()
        await reader.until(lambda r: any(batch.gap for batch in r.batches))
        await reader.until(lambda _: lease.lost)
        await until(lambda: reader.lease(lease.partition) is not lease)
        await numbered(harness, stream, 5, 8)
        await reader.read(8)
        assert [record.value for record in reader.records] == [b"%d" % n for n in range(8)]
        with pytest.raises(Fenced):
            await broker.commit(by_lease(reader.batches)[0], [])
    await broker.close()


async def test_a_recreated_stream_with_older_ids_is_read_from_its_beginning(
    harness: RedisHarness, stream: str, group: str
) -> None:
    await numbered(harness, stream, 0, 3)
    broker = harness.broker(stream, group=group)
    await broker.start()
    async with Reader(broker) as reader:
        await reader.read(3)
        pipe = harness.client.pipeline(transaction=True)
        pipe.delete(stream)
        pipe.execute_command("XADD", stream, "1-1", "payload", "3")
        pipe.execute_command("XADD", stream, "1-2", "payload", "4")
        await pipe.execute()
        await reader.read(5)
        assert [record.value for record in reader.records] == [b"%d" % n for n in range(5)]
        assert any(batch.gap for batch in reader.batches)
    await broker.close()


async def test_a_key_that_is_no_stream_any_more_ends_its_lease_and_no_other(
    harness: RedisHarness, stream: str, group: str
) -> None:
    other = f"{stream}-other"
    for name in (stream, other):
        await harness.create(name)
    broker = harness.broker(stream, other, group=group)
    await broker.start()
    async with Reader(broker) as reader:
        leases = await reader.leases(Partition("redis", stream, 0), Partition("redis", other, 0))
        await harness.client.set(stream, "a string")
        await reader.until(lambda _: leases[0].lost) if leases[0].lost else await until(lambda: leases[0].lost)
        await numbered(harness, other, 0, 3)
        await reader.read(3)
        assert not leases[1].lost
        await harness.client.delete(stream)
        await numbered(harness, stream, 0, 3)
        await reader.read(6)
        assert sum(p.stream == stream for p in reader.positions) == 3
    await broker.close()


async def test_a_stream_trimmed_while_it_is_read_reports_what_was_lost(
    harness: RedisHarness, stream: str, group: str
) -> None:
    if not harness.trims:
        pytest.skip("this server does not count trimmed entries")
    await harness.create(stream)
    broker = harness.broker(stream, group=group)
    await broker.start()
    async with Reader(broker) as reader:
        await reader.leases(Partition("redis", stream, 0))
        sent = 0
        for _ in range(20):
            pipe = harness.client.pipeline(transaction=True)
            for _ in range(50):
                pipe.execute_command("XADD", stream, "MAXLEN", "=", "10", "*", "payload", str(sent))
                sent += 1
            await pipe.execute()
            last = b"%d" % (sent - 1)
            await reader.until(lambda r, last=last: r.records and r.records[-1].value == last)
        gaps = [batch.gap for batch in reader.batches if batch.gap]
        lost = sum(int(gap.reason.split()[0]) for gap in gaps)
        assert len(reader.records) + lost == sent
        assert lost > 0
        await broker.commit([batch for batch in reader.batches if batch.records], [])
        (status,) = await broker.status()
        assert (status.lag, status.pending) == (0, 0)
    await broker.close()


async def test_streams_that_appear_later_are_read_from_their_beginning(
    harness: RedisHarness, stream: str, group: str
) -> None:
    broker = harness.broker(f"{stream}*", group=group, start=LATEST)
    await numbered(harness, f"{stream}-old", 0, 3)
    await broker.start()
    async with Reader(broker) as reader:
        await numbered(harness, f"{stream}-new", 10, 13)
        await numbered(harness, f"{stream}-old", 3, 5)
        await reader.read(5)
        assert sorted(int(record.value or b"") for record in reader.records) == [3, 4, 10, 11, 12]
    await broker.close()


async def test_a_restarted_server_is_an_outage_and_reading_resumes(
    harness: RedisHarness, server: EmbeddedValkey, stream: str, group: str
) -> None:
    await numbered(harness, stream, 0, 10)
    broker = harness.broker(stream, group=group, max_records=5)
    await broker.start()
    async with Reader(broker) as reader:
        records = await reader.read(10)
        first, second = ([batch] for batch in reader.batches if batch.records)
        await broker.commit(first, letters_of(harness, group, records[:5]))
        server.kill()
        with pytest.raises(Outage):
            await broker.commit(second, letters_of(harness, group, records[5:]))
        with pytest.raises(Disconnected):
            await reader.until(lambda r: len(r.records) > 10)
        with pytest.raises(Outage):
            await broker.status()
        server.start()
        # The same call again, before anything else happened.
        await broker.commit(second, letters_of(harness, group, records[5:]))
    await broker.close()
    await broker.start()
    async with Reader(broker) as reader:
        await numbered(harness, stream, 10, 12)
        await reader.read(2)
        assert [record.value for record in reader.records] == [b"10", b"11"]
    await broker.close()
    assert letter_ids(await harness.contents(f"{stream}.dlt")) == wanted(group, records)
