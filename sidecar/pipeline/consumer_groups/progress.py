"""Progress of one consumer group on one partition, as seen by polling.

It answers when the group consumed an offset, how fast it reads, and whether it stopped.
Times are microseconds since 1970 by the sidecar's own clock.
"""

from __future__ import annotations

from bisect import bisect_right
from operator import itemgetter

from msgspec import Struct

from sidecar.domain.ports.consumer_groups import GroupPartition
from sidecar.domain.position import Position

MAX_COMMITS_PER_PARTITION = 64
"""Commits to keep for one group in one partition. Beyond that, the older half becomes half as precise."""
POISON_DELIVERY_COUNT = 5
"""Number of deliveries after which an unacknowledged entry counts as one that its group cannot process."""
MAX_PAUSES_PER_PARTITION = 8
"""Pauses between a group's commits to keep, which distinguish a group that commits rarely from one that stopped."""
MAX_ENDS_PER_PARTITION = 64
"""Ends of a partition to keep while a group lags. Beyond that, each second one is forgotten."""
RATE_TIME_CONSTANT_S = 30.0
"""Age at which a read rate has a weight of one third in the smoothed rate."""

_Commit = tuple[int, int, int]
"""Earliest time, latest time, and committed offset."""


class ProgressHistory:
    """Recent commits of a group in a partition, with the times between which each was seen. Bounded in number."""

    __slots__ = ("_commits",)

    def __init__(self, committed: int, now: int) -> None:
        self._commits: list[_Commit] = [(now, now, committed)]

    def add(self, committed: int, after: int, by: int) -> None:
        """Record that the group committed `committed` after the time `after` and not later than `by`.

        An offset below the last one means that the group was reset to read again; earlier commits below it stay valid.
        """
        commits = self._commits
        if committed < commits[-1][2]:
            at = bisect_right(commits, committed, key=itemgetter(2))
            earliest, latest, _ = commits[at]
            del commits[at:]
            if not commits or commits[-1][2] < committed:
                commits.append((earliest, latest, committed))
            return
        commits.append((after, by, committed))
        if len(commits) > MAX_COMMITS_PER_PARTITION:
            half = MAX_COMMITS_PER_PARTITION // 4 * 2
            pairs = zip(commits[1 : 1 + half : 2], commits[2 : 1 + half : 2], strict=True)
            commits[1 : 1 + half] = [(first[0], second[1], second[2]) for first, second in pairs]

    def consumed_between(self, offset: int) -> tuple[int, int] | None:
        """Return the earliest and the latest possible time at which the group consumed an offset.

        The offset is below the committed one. None: before the first poll.
        """
        at = bisect_right(self._commits, offset, key=itemgetter(2))
        if at == 0 or at == len(self._commits):
            return None
        after, by, _ = self._commits[at]
        return after, by


class GroupStop(Struct, frozen=True):
    """A group that stopped at an event. That the event is the cause is inferred."""

    position: Position
    since: int
    deliveries: int = 0
    """Redis: number of deliveries of the event; 0 where the broker does not count."""
    members: int | None = None
    """Number of members that the group had; None if the broker does not tell."""

    def describe(self, now: int) -> str:
        """Describe the stop in a sentence. It blames the event only if the event was delivered several times."""
        waited = f"for {_format_span(max(0, now - self.since) / 1e6)}"
        if self.deliveries >= POISON_DELIVERY_COUNT:
            return f"delivered {self.deliveries} times and not acknowledged: it probably cannot be processed"
        if self.deliveries > 1:
            return f"delivered {self.deliveries} times, not acknowledged {waited}"
        if self.deliveries:
            return f"not acknowledged {waited}"
        if self.members == 0:
            return f"nothing committed {waited}: the group has no members now"
        return f"more to read, nothing committed {waited}"


