"""What has passed, counted by stream: events, rejections by code, and a rate that follows."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable

from sidecar.domain.ports.broker import Gap

RATE_SECONDS = 10
"""The rate is the mean over so many whole seconds."""
KEPT_GAPS = 10
"""The latest gaps that a stream remembers."""


class StreamCounter:
    """Counts of one stream since start."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.events = 0
        self.rejected = 0
        self.dead_lettered = 0
        """Dead letters that are known to be durable."""
        self.codes: Counter[str] = Counter()
        self.gaps: deque[Gap] = deque(maxlen=KEPT_GAPS)
        self.times_lost = 0
        """How often records were gone before they were read."""
        self._seconds: deque[list[int]] = deque(maxlen=RATE_SECONDS + 1)

    def seen(self, events: int) -> None:
        self.events += events
        second = int(self._clock())
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds[-1][1] += events
        else:
            self._seconds.append([second, events])

    def reject(self, codes: Iterable[str]) -> None:
        before = self.codes.total()
        self.codes.update(codes)
        self.rejected += self.codes.total() - before

    def lost(self, gap: Gap) -> None:
        self.gaps.append(gap)
        self.times_lost += 1

    @property
    def rate(self) -> float:
        """Events a second, over the last ten whole seconds."""
        now = int(self._clock())
        counted = sum(events for second, events in self._seconds if now - RATE_SECONDS <= second < now)
        return counted / RATE_SECONDS


class StreamCounters:
    """The counters of every stream that was seen, by system and stream."""

    def __init__(self) -> None:
        self._streams: dict[tuple[str, str], StreamCounter] = {}

    def of(self, system: str, stream: str) -> StreamCounter:
        counter = self._streams.get((system, stream))
        if counter is None:
            counter = self._streams[system, stream] = StreamCounter()
        return counter

    def streams(self) -> list[tuple[str, str]]:
        return sorted(self._streams)

    def letter(self, system: str, stream: str) -> None:
        """A dead letter of this stream is durable that no committing wrote: of a report, or of what a group gave up."""
        self.of(system, stream).dead_lettered += 1

    def gaps(self) -> list[tuple[Gap, int]]:
        """Of every stream that has gaps the latest, and how many there were."""
        found = [self._streams[name] for name in self.streams()]
        return [(one.gaps[-1], one.times_lost) for one in found if one.gaps]

    def total(self) -> int:
        """Events of all streams."""
        return sum(counter.events for counter in self._streams.values())

    def rejected(self) -> int:
        """Rejections of all streams."""
        return sum(counter.rejected for counter in self._streams.values())
