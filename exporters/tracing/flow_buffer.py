"""Events that are held until their flow is quiet, because only then it is known where their spans belong.

An event without trace context takes its flow's trace: the one that the flow's earliest event with a trace carries, else
the one derived for its earliest event. An event that names no parent hangs from the one that is inferred. Both need the
flow's other events, which may come later; so it waits until nothing of the flow has come for `hold` seconds, though not
longer than `LONGEST` times that, nor when more than `most` wait: then the oldest go as they stand, and are counted.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from exporters.tracing.event_window import EventWindow
from exporters.tracing.span_mapper import ExportSpan
from sidecar.domain.correlation.causality import Stream, find_stated_parents, infer_parents, stream_of
from sidecar.domain.correlation.derived_trace_id import cause_of, derive_trace_id, trace_id_of
from sidecar.domain.correlation.duplicates import original_of
from sidecar.domain.correlation.flows import FlowEventStatus, build_flow, flow_event_status
from sidecar.domain.correlation.ordering import moment
from sidecar.domain.model import Event, Headers
from sidecar.domain.ports.index import Node

LONGEST = 10
"""How many times the hold an event waits at most, in a flow that is never quiet."""
MOST_BYTES = 32 << 20
"""Bytes of records whose decoded bodies wait, some ten times that in memory."""
MOST_PRODUCERS = 1_000
"""Producers whose inputs are remembered."""
LATER = float("inf")
_NO_PARENT: Sequence[int | None] = (None,)
_NO_GUESS: Mapping[int, int] = {}
_NONE_ALIKE: Mapping[str, Sequence[Event]] = {}


class BufferedEvent(Struct, gc=False):
    """An event, with what of its record a span needs."""

    event: Event
    span: ExportSpan
    """What is known of it already."""
    told: bool
    """Its cause was known when it came."""
    since: float
    due: float
    headers: Any = None
    body: Any = None
    """Both only where a query asks about them."""
    waiting: bool = True


class QuietFlow(Struct, gc=False):
    """A flow that is quiet: all of it that is known, and those of its events that waited."""

    events: list[Event]
    """By moment."""
    parents: Sequence[int | None]
    """Of each, as an index into `events`."""
    inferred: Mapping[int, int]
    """Those of the parents that no event names."""
    waited: list[BufferedEvent | None]
    """Of each event, where it waited."""
    trace_id: int
    """For those of its events that carry none."""
    same_id: Mapping[str, Sequence[Event]]
    """Where several have one id."""

    def trace_of(self, event: Event) -> int:
        return self.trace_id if event.trace_id is None else event.trace_id

    def first(self, event: Event) -> Event | None:
        """What an event is a duplicate of."""
        same = self.same_id.get(event.event_id) if event.event_id is not None else None
        return None if same is None else original_of(event, same)

    def nodes(self) -> list[Node]:
        """The flow as an index would give it."""
        return build_flow(self.events, self.trace_of, self._standing, {}, ()).nodes

    def _standing(self, event: Event) -> FlowEventStatus:
        return flow_event_status(event, self.same_id.get(event.event_id, ()) if event.event_id is not None else ())


class FlowBuffer:
    """Holds events, and lets them go with their flows. Times are seconds of any clock that does not jump."""

    def __init__(self, recent: EventWindow, hold: float, most: int) -> None:
        self._recent, self._hold, self._most = recent, hold, most
        self._held: dict[int, BufferedEvent] = {}
        self._fresh: deque[BufferedEvent] = deque()
        """As they came, which is as they are due: most are looked at once only."""
        self._queue: list[tuple[float, int, BufferedEvent]] = []
        """Those that must wait for longer."""
        self._number = 0
        self._latest: dict[int, float] = {}
        self._consumed: dict[str, set[Stream]] = {}
        self._bytes = 0
        self.early = 0
        """Events that could not wait until their flow was quiet."""

    def __len__(self) -> int:
        return len(self._held)

    def hold(
        self, event: Event, span: ExportSpan, now: float, told: bool, headers: Headers | None = None, body: Any = None
    ) -> None:
        seen = BufferedEvent(event, span, told, now, now + self._hold, headers, body)
        self._held[id(event)] = seen
        if body is not None:
            self._bytes += _weight(seen)
        self._fresh.append(seen)

    def due(self, now: float) -> Iterator[QuietFlow]:
        """The flows that are quiet by now, and those that must go for others' sake."""
        while self._fresh or self._queue:
            crowded = len(self._held) > self._most or self._bytes > MOST_BYTES
            seen = self._pop(LATER if crowded else now)
            if seen is None:
                return
            if not seen.waiting:
                continue
            if seen.due > now and not crowded:
                self._push(seen)
                continue
            flow, differing = self._recent.flow(seen.event)
            if len(flow) == 1:
                self.early += seen.since + self._hold > now
                yield self._let_alone(seen)
                continue
            members = self._waiting(flow)
            since = [member.since for member in members]
            quiet_at = max(since) + self._hold
            due = min(quiet_at, min(since) + LONGEST * self._hold)
            if due > now and not crowded:
                for member in members:
                    member.due = due
                self._push(seen)
                continue
            if quiet_at > now:
                self.early += len(members)
            yield self._let_go(flow, members, differing)

    def all(self) -> Iterator[QuietFlow]:
        """Every flow as it stands: the end."""
        while (seen := self._pop(LATER)) is not None:
            if seen.waiting:
                flow, differing = self._recent.flow(seen.event)
                yield self._let_alone(seen) if len(flow) == 1 else self._let_go(flow, self._waiting(flow), differing)

    def _pop(self, until: float) -> BufferedEvent | None:
        """The one that is due next, where that is not after `until`."""
        fresh, queue = self._fresh, self._queue
        if fresh and (not queue or fresh[0].since + self._hold <= queue[0][0]):
            return fresh.popleft() if fresh[0].since + self._hold <= until else None
        return heapq.heappop(queue)[2] if queue and queue[0][0] <= until else None

    def _push(self, seen: BufferedEvent) -> None:
        self._number += 1
        heapq.heappush(self._queue, (seen.due, self._number, seen))

    def _waiting(self, flow: Sequence[Event]) -> list[BufferedEvent]:
        held = self._held
        return [seen for event in flow if (seen := held.get(id(event))) is not None]

    def _let_alone(self, seen: BufferedEvent) -> QuietFlow:
        """It has nobody to hang from, to be the same as, or to learn from."""
        self._forget(seen)
        event = seen.event
        return QuietFlow([event], _NO_PARENT, _NO_GUESS, [seen], trace_id_of(event, _nobody, {}), _NONE_ALIKE)

    def _forget(self, seen: BufferedEvent) -> None:
        seen.waiting = False
        del self._held[id(seen.event)]
        if seen.body is not None:
            self._bytes -= _weight(seen)

    def _let_go(self, flow: list[Event], members: list[BufferedEvent], differing: bool) -> QuietFlow:
        """`differing`: no two of the flow have one id."""
        for member in members:
            self._forget(member)
        self._learn(flow)
        events = flow if _in_order(flow) else sorted(flow, key=moment)
        parents = find_stated_parents(events)
        # The earliest has nobody before it that could be inferred.
        guesses = infer_parents(events, parents, self._consumed) if None in parents[1:] else {}
        for number, parent in guesses.items():
            parents[number] = parent
        same_id = {} if differing else _alike(flow)
        if len(members) == len(flow) and events is flow:
            waited: list[BufferedEvent | None] = [*members]
        else:
            by_event = {id(member.event): member for member in members}
            waited = [by_event.get(id(event)) for event in events]
        return QuietFlow(events, parents, guesses, waited, self._trace_id(events, members), same_id)

    def _trace_id(self, events: Sequence[Event], members: Sequence[BufferedEvent]) -> int:
        """Of the flow's events without a trace. What was sent under one trace is not left alone in it."""
        if len(members) < len(events):
            # Of those that waited until now nothing was decided.
            for event in events:
                if event.trace_id is None and (decision := self._recent.decision(event)) is not None:
                    return decision.trace_id
        for event in events:
            if event.trace_id is not None:
                return event.trace_id
        if events[0].correlation_id is not None:
            return derive_trace_id(events[0].correlation_id)
        by_id = {event.event_id: event for event in reversed(events) if event.event_id is not None}
        return trace_id_of(events[0], by_id.get, {})

    def _learn(self, flow: Sequence[Event]) -> None:
        """Which streams producers are seen to consume."""
        effects = [event for event in flow if event.producer is not None and cause_of(event) is not None]
        if not effects:
            return
        by_id = {event.event_id: event for event in reversed(flow)}
        for event in effects:
            cause = by_id.get(cause_of(event))
            if cause is not None and event.producer is not None:
                if len(self._consumed) >= MOST_PRODUCERS:
                    self._consumed.clear()
                self._consumed.setdefault(event.producer, set()).add(stream_of(cause))


def _weight(seen: BufferedEvent) -> int:
    return 0 if seen.body is None or seen.span.size is None else seen.span.size


def _nobody(event_id: str) -> None:
    return None


def _in_order(flow: Sequence[Event]) -> bool:
    """Whether these are by moment already, as they mostly come."""
    latest = -1
    for event in flow:
        occurred = event.occurred_at
        if occurred is None:
            occurred = event.appended_at * 1000
        if occurred <= latest:
            return False
        latest = occurred
    return True


def _alike(flow: Sequence[Event]) -> dict[str, list[Event]]:
    """The events of each id that several have."""
    if len({event.event_id for event in flow}) == len(flow):
        return {}
    same_id: dict[str, list[Event]] = {}
    for event in flow:
        if event.event_id is not None:
            same_id.setdefault(event.event_id, []).append(event)
    return {event_id: same for event_id, same in same_id.items() if len(same) > 1}
