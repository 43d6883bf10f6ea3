"""Counters of each stream: events, rejections by code, dead letters, gaps, and a rate."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable

from sidecar.domain.ports.broker import Gap

RATE_WINDOW_S = 10
"""Whole seconds over which the rate is averaged."""
MAX_GAPS_PER_STREAM = 10


class StreamCounter:
    """Counters of one stream since the start."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.events = 0
        self.rejected = 0
        self.dead_lettered = 0
        """Number of durable dead letters."""
        self.codes: Counter[str] = Counter()
        self.gaps: deque[Gap] = deque(maxlen=MAX_GAPS_PER_STREAM)
        """The latest gaps."""
        self.times_lost = 0
        """Number of gaps so far: records that the broker deleted before we read them."""
        self._seconds: deque[list[int]] = deque(maxlen=RATE_WINDOW_S + 1)

    def add_events(self, events: int) -> None:
        """Count events."""
        self.events += events
        second = int(self._clock())
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds[-1][1] += events
        else:
            self._seconds.append([second, events])

    def add_rejections(self, codes: Iterable[str]) -> None:
        """Count rejections by their codes."""
        before = self.codes.total()
        self.codes.update(codes)
        self.rejected += self.codes.total() - before

    def add_gap(self, gap: Gap) -> None:
        """Count a gap."""
        self.gaps.append(gap)
        self.times_lost += 1

    @property
    def rate(self) -> float:
        """Events per second, over the last ten whole seconds."""
        now = int(self._clock())
        counted = sum(events for second, events in self._seconds if now - RATE_WINDOW_S <= second < now)
        return counted / RATE_WINDOW_S


class StreamCounters:
    """The counters of every stream, by system and stream."""

    def __init__(self) -> None:
        self._streams: dict[tuple[str, str], StreamCounter] = {}

    def of(self, system: str, stream: str) -> StreamCounter:
        """Return the counter of a stream. It is created on first use."""
        counter = self._streams.get((system, stream))
        if counter is None:
            counter = self._streams[system, stream] = StreamCounter()
        return counter

    def streams(self) -> list[tuple[str, str]]:
        """Return system and name of every counted stream, sorted."""
        return sorted(self._streams)

    def add_late_dead_letter(self, system: str, stream: str) -> None:
        """Count a durable dead letter that no commit wrote: of a failure report, or of an exhausted entry."""
        self.of(system, stream).dead_lettered += 1

    def gaps(self) -> list[tuple[Gap, int]]:
        """Return the latest gap of every stream that has one, and the number of its gaps."""
        counters = [self._streams[name] for name in self.streams()]
        return [(counter.gaps[-1], counter.times_lost) for counter in counters if counter.gaps]

    def total(self) -> int:
        """Return the number of events of all streams."""
        return sum(counter.events for counter in self._streams.values())

    def total_rejected(self) -> int:
        """Return the number of rejections of all streams."""
        return sum(counter.rejected for counter in self._streams.values())
