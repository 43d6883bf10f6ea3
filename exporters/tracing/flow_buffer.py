"""Buffer that holds events until their flow is quiet, because only then their trace and parent are known.

An event without trace context takes its flow's trace: that of the flow's earliest event with a trace, else the one
derived for its earliest event. An event that names no parent gets an inferred one. Both need the flow's other events,
which may arrive later. So an event waits until no event of its flow has arrived for `hold` seconds, but at most
`MAX_HOLD_FACTOR` times as long. If more than `max_held` events wait, the oldest are released unchanged and counted.
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
from sidecar.domain.correlation.derived_trace_id import trace_id_of
from sidecar.domain.correlation.duplicates import original_of
from sidecar.domain.correlation.event_order import moment
from sidecar.domain.correlation.flows import FlowEventStatus, build_flow, flow_event_status
from sidecar.domain.derived_ids import cause_of, derive_trace_id
from sidecar.domain.model import Event, Headers
from sidecar.domain.ports.index import Node

MAX_HOLD_FACTOR = 10
"""Longest wait of an event in a flow that is never quiet, in multiples of the hold time."""
MAX_BODY_BYTES = 32 << 20
"""Bytes of the records whose bodies are held. Decoded bodies take about ten times as much memory."""
MAX_PRODUCERS = 1_000
"""Number of producers with remembered input streams."""
_END_OF_TIME = float("inf")
_NO_PARENT: Sequence[int | None] = (None,)
_NO_GUESS: Mapping[int, int] = {}
_NONE_ALIKE: Mapping[str, Sequence[Event]] = {}


class BufferedEvent(Struct, gc=False):
    """An event in the buffer, with the parts of its record that a span needs."""

    event: Event
    span: ExportSpan
    """Span without trace and parent."""
    edge_recorded: bool
    """True if its cause was known when it arrived, and the edge was reported."""
    since: float
    due: float
    headers: Any = None
    body: Any = None
    """Body of the record. Headers and body are kept only if the sampling query needs them."""
    waiting: bool = True


class QuietFlow(Struct, gc=False):
    """A quiet flow: its known events, and which of them were held."""

    events: list[Event]
    """Events, ordered by moment."""
    parents: Sequence[int | None]
    """Index in `events` of the parent of each event."""
    inferred: Mapping[int, int]
    """Inferred parents, by index of the event."""
    waited: list[BufferedEvent | None]
    """Buffer entry of each event; None if the event was not held."""
    trace_id: int
    """Trace of the events that carry none."""
    same_id: Mapping[str, Sequence[Event]]
    """Events by event id, for ids that several have."""

    def trace_of(self, event: Event) -> int:
        """Return the trace of an event's span."""
        return self.trace_id if event.trace_id is None else event.trace_id

    def find_original(self, event: Event) -> Event | None:
        """Return the event that this one duplicates."""
        same = self.same_id.get(event.event_id) if event.event_id is not None else None
        return None if same is None else original_of(event, same)

    def nodes(self) -> list[Node]:
        """Return the flow as an index returns it."""
        return build_flow(self.events, self.trace_of, self._status_of, {}, ()).nodes

    def _status_of(self, event: Event) -> FlowEventStatus:
        return flow_event_status(event, self.same_id.get(event.event_id, ()) if event.event_id is not None else ())


