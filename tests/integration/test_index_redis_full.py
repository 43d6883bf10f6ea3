"""A shared index whose server refuses writes: its memory is full, it has too few replicas, or it is a replica
itself.

Adding events never blocks, members stay known, and events are indexed once the server accepts writes again.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from redis import Redis

from sidecar.adapters.index.redis import writer
from sidecar.adapters.index.redis.heartbeat import build_empty_message
from sidecar.adapters.index.redis.index import RedisIndex
from sidecar.adapters.index.redis.writer import MissedEvents
from sidecar.adapters.redis_client.errors import RedisOutOfMemory
from sidecar.demo.embedded_valkey import EmbeddedValkey
from tests.contracts.index_contract import JOIN, event
from tests.integration.test_index_redis_outages import all_of, some
from tests.support.conditions import until

pytestmark = pytest.mark.valkey


@pytest.fixture
def server() -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey() as server:
        yield server


@pytest.fixture
def client(server: EmbeddedValkey) -> Iterator[Redis]:
    with Redis(port=server.port) as client:
        yield client


@pytest.fixture
async def index(server: EmbeddedValkey) -> AsyncIterator[RedisIndex]:
    index = RedisIndex(
        server.url, join=JOIN, max_flow=10_000, prefix=uuid.uuid4().hex, patience=30, ttl_ms=10 * 365 * 86_400_000
    )
    yield index
    await index.close()


def refuse(client: Redis, how: str, refusing: bool) -> None:
    if how == "full":
        client.config_set("maxmemory", client.info("memory")["used_memory"] - 10_000 if refusing else 0)
    elif how == "too few replicas":
        client.config_set("min-replicas-to-write", int(refusing))
    else:
        # A replica of a master that does not exist refuses writes.
        client.replicaof(*(("127.0.0.1", 1) if refusing else ("NO", "ONE")))


@pytest.mark.parametrize("how", ["full", "too few replicas", "a replica"])
async def test_events_wait_and_what_finds_no_room_is_read_again(index, client, monkeypatch, how):
    monkeypatch.setattr(writer, "MAX_QUEUED_EVENTS", 1_000)
    missed: list[MissedEvents] = []
    lost: list[int | None] = []
    index.writer.on_missed, index.writer.on_lost = missed.append, lost.append
    index.add(some(0, 100))
    await index.wait_until_written()
    refuse(client, how, True)
    for start in range(100, 3_100, 100):
        index.add(some(start, 100))
    await until(lambda: index.trouble)
    assert index.waiting <= 1_100
    assert index.not_indexed == 3_100 - 100 - index.waiting
    assert "unreachable" in index.coverage().note
    # Queries are answered with what is indexed.
    assert len((await index.newest(limit=10)).nodes) == 10
    refuse(client, how, False)
    await until(lambda: missed)
    for one in missed:
        for start in range(one.low, one.high + 1, 100):
            index.add(some(start, min(100, one.high + 1 - start)))
            await index.room()
    await index.wait_until_written()
    assert index.trouble is None
    await all_of(index, some(0, 3_100))
    # A server that only refused has lost nothing; one that was a replica may have been another.
    assert bool(lost) == (how != "full")


async def test_a_full_server_does_not_silence_the_members(index, client):
    await index.beating.beat(build_empty_message)
    refuse(client, "full", True)
    (member,) = client.hkeys(index.shards.keys.single(b"m"))
    first = client.hget(index.shards.keys.single(b"m"), member)
    await index.beating.beat(build_empty_message)
    assert client.hget(index.shards.keys.single(b"m"), member) != first
    assert [beat.member for beat in index.heartbeats] == [index.member]


async def test_the_oldest_flows_make_room_where_the_server_is_full(index, client):
    events = [event(number, at=number * 10, trace_id=number // 5 + 1) for number in range(12_000)]
    for start in range(0, 8_000, 100):
        index.add(events[start : start + 100])
    await index.wait_until_written()
    client.config_set("maxmemory", client.info("memory")["used_memory"] + 500_000)
    for start in range(8_000, 12_000, 100):
        index.add(events[start : start + 100])
    await until(lambda: index.trouble)
    # It recovers without an operator.
    index.sweeper._clock = lambda: events[-1].appended_at / 1000
    went = 0
    while index.waiting:
        went += await index.sweeper.sweep()
        await index.writer.wait_until_written(0.2)
        await until(lambda: not index.waiting or index.trouble)
    await index.beating.beat(build_empty_message)
    assert went > 500
    assert (await index.newest(limit=1)).nodes[0].event == events[-1]
    covered = index.coverage()
    assert (covered.events + covered.evicted, covered.evicted) == (12_000, went)
    # Whole flows were evicted.
    flows, _ = await index.flows(3_000)
    assert {len(flow.nodes) for flow in flows} == {5}
    client.config_set("maxmemory", 1)
    with pytest.raises(RedisOutOfMemory):
        await index.relay.send(b"x")
