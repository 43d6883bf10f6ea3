"""Counts of indexed and evicted events are right after lost replies and repeated requests, after expired keys, and
on a Cluster."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import pytest
from redis import Redis

from sidecar.adapters.index.redis.event_counts import parts
from sidecar.adapters.index.redis.heartbeat import build_empty_message
from sidecar.adapters.index.redis.index import RedisIndex
from sidecar.adapters.index.redis.live_relay import RedisRelay
from sidecar.adapters.index.redis.shards import ShardClients
from sidecar.adapters.redis_client.connection_pool import Command
from sidecar.demo.embedded_valkey import EmbeddedValkey
from tests.contracts.index_contract import JOIN, NOW, event
from tests.integration.test_index_redis_bounds import YEARS, held, mixture
from tests.servers.valkey_topologies import cluster_of_three

pytestmark = pytest.mark.valkey


class Repeated(ShardClients):
    """Loses every first reply, so that each request is carried out twice."""

    async def _once(self, commands: Sequence[tuple[int, Command]]) -> list[Any]:
        await super()._once(commands)
        return await super()._once(commands)


@pytest.fixture
async def index(valkey: EmbeddedValkey):
    index = RedisIndex(
        valkey.url, join=JOIN, max_flow=10_000, prefix=uuid.uuid4().hex, patience=30, ttl_ms=YEARS, max_events=200
    )
    index.shards.__class__ = Repeated
    yield index
    await index.close()


async def test_a_repeated_request_counts_events_once(index):
    events = mixture(600, 150)
    for begin in range(0, 600, 100):
        index.add(events[begin : begin + 100])
        await index.wait_until_written()
        await index.sweeper.sweep()
    await index.beating.beat(build_empty_message)
    remaining, covered = await held(index), index.coverage()
    assert 0 < len(remaining) <= 200
    assert (covered.events, covered.evicted) == (len(remaining), 600 - len(remaining))


async def test_no_more_goes_than_has_to_where_it_is_asked_twice(index):
    index.add([event(number, at=number % 900, trace_id=number + 1) for number in range(400)])
    await index.wait_until_written()
    went = await index.sweeper.sweep()
    await index.beating.beat(build_empty_message)
    assert index.coverage().evicted == went
    assert 0 < index.coverage().events == 400 - went


async def test_a_batch_relayed_twice_is_received_once(index, valkey):
    listener = RedisRelay(index.shards, "another member")
    listener.begin()
    await index.relay.send(b"before")
    assert await listener.receive() == []
    await index.relay.send(b"first")
    await index.relay.send(b"second")
    with Redis(port=valkey.port) as client:
        assert client.xlen(index.shards.keys.single(b"v")) == 6
        # Written by another version, or by another program.
        client.xadd(index.shards.keys.single(b"v"), {"m": "x", "p": "y"})
    assert await listener.receive() == [b"first", b"second"]


async def counted_after_half_expired(index: RedisIndex, ports: Sequence[int]) -> None:
    now = NOW / 1000 + 100
    index.sweeper._clock = lambda: now
    # Each in a flow of its own, ten a second, over all shards.
    events = [event(number * 40, at=number * 100, trace_id=number + 1) for number in range(800)]
    for begin in range(0, 800, 100):
        index.add(events[begin : begin + 100])
    await index.wait_until_written()
    assert await index.sweeper.sweep() == 0
    left = 800
    for port in ports:
        with Redis(port=port) as client:
            windows = [key for key in client.scan_iter(count=1000) if key.partition(b"}")[2][:1] == b"w"]
            # As if every second one had been written long before the others.
            for key in sorted(windows)[::2]:
                left -= client.scard(key)
                client.delete(key)
    now += YEARS / 1000 * 0.6
    index.sweeper._ttl_ms = YEARS  # no flow is old yet
    assert await index.sweeper.sweep() == 0
    await index.beating.beat(build_empty_message)
    assert index.coverage().events == left
    # Evicted flows are no longer counted, whichever shard they were in.
    while left > 100:
        left -= 100
        index.sweeper._max_events = left
        await index.sweeper.sweep()
        await index.beating.beat(build_empty_message)
        assert index.coverage().events == len(await held(index)) <= left
    index.sweeper._max_events = 0
    await index.sweeper.sweep()
    await index.beating.beat(build_empty_message)
    assert index.coverage().events == 0


async def test_a_repeated_request_counts_expired_events_once():
    with EmbeddedValkey() as server:
        index = RedisIndex(server.url, join=JOIN, max_flow=10_000, patience=30, ttl_ms=YEARS)
        index.shards.__class__ = Repeated
        try:
            await counted_after_half_expired(index, [server.port])
        finally:
            await index.close()


async def test_expired_events_are_counted_on_a_cluster():
    with cluster_of_three() as nodes:
        url = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)
        index = RedisIndex(url, join=JOIN, max_flow=10_000, patience=30, ttl_ms=YEARS)
        try:
            await counted_after_half_expired(index, [node.port for node in nodes])
        finally:
            await index.close()


def test_a_number_is_shared_out_to_the_last_one():
    assert parts(10, [1, 1, 1]) == [3, 3, 4]
    assert parts(100, [0, 30, 10]) == [0, 75, 25]
    assert parts(7, [0, 0]) == [7, 0]
    assert parts(0, [5, 5]) == [0, 0]
