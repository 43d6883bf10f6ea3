"""Bounds of the shared index: it evicts whole flows, oldest first, by age and number, and its members report it."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import AsyncIterator, Callable

import pytest

from sidecar.adapters.index.redis import fetcher
from sidecar.adapters.index.redis.heartbeat import build_empty_message
from sidecar.adapters.index.redis.index import RedisIndex
from sidecar.demo.embedded_valkey import EmbeddedValkey
from sidecar.domain.correlation.flows import build_flows
from sidecar.domain.model import Event
from sidecar.domain.position import Partition
from tests.contracts.index_contract import JOIN, NOW, event, positions
from tests.servers.server_versions import selected_version

pytestmark = pytest.mark.valkey
YEARS = 10 * 365 * 86_400_000
"""Milliseconds; events from `NOW` are not too old yet."""
Making = Callable[..., RedisIndex]


@pytest.fixture
async def making(valkey: EmbeddedValkey) -> AsyncIterator[Making]:
    """Creates indexes that share one server."""
    prefix, made = uuid.uuid4().hex, list[RedisIndex]()

    def make(**options: object) -> RedisIndex:
        options.setdefault("ttl_ms", YEARS)
        made.append(RedisIndex(valkey.url, join=JOIN, max_flow=10_000, prefix=prefix, patience=30, **options))
        return made[-1]

    yield make
    for index in made:
        await index.close()


async def held(index: RedisIndex) -> list[Event]:
    found, cursor = await index.flows(1_000)
    assert cursor is None
    return [node.event for flow in found for node in flow.nodes]


def whole(events: list[Event], remaining: list[Event]) -> bool:
    """Assert that no flow of `events` is in the index in part."""
    left = {one.position for one in remaining}
    flow_positions = [set(positions(flow.nodes)) for flow in build_flows(events, JOIN, 10_000)]
    return all(flow <= left or not flow & left for flow in flow_positions)


def mixture(count: int, flows: int, seed: int = 1) -> list[Event]:
    """Build events 100 ms apart in this number of flows, joined by one kind of key or another."""
    dice = random.Random(seed)
    found = []
    for number in range(count):
        flow = dice.randrange(flows)
        words = dice.choice([{"trace_id": flow + 1}, {"trace_id": flow + 1, "correlation_id": f"c{flow}"}])
        if dice.random() < 0.3:
            words = {"correlation_id": f"c{flow}", "causation_id": f"e{dice.randrange(number + 1)}"}
        found.append(event(number, dice.choice("abc"), at=number * 100, event_id=f"e{number}", producer="p", **words))
    return found


@pytest.mark.parametrize("seed", range(3))
async def test_the_bound_holds_and_whole_flows_go(making, seed):
    index = making(max_events=200)
    events = mixture(600, 150, seed)
    for begin in range(0, 600, 100):
        index.add(events[begin : begin + 100])
        await index.wait_until_written()
        await index.sweeper.sweep()
    await index.beating.beat(build_empty_message)
    remaining = await held(index)
    assert 0 < len(remaining) <= 200
    covered = index.coverage()
    assert (covered.events, covered.events + covered.evicted) == (len(remaining), 600)
    assert covered.since is not None


async def test_flows_go_by_their_latest_event(making):
    index = making(max_events=10)
    # Four flows in turn with three events each, one a second; the second one continues.
    events = [event(number, at=number * 1000, trace_id=number % 4 + 1) for number in range(12)]
    events.append(event(12, at=12_000, trace_id=2))
    index.add(events)
    await index.wait_until_written()
    assert await index.sweeper.sweep() == 3
    remaining = await held(index)
    assert whole(events, remaining)
    assert {one.trace_id for one in remaining} == {2, 3, 4}


async def test_flows_go_when_they_are_old_and_living_ones_stay_whole(making):
    now = NOW / 1000 + 100
    index = making(ttl_ms=60_000)
    index.sweeper._clock = lambda: now
    # The first event of the second flow is as old as that of the first flow, and its last one is late.
    old = [event(number, at=number * 1000, trace_id=1) for number in range(20)]
    living = [event(number + 100, at=number * 5000, trace_id=2, event_id=f"l{number}") for number in range(20)]
    index.add([*old, *living])
    await index.wait_until_written()
    assert await index.sweeper.sweep() == 20
    assert {one.position for one in await held(index)} == {one.position for one in living}
    assert await index.sweeper.sweep() == 0
    now += 50
    assert await index.sweeper.sweep() == 0
    now += 10
    assert await index.sweeper.sweep() == 20
    assert await held(index) == []
    assert (await index.newest()).nodes == []


async def test_nothing_is_left_behind_of_what_went(making, valkey):
    index = making(max_events=1)
    index.add(mixture(300, 60))
    odd = event(9_999, at=-(1 << 50), event_id="odd", observed_at=NOW * 1000)
    index.add([odd, event(10_000, replay_of="g@memory://a/0/1", observed_at=(NOW + 31_000) * 1000, event_id="r")])
    await index.wait_until_written()
    index.max_events = 0
    index.sweeper._max_events = 0
    await index.sweeper.sweep()
    assert await held(index) == []
    left = sorted(key[len(index.shards.keys.heads[0]) :][:1] for key in keys_of(valkey, index))
    # Partitions, counters, the epoch, the member that evicts, the evicted count, and consumption.
    assert set(left) <= {b"l", b"n", b"d", b"g", b"q", b"x", b"y", b"m", b"c"}


def keys_of(valkey: EmbeddedValkey, index: RedisIndex) -> list[bytes]:
    from redis import Redis

    with Redis(port=valkey.port) as client:
        return list(client.scan_iter(match=index.shards.keys.heads[0] + b"*", count=1000))


async def test_every_key_expires(making, valkey):
    from redis import Redis

    index = making(ttl_ms=60_000, max_events=250)
    index.add(mixture(300, 60))
    index.covering(Partition("memory", "a", 0), NOW)
    await index.wait_until_written()
    await index.sweeper.sweep()
    await index.beating.beat(build_empty_message)
    with Redis(port=valkey.port) as client:
        lives = {key: client.pttl(key) for key in keys_of(valkey, index)}
    assert lives
    assert {key for key, life in lives.items() if not 0 < life <= 120_000} == set()


async def test_one_member_evicts_at_a_time_and_another_takes_over(making, valkey):
    from redis import Redis

    first, second = making(max_events=50), making(max_events=50)
    first.add(mixture(100, 100))
    await first.wait_until_written()
    assert await first.sweeper.sweep() > 0
    first.add(mixture(200, 100)[100:])
    await first.wait_until_written()
    assert await second.sweeper.sweep() == 0
    with Redis(port=valkey.port) as client:
        client.delete(first.shards.keys.single(b"q"))  # as if the first member had been silent for long
    assert await second.sweeper.sweep() > 0
    assert await first.sweeper.sweep() == 0


async def test_coverage_of_one_member_is_known_to_all(making):
    first, second = making(), making()
    orders, stock = Partition("kafka", "orders", 0), Partition("kafka", "stock", 3)
    now = time.time_ns() // 1_000_000
    first.covering(orders, now - 900)
    first.filling(orders, True)
    second.covering(stock, now - 500)

    async def says() -> bytes:
        return b'{"a": 1}'

    await first.beating.beat(says)
    await second.beating.beat(build_empty_message)
    await first.beating.beat(says)
    for index in (first, second):
        covered = index.coverage()
        assert (covered.partitions, covered.since, covered.filling) == ([orders, stock], now - 500, True)
        assert covered.note is None
        assert {one.member for one in index.beating.members} == {first.member, second.member}
    assert {one.says for one in second.beating.members} == {b'{"a": 1}', b"{}"}


async def test_a_new_owner_continues_the_coverage_of_a_partition(making):
    first, second = making(), making()
    orders = Partition("kafka", "orders", 0)
    now = time.time_ns() // 1_000_000
    first.covering(orders, now - 5_000_000)
    await first.beating.beat(build_empty_message)
    first.forget(orders)
    assert "orders" in (first.coverage().note or "")
    second.covering(orders, now - 900_000)
    await second.beating.beat(build_empty_message)
    await first.beating.beat(build_empty_message)
    for index in (first, second):
        assert index.coverage().partitions == [orders]
        assert index.coverage().since == now - 5_000_000
        assert index.coverage().note is None
    await second.beating.leave()
    await first.beating.beat(build_empty_message)
    assert [one.member for one in first.beating.members] == [first.member]


async def test_the_age_of_a_backlog_counts_from_its_reading(making):
    now = NOW / 1000 + 1_000_000
    index = making(ttl_ms=60_000)
    index.sweeper._clock = lambda: now
    index.add([event(number, trace_id=1, observed_at=int(now * 1e6)) for number in range(5)])
    await index.wait_until_written()
    assert await index.sweeper.sweep() == 0
    now += 62
    assert await index.sweeper.sweep() == 5


async def test_check_reports_missing_rights_of_the_index_user(making, valkey):
    from redis import Redis

    assert [finding.ok for finding in await making().inspect()] == [True, True]
    user = f"u{uuid.uuid4().hex}"
    with Redis(port=valkey.port) as client:
        client.execute_command(
            "ACL",
            "SETUSER",
            user,
            "on",
            ">secret",
            "~p:*",
            "+@all",
            "-pexpire",
            "-zadd",
            "-@dangerous",
            "+client|setname",
        )
    index = RedisIndex(f"redis://{user}:secret@127.0.0.1:{valkey.port}", join=JOIN, max_flow=10, prefix="p")
    found = await index.inspect()
    await index.close()
    if selected_version() >= (7, 0):  # earlier ones give scripts no way to ask
        assert [finding.ok for finding in found] == [True, False]
        assert "may not ZADD PEXPIRE on p:*" in found[1].detail
    index = RedisIndex(f"redis://{user}:secret@127.0.0.1:{valkey.port}", join=JOIN, max_flow=10, prefix="q")
    (finding,) = await index.inspect()
    await index.close()
    assert not finding.ok
    assert "q:*" in finding.detail


async def test_no_more_goes_than_has_to(making):
    index = making(max_events=150)
    # All within one second, in flows of one event each.
    index.add([event(number, at=number % 900, trace_id=number + 1) for number in range(400)])
    await index.wait_until_written()
    assert await index.sweeper.sweep() >= 250
    await index.beating.beat(build_empty_message)
    assert 0 < index.coverage().events <= 150
    assert len(await held(index)) == index.coverage().events


async def test_the_rights_in_the_docs_are_all_that_it_needs(valkey):
    from pathlib import Path

    from redis import Redis

    page = (Path(__file__).parents[2] / "docs" / "planning.md").read_text()
    begin = page.index("ACL SETUSER tracecar")
    words = page[begin : page.index("\n\n", begin)].split()
    user, prefix = f"u{uuid.uuid4().hex}", uuid.uuid4().hex
    rules = [word.replace("PASSWORD", "secret").replace("~tracecar:", f"~{prefix}:") for word in words[3:]]
    with Redis(port=valkey.port) as client:
        client.execute_command("ACL", "SETUSER", user, *rules)
        client.script_flush()
    index = RedisIndex(
        f"redis://{user}:secret@127.0.0.1:{valkey.port}/0", join=JOIN, max_flow=10_000, prefix=prefix, max_events=50
    )
    try:
        assert [finding.ok for finding in await index.inspect()] == [True, True]
        index.add(mixture(300, 60))
        index.covering(Partition("memory", "a", 0), NOW)
        await index.wait_until_written()
        assert index.trouble is None
        await index.flows(10)
        await index.newest()
        await index.lookup("e1")
        index.beating._told = {Partition("memory", "b", 0)}
        await index.beating.beat(build_empty_message)
        assert await index.sweeper.sweep() >= 250
        assert await index.sweeper.sweep() == 0
        await index.relay.send(b"x")
        await index.relay.receive()
        await index.beating.leave()
    finally:
        await index.close()


async def test_events_that_expired_without_members_are_not_counted(making, valkey):
    from redis import Redis

    now = NOW / 1000 + 100
    index = making(ttl_ms=3_600_000)
    index.sweeper._clock = lambda: now
    index.add(mixture(200, 50))
    await index.wait_until_written()
    assert await index.sweeper.sweep() == 0
    await index.beating.beat(build_empty_message)
    assert index.coverage().events == 200
    with Redis(port=valkey.port) as client:
        # As if every second one had been written long before the others.
        gone = [key for key in keys_of(valkey, index) if key[len(index.shards.keys.heads[0]) :][:1] == b"w"]
        lost = sum(client.scard(key) for key in gone[::2])
        client.delete(*gone[::2])
    now += 2_000
    assert await index.sweeper.sweep() == 0
    await index.beating.beat(build_empty_message)
    assert index.coverage().events == 200 - lost


async def test_answers_about_an_id_on_too_many_events_are_estimates(making, monkeypatch):
    monkeypatch.setattr(fetcher, "MAX_PLACES_PER_SET", 50)
    index = making()
    events = [event(number, trace_id=number + 1, aggregate_id=f"a{number % 2}") for number in range(60)]
    index.add([*events, *(event(number, trace_id=number + 1, aggregate_id="busy") for number in range(100, 200))])
    await index.wait_until_written()
    assert len(await index.aggregate("a1")) == 30
    assert index.coverage().note is None
    assert len(await index.aggregate("busy")) == 50
    assert "estimate" in index.coverage().note
    # It is forgotten once it can be seen in full.
    monkeypatch.setattr(fetcher, "MAX_PLACES_PER_SET", 101)
    assert len(await index.lookup("busy")) == 100
    assert index.coverage().note is None
