"""Outages of the shared index's server: killed, stopped, flushed, replaced.

Events wait, then are counted and read again from the broker. Adding events never blocks.
"""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from redis import Redis

from sidecar.adapters.index.redis import fetcher, writer
from sidecar.adapters.index.redis.heartbeat import build_empty_message
from sidecar.adapters.index.redis.index import RedisIndex
from sidecar.adapters.index.redis.writer import MissedEvents
from sidecar.demo.embedded_valkey import EmbeddedValkey
from sidecar.domain.correlation.flows import build_flows
from sidecar.domain.errors import Outage
from sidecar.domain.position import Partition
from tests.contracts.index_contract import JOIN, event
from tests.servers.valkey_topologies import cluster_of_three, watched_by_a_sentinel
from tests.support.conditions import until

pytestmark = pytest.mark.valkey
SECONDS = 60.0


@pytest.fixture
def server() -> Iterator[EmbeddedValkey]:
    """A server of its own, which the test may stop and flush."""
    with EmbeddedValkey() as server:
        yield server


@pytest.fixture
async def index(server: EmbeddedValkey) -> AsyncIterator[RedisIndex]:
    index = at(server.url)
    yield index
    await index.close()


def at(url: str) -> RedisIndex:
    return RedisIndex(url, join=JOIN, max_flow=10_000, prefix=uuid.uuid4().hex, patience=30, ttl_ms=10**12)


