"""Iteration over events newest first, from any point on, that sorts no more segments than needed."""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Collection, Iterator

from sidecar.adapters.index.memory.segment import Segment
from sidecar.adapters.index.memory.store_reader import StoreReader
from sidecar.domain.correlation.event_order import Moment
from sidecar.domain.model import Event
from sidecar.domain.position import Partition, Position

_Place = tuple[int, Partition, int]
"""Append time, partition, offset: orders like append time and position."""


def newest(
    reading: StoreReader,
    before: Moment | None = None,
    *,
    since: int | None = None,
    until: int | None = None,
    streams: Collection[str] | None = None,
) -> Iterator[Event]:
    """Yield events by append time, then position, newest first.

    They are below `before`, appended at `since` or later and before `until` (milliseconds), on these streams.
    """
    below = None if before is None else (before[0], before[1].log, before[1].offset)
    if until is not None and (below is None or until <= below[0]):
        below = (until, Partition("", "", 0), -1)
    segments = sorted(reading.segments, key=lambda segment: segment.high)
    open_ones: list[tuple[_Descending, Segment, Iterator[int]]] = []
    last: Position | None = None
    while open_ones or segments:
        # A segment is opened only when it may hold the next event.
        while segments and (not open_ones or segments[-1].high >= open_ones[0][0].place[0]):
            segment = segments.pop()
            _push(open_ones, segment, _from(segment, below), since)
        if not open_ones:
            continue
        at, segment, slots = heapq.heappop(open_ones)
        slot = at.slot
        _push(open_ones, segment, slots, since)
        log = at.place[1]
        if slot in segment.dead or (streams is not None and log.stream not in streams):
            continue
        event = reading.event(segment, slot)
        if event.position != last:
            last = event.position
            yield event


class _Descending:
    """A place that sorts before earlier ones."""

    __slots__ = ("place", "slot")

    def __init__(self, place: _Place, slot: int) -> None:
        self.place, self.slot = place, slot

    def __lt__(self, other: _Descending) -> bool:
        return self.place > other.place


def _from(segment: Segment, below: _Place | None) -> Iterator[int]:
    order = segment.sorted_slots()
    end = len(order) if below is None else bisect_left(order, below, key=segment.append_order)
    return iter(order[:end][::-1])


def _push(
    heap: list[tuple[_Descending, Segment, Iterator[int]]], segment: Segment, slots: Iterator[int], since: int | None
) -> None:
    slot = next(slots, None)
    if slot is not None:
        place = segment.append_order(slot)
        if since is None or place[0] >= since:
            heapq.heappush(heap, (_Descending(place, slot), segment, slots))


def cursor_of(event: Event) -> str:
    """Build the cursor that continues below an event."""
    return f"{event.appended_at}@{event.position}"


def moment_of(cursor: str) -> Moment:
    """Parse a cursor that `cursor_of` built. Raises ValueError for any other text."""
    time, _, position = cursor.partition("@")
    try:
        return int(time), Position.parse(position)
    except ValueError:
        raise ValueError(f"invalid cursor {cursor[:100]!r}: pass the cursor of the previous page unchanged") from None
