"""Which offsets of each partition may be held: what lets most events be taken in without a look-up."""

from __future__ import annotations

from bisect import bisect_right

from sidecar.domain.broker_traits import traits_of
from sidecar.domain.position import Partition

BEYOND = 1 << 130
"""No offset is as high: a Redis entry id has 128 bits."""
MOST_SPANS = 64


class PartitionRanges:
    """A partition, and the spans of offsets in which events were taken in. Outside of them nothing is held; inside
    something may be."""

    __slots__ = ("_current", "_highs", "_lows", "apart", "last", "limit", "log", "number", "wide")

    def __init__(self, number: int, log: Partition) -> None:
        self.number = number
        self.log = log
        self.wide = traits_of(log.system).offset_bits > 64
        """Whether its offsets may need more than 64 bits."""
        self.last = -1
        """Offsets between `last` and `limit` are surely not held. Whoever takes one in moves `last` to it."""
        self.limit = -1
        self.apart = True
        """What comes next does not go on from what is there."""
        self._lows: list[int] = []
        self._highs: list[int] = []
        self._current = -1

    def opens(self, offset: int) -> bool:
        """Whether nothing is held at `offset` for sure. If so `last` and `limit` are moved around it."""
        if self._current >= 0:
            self._highs[self._current] = self.last
        at = bisect_right(self._lows, offset) - 1
        if at >= 0 and offset <= self._highs[at]:
            # Whatever comes next must ask again.
            self._current, self.limit = -1, -1
            return False
        if at < 0 or self.apart:
            at += 1
            if len(self._lows) >= MOST_SPANS:
                self._merge()
                return self.opens(offset)
            self._lows.insert(at, offset)
            self._highs.insert(at, offset - 1)
            self.apart = False
        self._current = at
        self.last = self._highs[at]
        self.limit = self._lows[at + 1] if at + 1 < len(self._lows) else BEYOND
        return True

    def part(self) -> None:
        """Reading stops here, and goes on elsewhere."""
        if self._current >= 0:
            self._highs[self._current] = self.last
        self._current, self.limit, self.apart = -1, -1, True

    def _merge(self) -> None:
        self._lows, self._highs = [self._lows[0]], [self._highs[-1]]
        self._current, self.apart = -1, False


class OffsetRanges:
    """Partitions, numbered."""

    def __init__(self) -> None:
        self.logs: list[Partition] = []
        self._places: dict[tuple[str, str, int], PartitionRanges] = {}

    def of(self, system: str, stream: str, number: int) -> PartitionRanges:
        place = self._places.get((system, stream, number))
        if place is None:
            log = Partition(system, stream, number)
            place = self._places[system, stream, number] = PartitionRanges(len(self.logs), log)
            self.logs.append(log)
        return place

    def known(self, system: str, stream: str, number: int) -> PartitionRanges | None:
        return self._places.get((system, stream, number))