def some(start: int, count: int) -> list:
    return [event(number, event_id=f"e{number}", trace_id=number // 5 + 1) for number in range(start, start + count)]


async def all_of(index: RedisIndex, expected: list) -> None:
    found, _ = await index.flows(1_000)
    assert found == build_flows(expected, JOIN, 10_000)


async def test_events_wait_for_a_server_that_is_away(index, server):
    lost: list[str] = []
    index.writer.on_lost = lambda since: lost.append("again")
    index.add(some(0, 100))
    await index.wait_until_written()
    server.kill()
    index.add(some(100, 100))
    await until(lambda: index.writer.away)
    assert index.writer.waiting == 100
    assert "unreachable" in (index.coverage().note or "")
    with pytest.raises(Outage):
        await index.flows(10)
    server.start()
    await until(lambda: not index.writer.away)
    assert index.writer.waiting == 0
    assert index.writer.not_indexed == 0
    # The index lost its content: the window has to be read from the broker again.
    assert lost
    await all_of(index, some(100, 100))
    index.add(some(0, 100))
    await all_of(index, some(0, 200))


async def test_events_without_room_are_counted_and_read_again(index, server, monkeypatch):
    monkeypatch.setattr(writer, "MAX_QUEUED_EVENTS", 1_000)
    missed: list[MissedEvents] = []
    index.writer.on_missed = missed.append
    index.add(some(0, 10))
    await index.wait_until_written()
    server.kill()
    for start in range(10, 3_010, 100):
        index.add(some(start, 100))
    assert 1_000 <= index.writer.waiting <= 1_100
    assert index.writer.not_indexed == 3_000 - index.writer.waiting
    await until(lambda: index.writer.away)
    assert "not here yet" in (index.coverage().note or "")
    server.start()
    await until(lambda: missed)
    (one,) = missed
    assert (one.partition, one.high) == (Partition("memory", "orders", 0), 3_009)
    assert one.low == 3_010 - index.writer.not_indexed
    # Read again from the broker, also what the killed server had lost.
    index.add(some(0, 10))
    for start in range(one.low, one.high + 1, 100):
        index.add(some(start, 100))
        await index.room()
    await index.wait_until_written()
    assert "not here yet" not in (index.coverage().note or "")
    await all_of(index, some(0, 3_010))


async def test_a_server_that_is_stopped_holds_up_nothing(index, server, monkeypatch):
    monkeypatch.setattr(writer, "WRITE_TIMEOUT_S", 0.3)
    monkeypatch.setattr(fetcher, "STEP_TIMEOUT_S", 0.3)
    index.add(some(0, 100))
    await index.wait_until_written()
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    try:
        index.add(some(100, 100))
        await until(lambda: index.writer.away)
        with pytest.raises(Outage, match="no answer within"):
            await index.flow("e1")
    finally:
        os.kill(server.pid, signal.SIGCONT)
    await until(lambda: not index.writer.away)
    await all_of(index, some(0, 200))
    assert index.coverage().events == 200


async def test_an_emptied_server_is_noticed(index, server):
    emptied: list[int | None] = []
    index.writer.on_lost = emptied.append
    index.add(some(0, 100))
    await index.wait_until_written()
    assert not emptied
    with Redis(port=server.port) as client:
        client.flushall()
    index.add(some(100, 10))
    await index.wait_until_written()
    assert emptied == [None]
    index.add(some(0, 100))
    await all_of(index, some(0, 110))
    assert emptied == [None]
    assert index.coverage().events == 110


async def test_an_emptied_server_is_noticed_also_by_who_reads_nothing_new(index, server):
    emptied: list[int | None] = []
    index.writer.on_lost = emptied.append
    index.add(some(0, 100))
    await index.wait_until_written()
    await index.beating.beat(build_empty_message)
    assert not emptied
    with Redis(port=server.port) as client:
        client.flushall()
    await index.beating.beat(build_empty_message)
    assert emptied == [None]
    index.add(some(0, 100))
    await all_of(index, some(0, 100))
    await index.beating.beat(build_empty_message)
    assert emptied == [None]


async def test_foreign_keys_below_the_prefix_are_harmless(index, server):
    index.add(some(0, 10))
    await index.wait_until_written()
    head = index.shards.keys.heads[0]
    with Redis(port=server.port) as client:
        for key in list(client.scan_iter(match=head + b"e*")):
            client.hset(key, b"\x05", b"not an event")
        client.hset(head + b"l", b"abcdef", b"neither")
        client.sadd(head + b"a" + b"1234", b"xx")
    # Well-formed queries are answered.
    assert len((await index.newest()).nodes) == 9
    await index.flows(100)


async def test_the_index_on_a_cluster():
    with cluster_of_three() as nodes:
        url = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)
        index = at(url)
        try:
            events = [*some(0, 2_000), *(event(number, "stock", causation_id=f"e{number}") for number in range(500))]
            for start in range(0, len(events), 100):
                index.add(events[start : start + 100])
            await index.wait_until_written()
            await all_of(index, events)
            assert len((await index.newest(limit=700)).nodes) == 700
            await index.beating.beat(build_empty_message)
            assert index.coverage().events == 2_500
            shares = []
            for node in nodes:
                with Redis(port=node.port) as client:
                    shares.append(client.dbsize())
            assert min(shares) > max(shares) / 4
            index.sweeper._max_events = 1_000
            assert await index.sweeper.sweep() > 1_000
            await index.beating.beat(build_empty_message)
            left, _ = await index.flows(1_000)
            assert index.coverage().events == sum(len(flow.nodes) for flow in left) <= 1_000
        finally:
            await index.close()


async def test_the_index_continues_after_a_failover(monkeypatch):
    monkeypatch.setattr(writer, "WRITE_TIMEOUT_S", 2.0)
    with watched_by_a_sentinel("mymaster") as (master, replica, sentinel):
        index = at(f"redis+sentinel://127.0.0.1:{sentinel.port}/mymaster/0")
        again: list[str] = []
        index.writer.on_lost = lambda since: again.append("again")
        try:
            index.add(some(0, 100))
            await index.wait_until_written()
            master.kill()
            index.add(some(100, 100))
            await until(lambda: index.writer.away)
            await until(lambda: not index.writer.away)
            # The last confirmed writes may not have reached the replica.
            assert again
            index.add(some(0, 100))
            await all_of(index, some(0, 200))
            with Redis(port=replica.port) as client:
                assert client.dbsize() > 0
        finally:
            await index.close()
