"""Tracking of consumer groups on the memory broker, with a clock that the test controls."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.adapters.brokers.memory.log import MemoryGroup, MemoryLog
from sidecar.config.schema import Config, SourcesConfig
from sidecar.config.value_types import StartPosition
from sidecar.domain.errors import Outage
from sidecar.domain.model import Outgoing
from sidecar.domain.ports.consumer_groups import GroupPartition, GroupProgress, Unacknowledged
from sidecar.domain.position import Partition
from sidecar.pipeline.consumer_groups import tracker as delivery_module
from sidecar.pipeline.consumer_groups.progress import (
    MAX_ENDS_PER_PARTITION,
    POISON_DELIVERY_COUNT,
    EndHistory,
    GroupPartitionProgress,
    GroupStop,
)
from sidecar.pipeline.consumer_groups.tracker import MAX_MISSED_POLLS, ConsumerGroupTracker, GroupConsumption
from tests.support.faulty_broker import FaultyBroker

SECOND = 1_000_000
ORDERS = Partition("memory", "orders", 0)


class World:
    """A stream with events, the sidecar's broker, and other groups whose offsets the test moves."""

    def __init__(self, partitions: int = 1) -> None:
        self.log = MemoryLog()
        self.log.create("orders", partitions)
        naming = Config(service="shop", sources=SourcesConfig()).stream_names("tracecar.shop")
        self.broker = FaultyBroker(self.log, ["orders"], "tracecar.shop", naming)
        self.now = 1_000 * SECOND
        self.follower = ConsumerGroupTracker([self.broker], clock=lambda: self.now)

    def publish(self, count: int = 1, partition: int = 0) -> None:
        for _ in range(count):
            self.log.append(Outgoing("orders", None, b"x", (), partition=partition))

    def commit(self, group: str, offset: int, partition: int = 0) -> None:
        committed = self.log.groups.setdefault(group, MemoryGroup()).committed
        committed[Partition("memory", "orders", partition)] = offset

    async def look(self, after: float = 5.0) -> None:
        await self.broker.start()
        self.now += int(after * SECOND)
        await self.follower.poll()

    def of(self, offset: int) -> dict[str, GroupConsumption]:
        return {one.group: one for one in self.follower.consumption(ORDERS.at(offset))}

    def stops(self, group: str) -> list[str]:
        return [str(s.position) for one in self.follower.groups() if one.group == group for s in one.stops]


@pytest.fixture
def world() -> World:
    return World()


async def test_each_event_has_its_consumption_by_group(world: World) -> None:
    world.publish(10)
    world.commit("billing", 4)
    world.commit("mail", 10)
    await world.look()
    first = world.now
    world.commit("billing", 8)
    await world.look()
    assert world.of(3) == {
        "billing": GroupConsumption("billing", True, None, None, 0),
        "mail": GroupConsumption("mail", True, None, None, 0),
    }
    assert world.of(7)["billing"] == GroupConsumption("billing", True, first, world.now, 0)
    assert world.of(8)["billing"] == GroupConsumption("billing", False, behind=1)
    assert world.of(9)["billing"] == GroupConsumption("billing", False, behind=2)
    assert world.follower.consumption(Partition("memory", "other", 0).at(0)) == []
    assert world.follower.consumption(Partition("kafka", "orders", 0).at(0)) == []


async def test_a_partition_without_a_position_is_not_known() -> None:
    world = World(partitions=2)
    world.publish(1, partition=1)
    world.commit("billing", 0)
    await world.look()
    assert world.follower.consumption(Partition("memory", "orders", 1).at(0)) == [GroupConsumption("billing", None)]


async def test_a_group_that_stops_in_front_of_an_event_is_seen(world: World) -> None:
    world.publish(5)
    world.commit("billing", 1)
    await world.look()
    world.commit("billing", 3)
    await world.look()
    stood = world.now
    await world.look(59)
    assert world.stops("billing") == []
    await world.look(1)
    assert world.stops("billing") == ["memory://orders/0/3"]
    stop = world.of(3)["billing"].stop
    assert stop is not None
    assert stop.since == stood
    assert world.of(4)["billing"].stop is None
    world.commit("billing", 4)
    await world.look()
    assert world.stops("billing") == []


async def test_a_group_that_waits_for_events_has_not_stopped(world: World) -> None:
    world.publish(3)
    world.commit("billing", 2)
    await world.look()
    world.commit("billing", 3)
    await world.look()
    await world.look(3600)
    assert world.stops("billing") == []
    world.publish()
    await world.look()
    assert world.stops("billing") == []
    await world.look(60)
    assert world.stops("billing") == ["memory://orders/0/3"]


