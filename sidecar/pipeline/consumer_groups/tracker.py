"""Tracker of the committed offsets of all other consumer groups, which polls the brokers every few seconds.

It tells for each event which groups consumed it and when, and finds groups that stopped at an event. Memory is bounded.
Polling runs beside the pipeline: an outage is noted and does not stop the pipeline.
"""

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

POLL_INTERVAL_S = 5.0
"""Time between two polls. It is longer if a poll takes long, so that polling takes at most a twentieth of the time."""
FIRST_POLL_INTERVAL_S = 1.0
"""Time between two polls before the first successful one, while the brokers are being connected."""
STOP_THRESHOLD_S = 60.0
"""Time without progress after which a group counts as stopped at the next event."""
MAX_TRACKED_PARTITIONS = 2_000
"""Partitions of groups to track (a partition that three groups read counts three times)."""
MAX_MISSED_POLLS = 5
"""Consecutive polls without a group after which the group is forgotten."""
MAX_PROBES_PER_POLL = 20
"""Events to read in one poll, to find out whether there is an event at which a group stopped."""


class GroupConsumption(Struct, frozen=True):
    """Consumption of one event by a group."""

    group: str
    passed: bool | None
    """True if the group has consumed the event; None if unknown: the group has no committed offset here, or (Redis) its
    pending list is longer than the part that is read."""
    after: int | None = None
    """Time in microseconds after which the group consumed it; None if unknown: before the first poll, or (Redis) out of
    order."""
    by: int | None = None
    """Time in microseconds at which the group had consumed it."""
    behind: int | None = None
    """Number of records that the group has to consume until it has consumed this event, 0 if it has; None if not
    counted."""
    deliveries: int = 0
    """Redis: number of deliveries of the event to the group, if it is not acknowledged."""
    stop: GroupStop | None = None
    """Set if the group stopped at this event."""


class TrackedGroup:
    """One consumer group."""

    def __init__(self, system: str, group: str) -> None:
        self.system, self.group = system, group
        self.members: int | None = None
        self.partitions: dict[Partition, GroupPartitionProgress] = {}
        self.streams: frozenset[str] = frozenset()
        self.polls_missed = 0
        """Consecutive polls that did not list the group."""

    @property
    def stops(self) -> list[GroupStop]:
        """Events at which the group stopped, the earliest stop first."""
        stops = [progress.stop for progress in self.partitions.values() if progress.stop is not None]
        return sorted(stops, key=lambda stop: stop.since)

    def has_consumed(self, position: Position) -> bool | None:
        """Check whether the group has consumed the event at a position; None if unknown."""
        progress = self.partitions.get(position.log)
        return None if progress is None else progress.latest.has_consumed(position.offset)

    def consumption(self, position: Position) -> GroupConsumption:
        """Return the group's consumption of the event at a position of one of its streams."""
        progress = self.partitions.get(position.log)
        if progress is None:
            return GroupConsumption(self.group, None)
        latest, offset = progress.latest, position.offset
        passed = latest.has_consumed(offset)
        if passed:
            times = progress.history.consumed_between(offset) if offset < latest.committed else None
            after, by = times or (None, None)
            return GroupConsumption(self.group, True, after, by, 0)
        stop = progress.stop if progress.stop is not None and progress.stop.position == position else None
        deliveries = next((entry.deliveries for entry in latest.unacknowledged if entry.offset == offset), 0)
        behind = offset + 1 - latest.committed if passed is False and latest.delivered is None else None
        return GroupConsumption(self.group, passed, None, None, behind, deliveries, stop)


