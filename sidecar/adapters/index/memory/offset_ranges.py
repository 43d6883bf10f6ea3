"""Ranges of offsets that the index may hold, by partition. They let most events be added without a look-up."""

from __future__ import annotations

from bisect import bisect_right

from sidecar.domain.broker_traits import traits_of
from sidecar.domain.position import Partition

OFFSET_END_POSITION = 1 << 130
"""A number above every offset: a Redis entry id has 128 bits."""
MAX_SPANS_PER_PARTITION = 64


class PartitionRanges:
    """A partition, and the ranges of offsets in which events were added. The index holds nothing outside of them."""

    __slots__ = ("_current", "_highs", "_lows", "is_detached", "last", "limit", "log", "number", "wide")

    def __init__(self, number: int, log: Partition) -> None:
        self.number = number
        self.log = log
        self.wide = traits_of(log.system).offset_bits > 64
        """True if offsets of the partition may need more than 64 bits."""
        self.last = -1
        """Offsets between `last` and `limit` are not held. Adding such an event moves `last` to it."""
        self.limit = -1
        self.is_detached = True
        """True if the next events do not continue the current range."""
        self._lows: list[int] = []
        self._highs: list[int] = []
        self._current = -1

    def may_add(self, offset: int) -> bool:
        """Check that the index holds no event at `offset`; if so, move `last` and `limit` around it."""
        if self._current >= 0:
            self._highs[self._current] = self.last
        at = bisect_right(self._lows, offset) - 1
        if at >= 0 and offset <= self._highs[at]:
            # The next event must check again.
            self._current, self.limit = -1, -1
            return False
        if at < 0 or self.is_detached:
            at += 1
            if len(self._lows) >= MAX_SPANS_PER_PARTITION:
                self._merge()
                return self.may_add(offset)
            self._lows.insert(at, offset)
            self._highs.insert(at, offset - 1)
            self.is_detached = False
        self._current = at
        self.last = self._highs[at]
        self.limit = self._lows[at + 1] if at + 1 < len(self._lows) else OFFSET_END_POSITION
        return True

    def close_span(self) -> None:
        """Close the current range, because reading continues elsewhere."""
        if self._current >= 0:
            self._highs[self._current] = self.last
        self._current, self.limit, self.is_detached = -1, -1, True

    def _merge(self) -> None:
        self._lows, self._highs = [self._lows[0]], [self._highs[-1]]
        self._current, self.is_detached = -1, False


class OffsetRanges:
    """Partitions by number, with their ranges."""

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

    def find(self, system: str, stream: str, number: int) -> PartitionRanges | None:
        return self._places.get((system, stream, number))