class FlowBuffer:
    """Holds events and releases them with their flows. Times are seconds of a monotonic clock."""

    def __init__(self, window: EventWindow, hold: float, max_held: int) -> None:
        self._window, self._hold, self._max_held = window, hold, max_held
        self._held: dict[int, BufferedEvent] = {}
        self._fresh: deque[BufferedEvent] = deque()
        """Arrival order, which is the order in which they are due: most are examined only once."""
        self._queue: list[tuple[float, int, BufferedEvent]] = []
        """Events that must wait longer."""
        self._number = 0
        self._latest: dict[int, float] = {}
        self._consumed: dict[str, set[Stream]] = {}
        self._bytes = 0
        self.early = 0
        """Number of events that were released before their flow was quiet."""

    def __len__(self) -> int:
        return len(self._held)

    def hold(
        self,
        event: Event,
        span: ExportSpan,
        now: float,
        edge_recorded: bool,
        headers: Headers | None = None,
        body: Any = None,
    ) -> None:
        """Hold an event."""
        buffered = BufferedEvent(event, span, edge_recorded, now, now + self._hold, headers, body)
        self._held[id(event)] = buffered
        if body is not None:
            self._bytes += _count_body_bytes(buffered)
        self._fresh.append(buffered)

    def due(self, now: float) -> Iterator[QuietFlow]:
        """Release the flows that are quiet now, and the oldest ones if too many events are held."""
        while self._fresh or self._queue:
            over_limit = len(self._held) > self._max_held or self._bytes > MAX_BODY_BYTES
            buffered = self._pop(_END_OF_TIME if over_limit else now)
            if buffered is None:
                return
            if not buffered.waiting:
                continue
            if buffered.due > now and not over_limit:
                self._push(buffered)
                continue
            flow, ids_differ = self._window.flow(buffered.event)
            if len(flow) == 1:
                self.early += buffered.since + self._hold > now
                yield self._release_single(buffered)
                continue
            members = self._entries_of(flow)
            since = [member.since for member in members]
            quiet_at = max(since) + self._hold
            due = min(quiet_at, min(since) + MAX_HOLD_FACTOR * self._hold)
            if due > now and not over_limit:
                for member in members:
                    member.due = due
                self._push(buffered)
                continue
            if quiet_at > now:
                self.early += len(members)
            yield self._release_flow(flow, members, ids_differ)

    def all(self) -> Iterator[QuietFlow]:
        """Release every flow in its current state, at shutdown."""
        while (buffered := self._pop(_END_OF_TIME)) is not None:
            if buffered.waiting:
                flow, ids_differ = self._window.flow(buffered.event)
                yield (
                    self._release_single(buffered)
                    if len(flow) == 1
                    else self._release_flow(flow, self._entries_of(flow), ids_differ)
                )

    def _pop(self, until: float) -> BufferedEvent | None:
        """Take the event that is due next, if it is due by `until`."""
        fresh, queue = self._fresh, self._queue
        if fresh and (not queue or fresh[0].since + self._hold <= queue[0][0]):
            return fresh.popleft() if fresh[0].since + self._hold <= until else None
        return heapq.heappop(queue)[2] if queue and queue[0][0] <= until else None

    def _push(self, buffered: BufferedEvent) -> None:
        self._number += 1
        heapq.heappush(self._queue, (buffered.due, self._number, buffered))

    def _entries_of(self, flow: Sequence[Event]) -> list[BufferedEvent]:
        held = self._held
        return [buffered for event in flow if (buffered := held.get(id(event))) is not None]

    def _release_single(self, buffered: BufferedEvent) -> QuietFlow:
        """Release an event that no other is joined to."""
        self._forget(buffered)
        event = buffered.event
        return QuietFlow(
            [event], _NO_PARENT, _NO_GUESS, [buffered], trace_id_of(event, _find_no_event, {}), _NONE_ALIKE
        )

    def _forget(self, buffered: BufferedEvent) -> None:
        buffered.waiting = False
        del self._held[id(buffered.event)]
        if buffered.body is not None:
            self._bytes -= _count_body_bytes(buffered)

    def _release_flow(self, flow: list[Event], members: list[BufferedEvent], ids_differ: bool) -> QuietFlow:
        """Release a flow. `ids_differ`: the event ids of the flow are known to differ."""
        for member in members:
            self._forget(member)
        self._learn(flow)
        events = flow if _is_ordered(flow) else sorted(flow, key=moment)
        parents = find_stated_parents(events)
        # The earliest event has no earlier one that could be inferred.
        guesses = infer_parents(events, parents, self._consumed) if None in parents[1:] else {}
        for number, parent in guesses.items():
            parents[number] = parent
        same_id = {} if ids_differ else _group_same_ids(flow)
        if len(members) == len(flow) and events is flow:
            waited: list[BufferedEvent | None] = [*members]
        else:
            by_event = {id(member.event): member for member in members}
            waited = [by_event.get(id(event)) for event in events]
        return QuietFlow(events, parents, guesses, waited, self._trace_id(events, members), same_id)

    def _trace_id(self, events: Sequence[Event], members: Sequence[BufferedEvent]) -> int:
        """Return the trace of the flow's events that carry none.

        If an event of the flow was sent under a trace before, the others join it.
        """
        if len(members) < len(events):
            # Events that were held until now have no decision yet.
            for event in events:
                if event.trace_id is None and (decision := self._window.decision(event)) is not None:
                    return decision.trace_id
        for event in events:
            if event.trace_id is not None:
                return event.trace_id
        if events[0].correlation_id is not None:
            return derive_trace_id(events[0].correlation_id)
        by_id = {event.event_id: event for event in reversed(events) if event.event_id is not None}
        return trace_id_of(events[0], by_id.get, {})

    def _learn(self, flow: Sequence[Event]) -> None:
        """Remember which streams the producers consume."""
        effects = [event for event in flow if event.producer is not None and cause_of(event) is not None]
        if not effects:
            return
        by_id = {event.event_id: event for event in reversed(flow)}
        for event in effects:
            cause = by_id.get(cause_of(event))
            if cause is not None and event.producer is not None:
                if len(self._consumed) >= MAX_PRODUCERS:
                    self._consumed.clear()
                self._consumed.setdefault(event.producer, set()).add(stream_of(cause))


def _count_body_bytes(buffered: BufferedEvent) -> int:
    return 0 if buffered.body is None or buffered.span.size is None else buffered.span.size


def _find_no_event(event_id: str) -> None:
    return None


def _is_ordered(flow: Sequence[Event]) -> bool:
    """Check whether these events are ordered by moment already, as they mostly are."""
    latest = -1
    for event in flow:
        occurred = event.occurred_at
        if occurred is None:
            occurred = event.appended_at * 1000
        if occurred <= latest:
            return False
        latest = occurred
    return True


def _group_same_ids(flow: Sequence[Event]) -> dict[str, list[Event]]:
    """Group the events that share an event id."""
    if len({event.event_id for event in flow}) == len(flow):
        return {}
    same_id: dict[str, list[Event]] = {}
    for event in flow:
        if event.event_id is not None:
            same_id.setdefault(event.event_id, []).append(event)
    return {event_id: same for event_id, same in same_id.items() if len(same) > 1}