class ConsumerGroupTracker:
    """Tracks the groups of some brokers. `clock` returns microseconds since 1970."""

    def __init__(
        self,
        brokers: Sequence[Broker],
        *,
        clock: Callable[[], int] = lambda: time_ns() // 1000,
        threshold: float = STOP_THRESHOLD_S,
        interval: float = POLL_INTERVAL_S,
    ) -> None:
        self._brokers, self._clock = list(brokers), clock
        self._threshold, self._interval = threshold, interval
        self._groups: dict[tuple[str, str], TrackedGroup] = {}
        self._untracked = 0
        self._task: asyncio.Task[None] | None = None
        self.troubles: dict[str, str] = {}
        """Reasons why groups could not be polled, by broker."""
        self.polled_at: dict[str, int] = {}
        """End of the last successful poll, by broker."""

    # --- questions

    def groups(self) -> list[TrackedGroup]:
        """Return all tracked groups, by name."""
        return sorted(self._groups.values(), key=lambda group: (group.group, group.system))

    @property
    def now(self) -> int:
        """Time by the tracker's clock, in microseconds since 1970."""
        return self._clock()

    @property
    def oldest_poll_at(self) -> int | None:
        """Time of the oldest of the brokers' last successful polls; None before the first."""
        return min(self.polled_at.values(), default=None)

    def consumption(self, position: Position) -> list[GroupConsumption]:
        """Return the consumption of the event at `position` by each group that reads its stream, by name."""
        return [group.consumption(position) for group in self.readers(position.system, position.stream)]

    def readers(self, system: str, stream: str) -> list[TrackedGroup]:
        """Return the groups that read a stream, by name."""
        return [group for group in self.groups() if group.system == system and stream in group.streams]

    @property
    def note(self) -> str | None:
        """A sentence about unknown groups; None if all are known."""
        parts = [f"{system}: {reason}" for system, reason in self.troubles.items()]
        if self._untracked:
            parts.append(
                f"{self._untracked} more partitions of groups are not tracked (the limit is {MAX_TRACKED_PARTITIONS})"
            )
        if self.oldest_poll_at is None and not parts:
            parts.append("the groups have not been polled yet")
        return "; ".join(parts) or None

    # --- polling

    def start(self) -> None:
        """Poll in the background until `close`."""
        self._task = asyncio.create_task(self._run(), name="tracking consumer groups")
        self._task.add_done_callback(self._on_end)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("consumer groups are no longer tracked", exc_info=error)
            self.troubles["groups"] = f"they are no longer tracked ({error!r})"

    async def close(self) -> None:
        """Stop polling."""
        task, self._task = self._task, None
        if task is not None:
            while not task.done():
                task.cancel()  # repeatedly, because a client library may swallow a cancellation
                await asyncio.wait((task,), timeout=1)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            await self.poll()
            interval = self._interval if self.oldest_poll_at is not None else FIRST_POLL_INTERVAL_S
            # Waiting for a server that is away costs nothing, so it does not lengthen the interval.
            elapsed = 0.0 if self.troubles else loop.time() - started
            await asyncio.sleep(max(interval, 19 * elapsed))

    async def poll(self) -> None:
        """Poll the groups of every broker once. Errors of brokers are stored in `troubles`, not raised."""
        self._untracked = 0
        for broker in self._brokers:
            try:
                await self._poll(broker)
            except TracecarError as error:
                if broker.system not in self.troubles:
                    log.debug("cannot poll consumer groups", system=broker.system, reason=str(error))
                self.troubles[broker.system] = str(error)
            else:
                self.troubles.pop(broker.system, None)

    async def _poll(self, broker: Broker) -> None:
        start = self._clock()
        listed = await broker.groups()
        now = self.polled_at[broker.system] = self._clock()
        names = {progress.group for progress in listed}
        for key, group in list(self._groups.items()):
            if group.system == broker.system and group.group not in names:
                group.polls_missed += 1
                if group.polls_missed >= MAX_MISSED_POLLS:
                    del self._groups[key]
        room = MAX_TRACKED_PARTITIONS - sum(
            len(group.partitions)
            for group in self._groups.values()
            if group.system != broker.system or group.polls_missed
        )
        for progress in listed:
            room = self._update(broker.system, progress, start, now, room)
            await asyncio.sleep(0)
        await self._find_stops(broker, now)

    def _update(self, system: str, progress: GroupProgress, start: int, now: int, room: int) -> int:
        """Update one group; returns how many more partitions can be tracked."""
        tracked = progress.partitions[: max(0, room)]
        self._untracked += len(progress.partitions) - len(tracked)
        key = system, progress.group
        if not tracked:
            self._groups.pop(key, None)
            return room
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = TrackedGroup(system, progress.group)
        group.members, group.polls_missed = progress.members, 0
        before, group.partitions = group.partitions, {}
        for latest in tracked:
            known = before.get(latest.partition)
            if known is None:
                known = GroupPartitionProgress(latest, start)
            else:
                known.update(latest, start, now)
            group.partitions[latest.partition] = known
        group.streams = frozenset(latest.partition.stream for latest in tracked)
        return room - len(tracked)

    async def _find_stops(self, broker: Broker, now: int) -> None:
        probes = 0
        for group in list(self._groups.values()):
            if group.system != broker.system or group.polls_missed:
                continue
            for progress in list(group.partitions.values()):
                if not progress.is_suspicious(now, self._threshold, group.members):
                    continue
                if probes == MAX_PROBES_PER_POLL:
                    return
                probes += 1
                position = await _next_event(broker, progress)
                if position is None:
                    progress.mark_empty()
                elif progress.waiting is not None:
                    pending = progress.latest.unacknowledged
                    deliveries = pending[0].deliveries if pending else 0
                    progress.stop = GroupStop(position, progress.waiting, deliveries, group.members)


async def _next_event(broker: Broker, progress: GroupPartitionProgress) -> Position | None:
    """Return the event that a group has to consume next; None if there is none. Raises Outage and Refused."""
    latest = progress.latest
    pending = [entry.offset for entry in latest.unacknowledged[:MAX_PROBES_PER_POLL]]
    for offset in pending or [latest.committed]:
        if await broker.read(latest.partition.at(offset)) is not None:
            return latest.partition.at(offset)
    if latest.delivered is None:
        # Offsets can be missing: those of compacted records and of the ends of transactions.
        async for page in broker.scan(latest.partition, start=latest.committed, until=latest.end):
            return page[0].position
    return None
