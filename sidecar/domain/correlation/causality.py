"""Causes within one flow: stated parents, inferred parents, and the order in which people read them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sidecar.domain.correlation.event_order import append_moment
from sidecar.domain.model import Event

Stream = tuple[str, str]
"""System and name."""

MAX_SKIPPED_CANDIDATES_PER_EVENT = 20
"""Candidates to skip, for each event of the flow, before no further parents are inferred. Only deliberately wrong
clocks place so many descendants before their cause."""


def stream_of(event: Event) -> Stream:
    """Return system and name of the stream of an event."""
    return event.position.system, event.position.stream


def find_stated_parents(events: Sequence[Event]) -> list[int | None]:
    """Find the parents that events name themselves.

    The parent is the event with the causation id, else the one of the same trace with a span id equal to this event's
    parent span id; of several the first. A duplicate is no parent, except for a replay of a rejected event: it is the
    parent of the events that follow it. In a loop of causes the earliest event has no parent.

    Args:
        events: One flow, in order of occurrence.

    Returns:
        For each event the index of its parent, or None.
    """
    by_id = {event.event_id: number for number, event in enumerate(events)}
    first: Collection[int] = range(len(events))
    replays: dict[str | None, list[int]] = {}
    if len(by_id) < len(events):  # there are duplicates, or events without an id
        first = sorted(find_originals(events))
        by_id = {events[number].event_id: number for number in first}
        replays = _replays(events, by_id)
    by_span: dict[tuple[int | None, int], int] | None = None
    parents: list[int | None] = []
    later = False
    for number, event in enumerate(events):
        parent = None
        cause = event.causation_id
        if cause is not None and cause != event.event_id:
            parent = by_id.get(cause)
            if cause in replays:
                earlier = (replay for replay in replays[cause] if append_moment(events[replay]) <= append_moment(event))
                parent = next(earlier, parent)
        if parent is None and event.parent_span_id is not None and event.trace_id is not None:
            if by_span is None:
                by_span = _senders(events, first)
            parent = by_span.get((event.trace_id, event.parent_span_id))
            if parent is not None and (parent == number or _same_id(event, events[parent])):
                parent = None
        if parent is not None and parent > number:
            later = True
        parents.append(parent)
    if later:  # in every loop, some event has a later one as its parent
        _open_loops(parents)
    return parents


def _replays(events: Sequence[Event], by_id: Mapping[str | None, int]) -> dict[str | None, list[int]]:
    """Group the replays of rejected events that passed by their event id, the latest first."""
    replays: dict[str | None, list[int]] = {}
    for number, event in enumerate(events):
        if event.replay_of is None or event.rejection is not None or event.event_id is None:
            continue
        if events[by_id[event.event_id]].rejection is not None:
            replays.setdefault(event.event_id, []).append(number)
    for numbers in replays.values():
        numbers.sort(key=lambda number: append_moment(events[number]), reverse=True)
    return replays


def _senders(events: Sequence[Event], numbers: Collection[int]) -> dict[tuple[int | None, int], int]:
    """Map trace and span to the first of these events that the span sent."""
    senders: dict[tuple[int | None, int], int] = {}
    for number in numbers:
        event = events[number]
        if event.span_id is not None and event.trace_id is not None:
            senders.setdefault((event.trace_id, event.span_id), number)
    return senders


def find_originals(events: Sequence[Event]) -> set[int]:
    """Return the indices of the events that are not duplicates of others among them."""
    first: dict[str, int] = {}
    without_id: set[int] = set()
    for number, event in enumerate(events):
        if event.event_id is None:
            without_id.add(number)
            continue
        other = first.setdefault(event.event_id, number)
        if append_moment(event) < append_moment(events[other]):
            first[event.event_id] = number
    return without_id.union(first.values())


def infer_parents(
    events: Sequence[Event], parents: Sequence[int | None], consumed: Mapping[str, Collection[Stream]]
) -> dict[int, int]:
    """Infer parents for events that name none.

    The parent is the latest earlier event on a stream that the event's producer consumes, else the latest earlier one
    on another stream; never a duplicate, the same event again, or a descendant. Events are visited in order of
    occurrence, so that the result depends on the set alone.

    Args:
        events: One flow, in order of occurrence.
        parents: For each event the parent that it names, or None.
        consumed: The streams that each producer consumes, by causation ids. Parent span ids in this flow add to it.

    Returns:
        The index of the inferred parent by the index of the event.
    """
    seen = {producer: set(streams) for producer, streams in consumed.items()}
    for number, parent in enumerate(parents):
        producer = events[number].producer
        if parent is not None and producer is not None:
            seen.setdefault(producer, set()).add(stream_of(events[parent]))
    search = _CauseSearch(events, parents)
    inferred: dict[int, int] = {}
    for number, event in enumerate(events):
        if parents[number] is None:
            streams = seen.get(event.producer, ()) if event.producer is not None else ()
            parent = search.on_streams(number, streams)
            if parent is None:
                parent = search.on_another(number)
            if parent is not None:
                inferred[number] = parent
                search.attach(number, parent)
        search.add(number)
    return inferred


class _CauseSearch:
    """The events of a flow that were visited so far, and the tree that each is in."""

    def __init__(self, events: Sequence[Event], parents: Sequence[int | None]) -> None:
        self._events = events
        self._top = [number if parent is None else parent for number, parent in enumerate(parents)]
        self._originals = find_originals(events)
        self._streams: dict[Stream, list[int]] = {}
        self._latest: int | None = None
        self._before: dict[int, int | None] = {}
        """The event before each visited one."""
        self._elsewhere: dict[int, int | None] = {}
        """The latest event on another stream before each visited one."""
        self._skips_left = MAX_SKIPPED_CANDIDATES_PER_EVENT * len(events)

    def add(self, number: int) -> None:
        """Add an event to the candidates, unless it is a duplicate."""
        if number not in self._originals:
            return
        stream = stream_of(self._events[number])
        latest = self._latest
        if latest is None or stream_of(self._events[latest]) != stream:
            self._elsewhere[number] = latest
        else:
            self._elsewhere[number] = self._elsewhere[latest]
        self._before[number] = latest
        self._latest = number
        self._streams.setdefault(stream, []).append(number)

    def attach(self, number: int, parent: int) -> None:
        """Put an event into the tree of its inferred parent."""
        self._top[number] = parent

    def on_streams(self, number: int, streams: Collection[Stream]) -> int | None:
        """Return the latest candidate on these streams, or None."""
        latest: int | None = None
        for stream in sorted(streams):
            for candidate in reversed(self._streams.get(stream, ())):
                if (latest is not None and candidate < latest) or self._skips_left < 0:
                    break
                if self._fits(number, candidate):
                    latest = candidate
                    break
        return latest

    def on_another(self, number: int) -> int | None:
        """Return the latest candidate on another stream than the event's own, or None."""
        own = stream_of(self._events[number])
        candidate = self._latest
        while candidate is not None and self._skips_left >= 0:
            if stream_of(self._events[candidate]) == own:
                candidate = self._elsewhere[candidate]
            elif self._fits(number, candidate):
                return candidate
            else:
                candidate = self._before[candidate]
        return None

    def _fits(self, number: int, candidate: int) -> bool:
        if not _same_id(self._events[number], self._events[candidate]) and self._root(candidate) != number:
            return True
        self._skips_left -= 1
        return False

    def _root(self, number: int) -> int:
        top = self._top
        while top[number] != number:
            top[number] = top[top[number]]
            number = top[number]
        return number


def _same_id(event: Event, other: Event) -> bool:
    return event.event_id is not None and event.event_id == other.event_id


def _open_loops(parents: list[int | None]) -> None:
    """Remove the parent of the earliest event of every loop."""
    done = [False] * len(parents)
    for start in range(len(parents)):
        path: dict[int, None] = {}
        number: int | None = start
        while number is not None and not done[number] and number not in path:
            path[number] = None
            number = parents[number]
        if number is not None and number in path:
            members = list(path)
            loop = members[members.index(number) :]
            parents[min(loop)] = None
        for member in path:
            done[member] = True


def order_forest(parents: Sequence[int | None]) -> tuple[list[int], list[int]]:
    """Order events so that each precedes the events it caused, siblings and roots by time. Returns order and depths."""
    children: dict[int | None, list[int]] = {}
    for number, parent in enumerate(parents):
        children.setdefault(parent, []).append(number)
    order: list[int] = []
    depths = [0] * len(parents)
    waiting = children.get(None, [])[::-1]
    while waiting:
        number = waiting.pop()
        order.append(number)
        for child in reversed(children.get(number, ())):
            depths[child] = depths[number] + 1
            waiting.append(child)
    return order, depths
