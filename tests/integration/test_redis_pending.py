"""A member's pending entries agree with its work, also after canceled, late and lost calls, on a real server."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from sidecar.adapters.brokers.redis import fetcher
from sidecar.adapters.brokers.redis.broker import RedisBroker
from sidecar.adapters.brokers.redis.entry_codec import pairs
from sidecar.adapters.redis_client.connection_pool import Command, RedisConnection
from sidecar.adapters.registry.memory import MemoryRegistry
from sidecar.api.mappers.events import EventMapper
from sidecar.config.schema import EnvelopeConfig
from sidecar.decoding.decoder import EventDecoder
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.demo.embedded_valkey import EmbeddedValkey
from sidecar.domain.errors import Disconnected, Fenced, Outage
from sidecar.domain.model import Outgoing
from sidecar.domain.ports.broker import Batch
from sidecar.domain.ports.index import Node
from sidecar.domain.redaction import Redactor
from tests.contracts.batch_reader import Reader
from tests.support.conditions import until
from tests.support.decoding import FORMATS
from tests.support.redis import RedisHarness

pytestmark = pytest.mark.valkey

CALLS = 24
"""Calls of a scenario that are disturbed, one in each run."""


@pytest.fixture
async def harness(valkey: EmbeddedValkey) -> AsyncIterator[RedisHarness]:
    harness = RedisHarness(valkey.url)
    yield harness
    await harness.close()


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetcher, "RECONCILE_INTERVAL_S", 0.2)


def named(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def values(stream: str, count: int) -> list[Outgoing]:
    return [Outgoing(stream, None, str(number).encode(), ()) for number in range(count)]


async def drain(broker: RedisBroker, got: list[Batch]) -> None:
    """Read and commit until canceled; after an outage start again, as the pipeline does."""
    while True:
        try:
            await broker.start()
            async for batch in broker.batches():
                got.append(batch)
                with contextlib.suppress(Fenced):
                    await broker.commit([batch], [])
        except Outage:
            await broker.close()
            await asyncio.sleep(0.01)


async def all_committed(harness: RedisHarness, group: str, *streams: str) -> bool:
    for stream in streams:
        info = pairs(await harness.client.execute_command("XINFO STREAM", stream))
        groups = [pairs(flat) for flat in await harness.client.execute_command("XINFO GROUPS", stream)]
        (state,) = [state for state in groups if state[b"name"] == group.encode()]
        if state[b"pending"] or state[b"last-delivered-id"] != info[b"last-generated-id"]:
            return False
    return True


async def test_members_that_start_together_forget_nothing(harness):
    """Groups exist, entries of a dead consumer are pending, and two members start at the same time."""
    group, streams = named("group"), [named("orders") for _ in range(4)]
    for stream in streams:
        await harness.create(stream)
        await harness.produce(values(stream, 300))
        await harness.client.xgroup_create(stream, group, "0")
        await harness.client.execute_command("XREADGROUP", "GROUP", group, "dead", "COUNT", 40, "STREAMS", stream, ">")
    got: list[Batch] = []
    members = [harness.broker(*streams, group=group, max_records=50, claim_idle=0.3) for _ in range(2)]
    tasks = [asyncio.ensure_future(drain(member, got)) for member in members]
    try:
        await until(lambda: all_committed(harness, group, *streams))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    assert {record.position.stream for batch in got for record in batch.records} == set(streams)
    assert len({record.position for batch in got for record in batch.records}) == 4 * 300


async def test_a_member_that_holds_a_stream_is_given_nothing_of_it(harness):
    group, stream = named("group"), named("orders")
    await harness.create(stream)
    broker = harness.broker(stream, group=group, claim_idle=0.1)
    await broker.start()
    async with Reader(broker) as reader:
        await reader.until(lambda r: r.batches)
        broker.hold(reader.batches[0].lease)
        await asyncio.sleep(0.3)  # a read that was in progress has ended
        await harness.produce(values(stream, 5))
        await asyncio.sleep(0.5)  # many heartbeats
        assert (await harness.client.xpending(stream, group))[0] == 0
        broker.release(reader.batches[0].lease)
        assert len(await reader.read(5)) == 5


async def test_an_entry_that_is_pending_and_in_no_work_is_read_again(harness):
    group, stream = named("group"), named("orders")
    await harness.create(stream)
    broker = harness.broker(stream, group=group)
    await broker.start()
    async with Reader(broker) as reader:
        (first,) = await harness.produce(values(stream, 1))
        await reader.read(1)
        assert broker._consumer is not None
        # A reply that never reached the member: the server has delivered the entry nevertheless.
        broker.hold(reader.batches[0].lease)
        await asyncio.sleep(0.3)
        (second,) = await harness.produce(values(stream, 1))
        await harness.client.execute_command(
            "XREADGROUP", "GROUP", group, broker._consumer.name, "STREAMS", stream, ">"
        )
        broker.release(reader.batches[0].lease)
        await reader.read(2)
        await asyncio.sleep(0.5)
        assert reader.positions == [first, second]  # and entries in work are not


class Disturbance:
    """Disturbs one call of all connections: the `number`th since the start."""

    def __init__(self, how: str, number: int) -> None:
        self.how, self.number, self.seen = how, number, 0
        self.task: asyncio.Task[Any] | None = None

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls = RedisConnection.calls

        async def disturbed(connection: RedisConnection, commands: Sequence[Command]) -> list[Any]:
            self.seen += 1
            if self.seen != self.number:
                return await calls(connection, commands)
            if self.how == "late":
                await asyncio.sleep(0.3)
            replies = await calls(connection, commands)
            if self.how == "slow reply":
                await asyncio.sleep(0.3)
            elif self.how == "lost reply":
                await connection.close()
                raise Disconnected("the connection was cut")
            elif self.how == "canceled" and self.task is not None:
                self.task.cancel()
                await asyncio.sleep(0)
            return replies

        monkeypatch.setattr(RedisConnection, "calls", disturbed)


@pytest.mark.parametrize("how", ["late", "slow reply", "lost reply", "canceled"])
async def test_every_entry_is_committed_although_any_call_is_disturbed(harness, monkeypatch, how):
    for number in range(1, CALLS + 1):
        group, streams = named("group"), [named("orders") for _ in range(2)]
        for stream in streams:
            await harness.create(stream)
            await harness.produce(values(stream, 30))
            await harness.client.xgroup_create(stream, group, "0")
            await harness.client.execute_command(
                "XREADGROUP", "GROUP", group, "dead", "COUNT", 7, "STREAMS", stream, ">"
            )
        with monkeypatch.context() as patch:
            disturbance = Disturbance(how, number)
            disturbance.install(patch)
            got: list[Batch] = []
            broker = harness.broker(*streams, group=group, max_records=10, claim_idle=0.1)

            async def keep_draining() -> None:
                while True:
                    task = disturbance.task = asyncio.ensure_future(drain(broker, got))  # noqa: B023
                    await asyncio.wait((task,))
                    with contextlib.suppress(Outage):
                        await broker.close()  # noqa: B023

            running = asyncio.ensure_future(keep_draining())
            try:
                await until(lambda: all_committed(harness, group, *streams))  # noqa: B023
            finally:
                running.cancel()
                if disturbance.task is not None:
                    disturbance.task.cancel()
                await asyncio.wait((running,))
                await broker.close()
        positions = {record.position for batch in got for record in batch.records}
        assert len(positions) == 60, (how, number)


@pytest.mark.parametrize("count", [1, 2, 3])
async def test_a_stream_that_was_created_again_is_read_from_its_beginning(harness, count):
    """The new stream has the entry ids of the old one, and exists before the member looks."""
    group, stream = named("group"), named("orders")
    for number in (1, 2):
        await harness.client.execute_command("XADD", stream, f"1-{number}", "payload", f"old {number}")
    broker = harness.broker(stream, group=group)
    await broker.start()
    async with Reader(broker) as reader:
        await reader.read(2)
        await broker.commit(reader.batches, [])
        pipe = harness.client.pipeline(transaction=True)
        pipe.delete(stream)
        for number in range(1, count + 1):
            pipe.execute_command("XADD", stream, f"1-{number}", "payload", f"new {number}")
        await pipe.execute()
        await reader.until(lambda r: len(r.records) == 2 + count)
        assert [record.value for record in reader.records[2:]] == [f"new {n}".encode() for n in range(1, count + 1)]
        (gap,) = [batch.gap for batch in reader.batches if batch.gap is not None]
        assert "created again" in gap.reason
        assert gap.recreated
        assert gap.resumed < gap.wanted
        assert reader.batches[0].lease.lost
        with pytest.raises(Fenced):
            await broker.commit(reader.batches[:1], [])
        await broker.commit([batch for batch in reader.batches if not batch.lease.lost], [])
        assert await all_committed(harness, group, stream)


async def test_a_stream_that_reappears_later_is_reported_as_new(harness):
    group, stream = named("group"), named("orders")
    await harness.client.execute_command("XADD", stream, "1-1", "payload", "old")
    broker = harness.broker(stream, group=group)
    await broker.start()
    async with Reader(broker) as reader:
        await reader.read(1)
        await harness.client.delete(stream)
        await reader.until(lambda r: r.batches[0].lease.lost)
        await harness.client.execute_command("XADD", stream, "1-1", "payload", "new")
        await reader.read(2)
        assert [record.value for record in reader.records] == [b"old", b"new"]
        assert [batch.gap.recreated for batch in reader.batches if batch.gap is not None] == [False, True]


async def test_a_batch_of_a_deleted_stream_commits_nothing_in_the_new_one(harness):
    """Another member has read the entries of the new stream, which have the same ids."""
    group, stream = named("group"), named("orders")
    await harness.client.execute_command("XADD", stream, "1-1", "payload", "old")
    broker = harness.broker(stream, group=group)
    await broker.start()
    async with Reader(broker) as reader:
        await reader.read(1)
        (batch,) = [batch for batch in reader.batches if batch.records]
        pipe = harness.client.pipeline(transaction=True)
        pipe.delete(stream)
        pipe.execute_command("XADD", stream, "1-1", "payload", "new")
        pipe.xgroup_create(stream, group, "0")
        pipe.execute_command("XREADGROUP", "GROUP", group, "other", "STREAMS", stream, ">")
        await pipe.execute()
        with pytest.raises(Outage):
            await broker.commit([batch], [])
        assert (await harness.client.xpending(stream, group))[0] == 1


async def test_a_group_that_begins_at_a_time_reads_entries_whose_ids_are_no_times(harness):
    from sidecar.config.value_types import StartPosition

    group, stream = named("group"), named("orders")
    await harness.client.execute_command("XADD", stream, "1-1", "payload", "x")
    broker = harness.broker(stream, group=group, start=StartPosition("ago", 3_600_000))
    await broker.start()
    async with Reader(broker) as reader:
        assert [record.value for record in await reader.read(1)] == [b"x"]


@pytest.mark.parametrize("numbers", [["1-1", "2-0"], ["5-5", "{now}-0"], ["{now}-0", "99999999999999999-1"]])
async def test_entries_whose_ids_are_no_times_are_in_every_range_of_times(harness, numbers):
    stream = named("orders")
    now = int(time.time() * 1000)
    for number in numbers:
        await harness.client.execute_command("XADD", stream, number.format(now=now), "payload", "{}")
    broker = harness.broker(stream, group=named("group"))
    await broker.start()
    (partition,) = await broker.partitions(stream)
    records = [record async for page in broker.scan(partition, since=now - 60_000) for record in page]
    assert len(records) == len(numbers)
    catalog = SchemaCache(MemoryRegistry(), FORMATS)
    decoder = EventDecoder(catalog, EnvelopeConfig(), clock=lambda: (now + 5) * 1_000_000)
    events = [decoded.event for decoded in await decoder.decode_with_schemas(records)]
    assert [event.appended_at for event in events] == [now if "now" in number else now + 5 for number in numbers]
    await catalog.close()
    mapper = EventMapper(Redactor([]))
    nodes = [Node(event, "ok", 1, None, False, 0) for event in events]
    observed = [mapper.event(node).appended_at_observed for node in nodes]
    assert observed == ["now" not in number for number in numbers]
    await broker.close()
