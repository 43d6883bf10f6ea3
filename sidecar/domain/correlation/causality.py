"""Who caused whom within one flow: facts first, then what can be inferred, and the order in which people read it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sidecar.domain.correlation.ordering import appended
from sidecar.domain.model import Event

Stream = tuple[str, str]
"""System and name."""

MAX_SKIPPED_CANDIDATES_PER_EVENT = 20
"""How many candidates are passed over, for each event of the flow, before no more parents are inferred. Only clocks
that are wrong on purpose make so many descendants earlier than their cause."""


def stream_of(event: Event) -> Stream:
    return event.position.system, event.position.stream


def find_stated_parents(events: Sequence[Event]) -> list[int | None]:
    """The parents that the events themselves name, as indices into `events` (one flow, by moment): the event with the
    causation id, else the one whose span id is this one's parent span id within the same trace. Of several the first; a
    duplicate is nobody's parent, but for a replay whose first life was rejected: what follows it hangs from it. In a
    loop of causes the earliest event has no parent."""
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
                parent = next((one for one in replays[cause] if appended(events[one]) <= appended(event)), parent)
        if parent is None and event.parent_span_id is not None and event.trace_id is not None:
            if by_span is None:
                by_span = _senders(events, first)
            parent = by_span.get((event.trace_id, event.parent_span_id))
            if parent is not None and (parent == number or _same_id(event, events[parent])):
                parent = None
        if parent is not None and parent > number:
            later = True
        parents.append(parent)
    if later:  # in every loop one hangs from a later one
        _open_loops(parents)
    return parents


def _replays(events: Sequence[Event], by_id: Mapping[str | None, int]) -> dict[str | None, list[int]]:
    """By event id the replays that passed of an event that was rejected, the latest first."""
    found: dict[str | None, list[int]] = {}
    for number, event in enumerate(events):
        if event.replay_of is None or event.rejection is not None or event.event_id is None:
            continue
        if events[by_id[event.event_id]].rejection is not None:
            found.setdefault(event.event_id, []).append(number)
    for numbers in found.values():
        numbers.sort(key=lambda number: appended(events[number]), reverse=True)
    return found


def _senders(events: Sequence[Event], numbers: Collection[int]) -> dict[tuple[int | None, int], int]:
    """By trace and span the first of these events that the span sent."""
    found: dict[tuple[int | None, int], int] = {}
    for number in numbers:
        event = events[number]
        if event.span_id is not None and event.trace_id is not None:
            found.setdefault((event.trace_id, event.span_id), number)
    return found


def find_originals(events: Sequence[Event]) -> set[int]:
    """Which of `events` are no duplicates among them."""
    first: dict[str, int] = {}
    found: set[int] = set()
    for number, event in enumerate(events):
        if event.event_id is None:
            found.add(number)
            continue
        other = first.setdefault(event.event_id, number)
        if appended(event) < appended(events[other]):
            first[event.event_id] = number
    return found.union(first.values())


def infer_parents(
    events: Sequence[Event], parents: Sequence[int | None], consumed: Mapping[str, Collection[Stream]]
) -> dict[int, int]:
    """Parents for events that name none: the latest earlier event on a stream that the event's producer is seen to
    consume, else the latest earlier one on another stream; never a duplicate, the same event again, or a descendant.
    Events are gone through by moment, so that an answer follows from the set alone. `consumed` holds what causation ids
    show; parent span ids within this flow show more."""
    seen = {producer: set(streams) for producer, streams in consumed.items()}
    for number, parent in enumerate(parents):
        producer = events[number].producer
        if parent is not None and producer is not None:
            seen.setdefault(producer, set()).add(stream_of(events[parent]))
    search = _CauseSearch(events, parents)
    found: dict[int, int] = {}
    for number, event in enumerate(events):
        if parents[number] is None:
            streams = seen.get(event.producer, ()) if event.producer is not None else ()
            parent = search.on_streams(number, streams)
            if parent is None:
                parent = search.on_another(number)
            if parent is not None:
                found[number] = parent
                search.attach(number, parent)
        search.passed(number)
    return found


class _CauseSearch:
    """The events of a flow that were gone through so far, and whose tree each is in."""

    def __init__(self, events: Sequence[Event], parents: Sequence[int | None]) -> None:
        self._events = events
        self._top = [number if parent is None else parent for number, parent in enumerate(parents)]
        self._originals = find_originals(events)
        self._streams: dict[Stream, list[int]] = {}
        self._latest: int | None = None
        self._before: dict[int, int | None] = {}
        """For each event gone through, the one before it."""
        self._elsewhere: dict[int, int | None] = {}
        """For each event gone through, the latest one before it on another stream than its own."""
        self._patience = MAX_SKIPPED_CANDIDATES_PER_EVENT * len(events)

    def passed(self, number: int) -> None:
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
        self._top[number] = parent

    def on_streams(self, number: int, streams: Collection[Stream]) -> int | None:
        found: int | None = None
        for stream in sorted(streams):
            for candidate in reversed(self._streams.get(stream, ())):
                if (found is not None and candidate < found) or self._patience < 0:
                    break
                if self._fits(number, candidate):
                    found = candidate
                    break
        return found

    def on_another(self, number: int) -> int | None:
        own = stream_of(self._events[number])
        candidate = self._latest
        while candidate is not None and self._patience >= 0:
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
        self._patience -= 1
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
    """Take the parent away from the first member of every loop."""
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
    """The order, each event before those it caused, siblings and roots by moment; and each event's depth."""
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