async def test_a_group_that_was_long_given_up_is_not_called_poisoned(world: World) -> None:
    world.publish(3)
    world.commit("old", 1)
    await world.look()
    await world.look(3600)
    assert world.stops("old") == []
    assert world.of(2)["old"].passed is False


@pytest.mark.parametrize(
    ("deliveries", "members", "words"),
    [
        (1, 2, "not acknowledged for 2 min"),
        (3, 2, "delivered 3 times, not acknowledged for 2 min"),
        (POISON_DELIVERY_COUNT, 2, "delivered 5 times and not acknowledged: it probably cannot be processed"),
        (0, 2, "more to read, nothing committed for 2 min"),
        (0, None, "more to read, nothing committed for 2 min"),
        (0, 0, "nothing committed for 2 min: the group has no members now"),
    ],
)
def test_a_stop_is_called_what_its_evidence_shows(deliveries: int, members: int | None, words: str) -> None:
    assert GroupStop(ORDERS.at(3), 0, deliveries, members).describe(120 * SECOND) == words


async def test_a_lag_is_known_in_seconds(world: World) -> None:
    """Since the poll that first saw the oldest record that the group has not consumed."""
    world.publish(3)
    world.commit("billing", 3)
    await world.look()

    def behind() -> float | None:
        (group,) = [group for group in world.follower.groups() if group.group == "billing"]
        return group.partitions[ORDERS].behind_s(world.now)

    assert behind() == 0.0
    world.publish()
    await world.look()
    assert behind() == 0.0
    world.publish()
    await world.look(10)
    await world.look(30)
    assert behind() == 40.0
    world.commit("billing", 4)  # the second one is left, which was seen ten seconds after the first
    await world.look(5)
    assert behind() == 35.0
    world.commit("billing", 5)
    await world.look(5)
    assert behind() == 0.0


def test_the_ends_of_a_group_that_never_reads_are_bounded() -> None:
    ends = EndHistory()
    for number in range(10_000):
        ends.add(0, number + 1, number)
    assert ends.waiting_since() == 0
    assert len(ends._ends) <= MAX_ENDS_PER_PARTITION
    ends.add(9_000, 10_000, 10_000)
    since = ends.waiting_since()
    assert since is not None
    assert since >= 9_000


async def test_a_group_that_commits_seldom_has_not_stopped_in_between(world: World) -> None:
    world.publish(20)
    world.commit("sink", 1)
    await world.look()
    for offset in range(2, 6):
        await world.look(600)
        world.commit("sink", offset)
        await world.look()
    assert world.stops("sink") == []
    await world.look(1_200)
    assert world.stops("sink") == []
    await world.look(100)
    assert world.stops("sink") == ["memory://orders/0/5"]


async def test_a_resolved_stop_is_reported_once(world: World) -> None:
    world.publish(20)
    for offset in range(1, 5):
        world.commit("billing", offset)
        await world.look()
    await world.look(36_000)
    world.commit("billing", 5)
    await world.look()
    await world.look(60)
    assert world.stops("billing") == ["memory://orders/0/5"]


async def test_a_group_with_members_is_also_where_it_never_moved(world: World) -> None:
    world.publish(3)
    naming = Config(service="shop", sources=SourcesConfig()).stream_names("billing")
    member = FaultyBroker(world.log, ["orders"], "billing", naming, start=StartPosition("earliest"))
    await member.start()
    await world.look()
    await world.look(60)
    assert world.stops("billing") == ["memory://orders/0/0"]
    await member.close()


