"""Who has read what: the positions of every other consumer group, asked for every few seconds. So each event says which
groups have passed it and when, and a group that stopped in front of one is seen.

All of it is bounded, and none of it is in the pipeline's way: an outage is noted, and looked past."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import time_ns

import structlog
from msgspec import Struct

from sidecar.domain.errors import TracecarError
from sidecar.domain.ports.broker import Broker
from sidecar.domain.ports.consumer_groups import GroupProgress
from sidecar.domain.position import Partition, Position
from sidecar.pipeline.consumer_groups.progress import GroupPartitionProgress, GroupStop

log = structlog.get_logger()

LOOK_SECONDS = 5.0
"""From one look to the next; longer where looking takes long, so that it costs a twentieth of the time at most."""
FIRST_SECONDS = 1.0
"""The same before the first look that saw anything: the brokers are still being connected to."""
STOPPED_SECONDS = 60.0
"""A group that stands still so long in front of an event is taken to have stopped at it."""
MOST_FOLLOWED = 2_000
"""Partitions of groups that are followed (a partition that three groups read counts thrice)."""
FORGOTTEN_AFTER = 5
"""Looks in a row that do not show a group any more."""
PROBES = 20
"""Events that one look reads at most, to see whether there is one where a group stands."""


class GroupConsumption(Struct, frozen=True):
    """Whether a group has passed an event."""

    group: str
    passed: bool | None
    """None where that is not known: it has committed nothing in this partition, or (Redis) has more entries pending
    than are looked at."""
    after: int | None = None
    """It passed not before this time (microseconds); None where the time is not known: before the first look, or
    (Redis) out of order."""
    by: int | None = None
    """It had passed at this time."""
    behind: int | None = None
    """How many records lie between it and having passed the event, 0 where it has; None where nobody counts."""
    deliveries: int = 0
    """Redis: how often the event was given to the group, where it is not acknowledged."""
    stop: GroupStop | None = None
    """It stands still in front of this very event."""


class TrackedGroup:
    """One group, as followed."""

    def __init__(self, system: str, group: str) -> None:
        self.system, self.group = system, group
        self.members: int | None = None
        self.partitions: dict[Partition, GroupPartitionProgress] = {}
        self.streams: frozenset[str] = frozenset()
        self.unseen = 0
        """Looks that did not show it."""

    @property
    def stops(self) -> list[GroupStop]:
        """Where it stands still, the longest first."""
        found = [partition.stop for partition in self.partitions.values() if partition.stop is not None]
        return sorted(found, key=lambda stop: stop.since)

    def passed(self, position: Position) -> bool | None:
        """As `GroupConsumption.passed`."""
        followed = self.partitions.get(position.log)
        return None if followed is None else followed.seen.passed(position.offset)

    def delivered(self, position: Position) -> GroupConsumption:
        """Whether it has passed the event at a position of one of its streams."""
        followed = self.partitions.get(position.log)
        if followed is None:
            return GroupConsumption(self.group, None)
        seen, offset = followed.seen, position.offset
        passed = seen.passed(offset)
        if passed:
            times = followed.passing.when(offset) if offset < seen.committed else None
            after, by = times or (None, None)
            return GroupConsumption(self.group, True, after, by, 0)
        stop = followed.stop if followed.stop is not None and followed.stop.position == position else None
        deliveries = next((one.deliveries for one in seen.unacknowledged if one.offset == offset), 0)
        behind = offset + 1 - seen.committed if passed is False and seen.delivered is None else None
        return GroupConsumption(self.group, passed, None, None, behind, deliveries, stop)


class ConsumerGroupTracker:
    """Follows the groups of some brokers. `clock` gives microseconds since 1970."""

    def __init__(
        self,
        brokers: Sequence[Broker],
        *,
        clock: Callable[[], int] = lambda: time_ns() // 1000,
        threshold: float = STOPPED_SECONDS,
        interval: float = LOOK_SECONDS,
    ) -> None:
        self._brokers, self._clock = list(brokers), clock
        self._threshold, self._interval = threshold, interval
        self._readings: dict[tuple[str, str], TrackedGroup] = {}
        self._left_out = 0
        self._task: asyncio.Task[None] | None = None
        self.troubles: dict[str, str] = {}
        """By broker: why its groups could not be looked at."""
        self.looked: dict[str, int] = {}
        """By broker: when the last look that saw its groups ended."""

    # --- asking

    def groups(self) -> list[TrackedGroup]:
        """The groups, by name."""
        return sorted(self._readings.values(), key=lambda reading: (reading.group, reading.system))

    @property
    def looked_at(self) -> int | None:
        """Since when nothing is newer: the oldest of the brokers' last looks; None before the first."""
        return min(self.looked.values(), default=None)

    def of(self, position: Position) -> list[GroupConsumption]:
        """What each group that reads this stream did with the event at `position`, by name."""
        return [reading.delivered(position) for reading in self.readers(position.system, position.stream)]

    def readers(self, system: str, stream: str) -> list[TrackedGroup]:
        """The groups that read a stream, by name."""
        return [group for group in self.groups() if group.system == system and stream in group.streams]

    @property
    def note(self) -> str | None:
        """What is not known, in words."""
        parts = [f"{system}: {reason}" for system, reason in self.troubles.items()]
        if self._left_out:
            parts.append(f"{self._left_out} more partitions of groups are not followed (at most {MOST_FOLLOWED})")
        if self.looked_at is None and not parts:
            parts.append("the groups were not looked at yet")
        return "; ".join(parts) or None

    # --- following

    def start(self) -> None:
        """Follow in the background, until `close`."""
        self._task = asyncio.create_task(self._run(), name="following other groups")
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("other groups are not followed any more", exc_info=error)
            self.troubles["groups"] = f"they are not followed any more ({error!r})"

    async def close(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            while not task.done():
                task.cancel()  # again, where what it waited for swallowed it
                await asyncio.wait((task,), timeout=1)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            await self.look()
            interval = self._interval if self.looked_at is not None else FIRST_SECONDS
            # An outage is waited out within a look: that is no work.
            took = 0.0 if self.troubles else loop.time() - begun
            await asyncio.sleep(max(interval, 19 * took))

    async def look(self) -> None:
        """Look at every broker's groups once. Never raises for a server that cannot be asked."""
        self._left_out = 0
        for broker in self._brokers:
            try:
                await self._look(broker)
            except TracecarError as error:
                if broker.system not in self.troubles:
                    log.debug("other groups could not be looked at", system=broker.system, reason=str(error))
                self.troubles[broker.system] = str(error)
            else:
                self.troubles.pop(broker.system, None)

    async def _look(self, broker: Broker) -> None:
        start = self._clock()
        found = await broker.groups()
        now = self.looked[broker.system] = self._clock()
        seen = {one.group for one in found}
        for key, reading in list(self._readings.items()):
            if reading.system == broker.system and reading.group not in seen:
                reading.unseen += 1
                if reading.unseen >= FORGOTTEN_AFTER:
                    del self._readings[key]
        room = MOST_FOLLOWED - sum(
            len(one.partitions) for one in self._readings.values() if one.system != broker.system or one.unseen
        )
        for progress in found:
            room = self._take(broker.system, progress, start, now, room)
            await asyncio.sleep(0)
        await self._find_stops(broker, now)

    def _take(self, system: str, progress: GroupProgress, start: int, now: int, room: int) -> int:
        """Learn how far a group is; returns how many partitions more can be followed."""
        taken = progress.partitions[: max(0, room)]
        self._left_out += len(progress.partitions) - len(taken)
        key = system, progress.group
        if not taken:
            self._readings.pop(key, None)
            return room
        reading = self._readings.get(key)
        if reading is None:
            reading = self._readings[key] = TrackedGroup(system, progress.group)
        reading.members, reading.unseen = progress.members, 0
        before, reading.partitions = reading.partitions, {}
        for one in taken:
            followed = before.get(one.partition)
            if followed is None:
                followed = GroupPartitionProgress(one, start)
            else:
                followed.look(one, start, now)
            reading.partitions[one.partition] = followed
        reading.streams = frozenset(one.partition.stream for one in taken)
        return room - len(taken)

    async def _find_stops(self, broker: Broker, now: int) -> None:
        probes = 0
        for reading in list(self._readings.values()):
            if reading.system != broker.system or reading.unseen:
                continue
            for followed in list(reading.partitions.values()):
                if not followed.suspicious(now, self._threshold, reading.members):
                    continue
                if probes == PROBES:
                    return
                probes += 1
                position = await _in_front(broker, followed)
                if position is None:
                    followed.nothing_there()
                elif followed.waiting is not None:
                    followed.stop = GroupStop(position, followed.waiting, _reason(reading, followed))


async def _in_front(broker: Broker, followed: GroupPartitionProgress) -> Position | None:
    """The event that a group stands in front of; None where there is none. Raises Outage and Refused."""
    seen = followed.seen
    for offset in [one.offset for one in seen.unacknowledged[:PROBES]] or [seen.committed]:
        if await broker.read(seen.partition.at(offset)) is not None:
            return seen.partition.at(offset)
    if seen.delivered is None:
        # Offsets can be missing: compacted ones, and those of transactions' ends.
        async for page in broker.scan(seen.partition, start=seen.committed, until=seen.end):
            return page[0].position
    return None


def _reason(reading: TrackedGroup, followed: GroupPartitionProgress) -> str:
    pending = followed.seen.unacknowledged
    if pending:
        times = pending[0].deliveries
        return f"delivered {times} {'time' if times == 1 else 'times'} and not acknowledged: probably poisoned"
    if reading.members:
        who = "1 member" if reading.members == 1 else f"{reading.members} members"
        return f"the group has {who}, more to read, and does not go on: probably poisoned"
    if reading.members == 0:
        return "the group has no members now: it was ended, or ended at this event"
    return "the group went on until here, has more to read, and does not go on: probably poisoned"