def _format_span(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


class EndHistory:
    """Recent end offsets of a partition while a group lags; they show since when a record waits. Bounded in number."""

    __slots__ = ("_ends",)

    def __init__(self) -> None:
        self._ends: list[tuple[int, int]] = []

    def add(self, committed: int, end: int, now: int) -> None:
        """Record the end that a poll saw, and forget the ends that the group has consumed."""
        ends = self._ends
        if ends and ends[-1][1] > end:  # the log was deleted and created again
            ends.clear()
        del ends[: bisect_right(ends, committed, key=itemgetter(1))]
        if end > committed and (not ends or ends[-1][1] < end):
            ends.append((now, end))
        if len(ends) > MAX_ENDS_PER_PARTITION:
            del ends[1::2]

    def waiting_since(self) -> int | None:
        """Return when the oldest record that the group has not consumed was first seen; None if there is none."""
        return self._ends[0][0] if self._ends else None


class GroupPartitionProgress:
    """Progress of one group on one partition."""

    __slots__ = (
        "_empty_until", "_ends", "_pauses", "_polled_at", "has_moved", "history", "latest", "rate", "stop", "waiting",
    )  # fmt: skip

    def __init__(self, latest: GroupPartition, now: int) -> None:
        self.latest = latest
        self.history = ProgressHistory(latest.committed, now)
        self.has_moved = False
        """True if the group committed something since the first poll, so that it has a running member."""
        self.rate: float | None = None
        """Records per second, smoothed."""
        self.waiting: int | None = None
        """Time since which the group had records to read and did not commit; None if it does not lag."""
        self.stop: GroupStop | None = None
        self._polled_at = now
        self._pauses: list[int] = []
        self._ends = EndHistory()
        self._empty_until = -1
        """Offset before which the group has no more records to read (Kafka: ends of transactions)."""
        self._update_waiting(now)

    def update(self, latest: GroupPartition, start: int, now: int) -> None:
        """Apply the result of a poll that lasted from `start` to `now`."""
        before, self.latest = self.latest, latest
        if latest.committed != before.committed:
            self.has_moved = True
            self.history.add(latest.committed, self._polled_at, now)
            if self.waiting is not None:
                self._pauses = [*self._pauses[1 - MAX_PAUSES_PER_PARTITION :], now - self.waiting]
            self.waiting = self.stop = None
        if latest.read is not None and before.read is not None and start > self._polled_at:
            elapsed = (start - self._polled_at) / 1_000_000
            current = max(0, latest.read - before.read) / elapsed
            weight = min(1.0, elapsed / RATE_TIME_CONSTANT_S)
            self.rate = current if self.rate is None else self.rate + weight * (current - self.rate)
        self._polled_at = start
        self._update_waiting(now)

    def behind_s(self, now: int) -> float | None:
        """Return for how many seconds the oldest record that the group has not consumed has been there.

        0.0 if it has consumed all; None if unknown.
        """
        latest = self.latest
        if latest.committed >= latest.end or latest.end <= self._empty_until:
            return 0.0
        since = self._ends.waiting_since()
        if latest.unacknowledged and (idle := latest.unacknowledged[0].idle_ms) > 0:
            since = min(now - idle * 1000, since) if since is not None else now - idle * 1000
        return None if since is None else max(0, now - since) / 1e6

    def _update_waiting(self, now: int) -> None:
        latest = self.latest
        self._ends.add(latest.committed, latest.end, now)
        # An entry that a Redis group was not given yet cannot have stopped it: no member reads there.
        delivered = latest.delivered is None or latest.unacknowledged
        if not delivered or latest.committed >= latest.end or latest.end <= self._empty_until:
            self.waiting = self.stop = None
        elif self.waiting is None:
            self.waiting = now
            if latest.unacknowledged:
                self.waiting -= max(0, latest.unacknowledged[0].idle_ms) * 1000

    def mark_empty(self) -> None:
        """Note that there is no event between the committed offset and the end."""
        self._empty_until = self.latest.end
        self.waiting = None

    def is_suspicious(self, now: int, threshold: float, members: int | None) -> bool:
        """Check whether the group has not moved for `threshold` seconds although it has members or pending entries.

        A group that commits rarely has a longer threshold: twice its usual pause.
        """
        if self.waiting is None or self.stop is not None:
            return False
        pending = self.latest.unacknowledged
        if not (self.has_moved or members or pending):
            return False
        poison = bool(pending) and pending[0].deliveries >= POISON_DELIVERY_COUNT
        return poison or now - self.waiting >= max(threshold * 1_000_000, 2 * self._usual_pause)

    @property
    def _usual_pause(self) -> int:
        """The second longest pause: a single long stop that is over is not usual."""
        return sorted(self._pauses)[-2] if len(self._pauses) > 1 else 0