async def test_offsets_without_events_are_no_stop(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Kafka the end of a transaction has an offset, so a group that consumed everything is one offset behind."""
    world.publish(2)
    world.commit("billing", 1)
    progress = GroupProgress("billing", 1, (GroupPartition(ORDERS, 2, 3, 1, read=2),))

    async def groups() -> list[GroupProgress]:
        return [progress]

    monkeypatch.setattr(world.broker, "groups", groups)
    await world.look()
    await world.look(60)
    await world.look(60)
    assert world.stops("billing") == []
    world.publish()
    world.publish()
    progress = GroupProgress("billing", 1, (GroupPartition(ORDERS, 2, 4, 2, read=2),))
    await world.look()
    assert world.stops("billing") == []
    await world.look(60)
    assert world.stops("billing") == ["memory://orders/0/2"]


async def test_the_event_behind_missing_offsets_is_the_one(world: World) -> None:
    world.publish(10)
    world.commit("billing", 1)
    await world.look()
    world.commit("billing", 2)
    world.log.trim(ORDERS, 6)
    await world.look()
    await world.look(60)
    assert world.stops("billing") == ["memory://orders/0/6"]


async def test_an_outage_is_noted_and_looked_past(world: World) -> None:
    world.publish(2)
    world.commit("billing", 1)
    assert world.follower.note == "the groups have not been polled yet"
    world.broker.fail_next("groups", Outage("connection refused"))
    await world.look()
    assert world.follower.note == "memory: connection refused"
    await world.look()
    assert world.follower.note is None
    before = world.now
    world.broker.fail_next("groups", Outage("connection refused"))
    world.commit("billing", 2)
    await world.look()
    assert world.of(1)["billing"].passed is False
    await world.look()
    assert world.of(1)["billing"] == GroupConsumption("billing", True, before, world.now, 0)


async def test_a_group_that_is_gone_is_forgotten_after_a_while(world: World) -> None:
    world.publish(2)
    world.commit("billing", 1)
    await world.look()
    del world.log.groups["billing"]
    for _ in range(MAX_MISSED_POLLS - 1):
        await world.look()
    assert world.of(0)["billing"].passed
    await world.look()
    assert world.of(0) == {}


async def test_the_number_of_tracked_groups_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_module, "MAX_TRACKED_PARTITIONS", 5)
    world = World(partitions=3)
    for group in ("a", "b", "c"):
        for partition in range(3):
            world.commit(group, 0, partition)
    for _ in range(2):
        await world.look()
        assert [(one.group, len(one.partitions)) for one in world.follower.groups()] == [("a", 3), ("b", 2)]
        assert world.follower.note == "4 more partitions of groups are not tracked (the limit is 5)"


async def test_the_rate_is_that_of_late(world: World) -> None:
    world.publish(1000)
    world.commit("billing", 0)
    await world.look()
    for turn in range(1, 40):
        world.commit("billing", 10 * turn)
        await world.look(1)
    (reading,) = world.follower.groups()
    assert reading.partitions[ORDERS].rate == pytest.approx(10)


async def test_the_tracker_polls_until_it_is_closed(world: World) -> None:
    world.publish(2)
    world.commit("billing", 1)
    await world.broker.start()
    follower = ConsumerGroupTracker([world.broker], interval=0.01)
    follower.start()
    async with asyncio.timeout(30):
        while not follower.groups():
            await asyncio.sleep(0.01)
    await follower.close()
    await follower.close()


async def test_an_unexpected_error_ends_the_tracker_and_is_reported(world: World) -> None:
    world.broker.fail_next("groups", ZeroDivisionError("surprise"))
    follower = ConsumerGroupTracker([world.broker], interval=0.01)
    follower.start()
    async with asyncio.timeout(30):
        while follower.note != "groups: they are no longer tracked (ZeroDivisionError('surprise'))":
            await asyncio.sleep(0.01)
    await follower.close()


# --- entries that are pending (Redis)


def pending(*offsets: int, committed: int, delivered: int, idle_ms: int = 0, deliveries: int = 1) -> GroupPartition:
    entries = tuple(Unacknowledged(offset, idle_ms, deliveries) for offset in offsets)
    return GroupPartition(ORDERS, committed, 100, None, delivered=delivered, unacknowledged=entries)


def test_a_pending_entry_counts_from_when_it_was_delivered() -> None:
    followed = GroupPartitionProgress(pending(3, committed=3, delivered=10, idle_ms=50_000), 1_000 * SECOND)
    assert not followed.is_suspicious(1_009 * SECOND, 60, 1)
    assert followed.is_suspicious(1_010 * SECOND, 60, 1)


def test_an_entry_that_is_delivered_again_and_again_is_suspicious_at_once() -> None:
    once_more = GroupPartitionProgress(pending(3, committed=3, delivered=10, deliveries=POISON_DELIVERY_COUNT - 1), 0)
    assert not once_more.is_suspicious(0, 60, 1)
    assert GroupPartitionProgress(
        pending(3, committed=3, delivered=10, deliveries=POISON_DELIVERY_COUNT), 0
    ).is_suspicious(0, 60, 1)


def test_undelivered_events_are_no_stop() -> None:
    followed = GroupPartitionProgress(pending(committed=10, delivered=10), 0)
    followed.has_moved = True
    assert not followed.is_suspicious(3_600 * SECOND, 60, 1)


def test_pending_entries_are_not_consumed_and_others_are() -> None:
    seen = pending(3, 5, committed=3, delivered=10)
    assert [seen.has_consumed(offset) for offset in (2, 3, 4, 5, 6, 9, 10)] == [
        True,
        False,
        True,
        False,
        True,
        True,
        False,
    ]
    more = GroupPartition(
        ORDERS, 3, 100, None, delivered=10, unacknowledged=seen.unacknowledged, more_unacknowledged=True
    )
    assert [more.has_consumed(offset) for offset in (4, 5, 6, 10)] == [True, False, None, False]
