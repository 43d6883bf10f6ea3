"""How one consumer group went through one partition, as far as looks at it now and then tell: when it passed which
offset, how fast it reads, and whether it stands still.

Times are microseconds since 1970 by our own clock."""

from __future__ import annotations

from bisect import bisect_right
from operator import itemgetter

from msgspec import Struct

from sidecar.domain.ports.consumer_groups import GroupPartition
from sidecar.domain.position import Position

MOST_MOVES = 64
"""Moves that are remembered of one group in one partition. Beyond, the older half becomes half as exact."""
MANY_DELIVERIES = 5
"""An entry that was delivered so often and never acknowledged is one that its group cannot digest."""
PAUSES = 8
"""Pauses of a group that are remembered. One that always stands still between two commits has not stopped."""
SMOOTHED_SECONDS = 30.0
"""What passed so long ago counts a third in the rate."""

_Move = tuple[int, int, int]
"""Not before when, by when, and up to which offset."""


class ProgressHistory:
    """The moves of a group in a partition, in bounded space."""

    __slots__ = ("_moves",)

    def __init__(self, committed: int, now: int) -> None:
        self._moves: list[_Move] = [(now, now, committed)]

    def moved(self, committed: int, after: int, by: int) -> None:
        """It stood where the last call said at the time `after`, and stands at `committed` at the time `by`. It may
        have been set back, to read again: what it passed, it had passed."""
        moves = self._moves
        if committed < moves[-1][2]:
            at = bisect_right(moves, committed, key=itemgetter(2))
            was_after, was_by, _ = moves[at]
            del moves[at:]
            if not moves or moves[-1][2] < committed:
                moves.append((was_after, was_by, committed))
            return
        moves.append((after, by, committed))
        if len(moves) > MOST_MOVES:
            half = MOST_MOVES // 4 * 2
            pairs = zip(moves[1 : 1 + half : 2], moves[2 : 1 + half : 2], strict=True)
            moves[1 : 1 + half] = [(first[0], second[1], second[2]) for first, second in pairs]

    def when(self, offset: int) -> tuple[int, int] | None:
        """Not before when and by when the group passed this offset, which it did; None where that was before the first
        look."""
        at = bisect_right(self._moves, offset, key=itemgetter(2))
        if at == 0 or at == len(self._moves):
            return None
        after, by, _ = self._moves[at]
        return after, by


class GroupStop(Struct, frozen=True):
    """A group stands still in front of an event. That the event is to blame is inferred."""

    position: Position
    since: int
    reason: str
    """A sentence for a person."""


class GroupPartitionProgress:
    """One group in one partition."""

    __slots__ = ("_empty", "_looked", "_pauses", "has_moved", "passing", "rate", "seen", "stop", "waiting")

    def __init__(self, seen: GroupPartition, now: int) -> None:
        self.seen = seen
        self.passing = ProgressHistory(seen.committed, now)
        self.has_moved = False
        """Since the first look: somebody reads."""
        self.rate: float | None = None
        """Records a second, lately."""
        self.waiting: int | None = None
        """Since when it stands in front of something that it was or could be given."""
        self.stop: GroupStop | None = None
        self._looked = now
        self._pauses: list[int] = []
        self._empty = -1
        """Up to this offset there was found to be nothing in front of it (Kafka: the ends of transactions)."""
        self._wait(now)

    def look(self, seen: GroupPartition, start: int, now: int) -> None:
        """How it was found by a look that began at `start` and ended at `now`."""
        before, self.seen = self.seen, seen
        if seen.committed != before.committed:
            self.has_moved = True
            self.passing.moved(seen.committed, self._looked, now)
            if self.waiting is not None:
                self._pauses = [*self._pauses[1 - PAUSES :], now - self.waiting]
            self.waiting = self.stop = None
        if seen.read is not None and before.read is not None and start > self._looked:
            elapsed = (start - self._looked) / 1_000_000
            latest = max(0, seen.read - before.read) / elapsed
            share = min(1.0, elapsed / SMOOTHED_SECONDS)
            self.rate = latest if self.rate is None else self.rate + share * (latest - self.rate)
        self._looked = start
        self._wait(now)

    def _wait(self, now: int) -> None:
        seen = self.seen
        # What a Redis group was not given yet cannot have stopped it: nobody reads there.
        given = seen.delivered is None or seen.unacknowledged
        if not given or seen.committed >= seen.end or seen.end <= self._empty:
            self.waiting = self.stop = None
        elif self.waiting is None:
            self.waiting = now
            if seen.unacknowledged:
                self.waiting -= max(0, seen.unacknowledged[0].idle_ms) * 1000

    def nothing_there(self) -> None:
        """It waits for no event: there is none between it and the end."""
        self._empty = self.seen.end
        self.waiting = None

    def suspicious(self, now: int, threshold: float, members: int | None) -> bool:
        """Whether it has stood still for `threshold` seconds, although somebody reads; for longer where it does so
        again and again, as groups do that commit seldom."""
        if self.waiting is None or self.stop is not None:
            return False
        pending = self.seen.unacknowledged
        if not (self.has_moved or members or pending):
            return False
        often = bool(pending) and pending[0].deliveries >= MANY_DELIVERIES
        return often or now - self.waiting >= max(threshold * 1_000_000, 2 * self._usual_pause)

    @property
    def _usual_pause(self) -> int:
        """The longest but one: a single stop, now mended, is nothing usual."""
        return sorted(self._pauses)[-2] if len(self._pauses) > 1 else 0
