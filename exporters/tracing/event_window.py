"""Window of recent events that finds the cause, the duplicates and the flow of an event.

Two generations bound it: when the younger one is full, the older one is dropped and a new one begins. It keeps events
without payloads. The index answers the same queries more completely, but it serves users; the window is queried for
every event.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec import Struct

from sidecar.domain.derived_ids import cause_of
from sidecar.domain.model import Event

TYPICAL_ID_CHARS = 64
"""Length above which an id counts as several events, so that memory is bounded for any input."""


class _WindowGeneration:
    __slots__ = ("caused", "causes", "correlations", "count", "decisions", "ids", "mixed", "spans", "traces")

    def __init__(self) -> None:
        self.count = 0
        self.ids: dict[str, Event] = {}
        """First event with each event id."""
        self.spans: dict[int, Event] = {}
        """First event that each span sent."""
        self.correlations: dict[str, list[Event]] = {}
        self.caused: dict[str, Event | list[Event]] = {}
        """Events by the event id that they name as their cause; mostly one."""
        self.causes: dict[str, str | None] = {}
        """The correlation id that all events around a cause share, the cause and its effects; None if they differ.

        It outlives the events by which they differ, so that it holds for those that name the same cause later."""
        self.traces: dict[int, list[Event]] = {}
        self.mixed: set[str] = set()
        """Correlation ids with events that other keys may join too, or with duplicates."""
        self.decisions: dict[int, SamplingDecision] = {}
        """Decisions by `id()` of the event."""


class SamplingDecision(Struct, frozen=True, gc=False):
    """Trace, parent and sampling decision of an event."""

    event: Event
    trace_id: int
    parent: Event | None
    kept: bool


class EventWindow:
    """The latest events.

    Args:
        max_generation_events: Size of a generation. The window holds at least this many events and at most twice as
            many; fewer if their ids are long.
        join: Keys that join events: `trace`, `correlation`, `causation`.
        max_flow: Number of events above which a key joins none.
        by_trace: Join events by trace id too.
    """

    def __init__(
        self, max_generation_events: int, join: Collection[str], max_flow: int, *, by_trace: bool = False
    ) -> None:
        self._max_generation_events, self._max_flow = max_generation_events, max_flow
        self._correlation, self._causation = "correlation" in join, "causation" in join
        self._by_trace = by_trace and "trace" in join
        self._young, self._old = _WindowGeneration(), _WindowGeneration()

    def note(self, event: Event, cause: Event | None) -> Event | None:
        """Add an event with its cause (see `cause`).

        Returns the first event with the same event id, if another event has it.
        """
        young = self._young
        young.count += 1
        if young.count > self._max_generation_events:
            self._old, self._young = young, _WindowGeneration()
            young = self._young
        first = None
        id = event.event_id
        if id is not None:
            if len(id) > TYPICAL_ID_CHARS:
                young.count += len(id) // TYPICAL_ID_CHARS
            first = young.ids.setdefault(id, event)
            if first is event:
                first = self._old.ids.get(id)
        span = event.span_id
        if span is not None:
            young.spans.setdefault(span, event)
        correlation = event.correlation_id
        if correlation is not None and self._correlation:
            if len(correlation) > TYPICAL_ID_CHARS:
                young.count += len(correlation) // TYPICAL_ID_CHARS
            joined = young.correlations.get(correlation)
            if joined is None:
                young.correlations[correlation] = [event]
            else:
                joined.append(event)
        causation = event.causation_id
        if causation is not None and self._causation:
            if len(causation) > TYPICAL_ID_CHARS:
                young.count += len(causation) // TYPICAL_ID_CHARS
            other = young.caused.setdefault(causation, event)
            if isinstance(other, list):
                other.append(event)
            elif other is not event:
                young.caused[causation] = [other, event]
            if cause is not None and cause.event_id == causation:
                self._join_cause(causation, correlation, cause.correlation_id)
            else:
                self._join_cause(causation, correlation, correlation)
        if id is not None and (id in young.causes or id in self._old.causes):  # its effects arrived before it
            self._join_cause(id, correlation, correlation)
        if first is not None:
            self._mix(correlation, first.correlation_id)
        if self._by_trace and event.trace_id is not None:
            young.traces.setdefault(event.trace_id, []).append(event)
        return first

    def _join_cause(self, cause: str, effect_correlation: str | None, cause_correlation: str | None) -> None:
        """Note that a cause joins events with these correlation ids."""
        young = self._young
        shared = young.causes.get(cause, self._old.causes.get(cause, effect_correlation))
        if effect_correlation != cause_correlation or effect_correlation != shared:
            self._mix(effect_correlation, cause_correlation, shared)
            shared = None
        young.causes[cause] = shared

    def _mix(self, *correlations: str | None) -> None:
        self._young.mixed.update([correlation for correlation in correlations if correlation is not None])

    def cause(self, event: Event) -> Event | None:
        """Find the cause that an event names: by causation id, else by the parent of the sender's span in one trace."""
        id = cause_of(event)
        if id is not None:
            cause = self._young.ids.get(id) or self._old.ids.get(id)
            if cause is not None:
                return cause
        span = event.parent_span_id
        if span is not None:
            cause = self._young.spans.get(span) or self._old.spans.get(span)
            if cause is not None and cause is not event and cause.trace_id == event.trace_id:
                return cause
        return None

    def flow(self, event: Event) -> tuple[list[Event], bool]:
        """Return the events joined to this one, itself included, and whether their event ids are known to differ.

        A key that joins more than `max_flow` events joins none.
        """
        flow = None if self._by_trace else self._plain_flow(event)
        return (self._closure(event), False) if flow is None else (flow, True)

    def _plain_flow(self, event: Event) -> list[Event] | None:
        """Return the flow if no key joins this event, or its correlation id alone does; else None."""
        old, young, correlation = self._old, self._young, event.correlation_id
        if correlation is None:
            own = event.event_id
            joined = event.causation_id is not None or own in young.caused or own in old.caused
            return None if joined else [event]
        if not self._correlation or correlation in young.mixed or correlation in old.mixed:
            return None
        later, earlier = young.correlations.get(correlation), old.correlations.get(correlation)
        flow = later if earlier is None else earlier if later is None else None
        # The event is missing if it was held for longer than the window remembers.
        if (
            flow is None
            or len(flow) > self._max_flow
            or not (flow[0] is event or any(member is event for member in flow))
        ):
            return None
        return flow.copy()

    def _closure(self, event: Event) -> list[Event]:
        old, young = self._old, self._young
        flow = [event]
        member_ids = {id(event)}
        correlations: set[str] = set()
        causes: set[str] = set()
        traces: set[int] = set()
        for event in flow:  # the loop appends to it
            correlation, own, cause = event.correlation_id, event.event_id, event.causation_id
            if correlation is not None and self._correlation and correlation not in correlations:
                correlations.add(correlation)
                self._take(
                    _join_lists(old.correlations.get(correlation), young.correlations.get(correlation)),
                    member_ids,
                    flow,
                )
            if self._causation:
                for named in (cause, own):
                    if named is not None and named not in causes:
                        causes.add(named)
                        if named in young.caused or named in old.caused:
                            self._take_caused(named, member_ids, flow)
            trace = event.trace_id
            if self._by_trace and trace is not None and trace not in traces:
                traces.add(trace)
                self._take(_join_lists(old.traces.get(trace), young.traces.get(trace)), member_ids, flow)
            if len(flow) > self._max_flow:
                break
        return flow

    def _take_caused(self, cause: str, member_ids: set[int], flow: list[Event]) -> None:
        """Add the events that name this cause, and the cause itself."""
        old, young = self._old, self._young
        joined = _join_lists(_as_list(old.caused.get(cause)), _as_list(young.caused.get(cause)))
        named = old.ids.get(cause) or young.ids.get(cause)
        if len(joined) + (named is not None) <= self._max_flow:
            self._take(joined, member_ids, flow)
            if named is not None and id(named) not in member_ids:
                member_ids.add(id(named))
                flow.append(named)

    def _take(self, joined: Sequence[Event], member_ids: set[int], flow: list[Event]) -> None:
        if len(joined) <= self._max_flow:
            for event in joined:
                if id(event) not in member_ids:
                    member_ids.add(id(event))
                    flow.append(event)

    # --- sampling decisions

    def record_decision(self, decision: SamplingDecision) -> None:
        """Remember the decision about an event."""
        self._young.decisions[id(decision.event)] = decision

    def decision(self, event: Event) -> SamplingDecision | None:
        """Return the decision about this event object."""
        return self._young.decisions.get(id(event)) or self._old.decisions.get(id(event))


def _join_lists(old: list[Event] | None, young: list[Event] | None) -> Sequence[Event]:
    if old is None:
        return young or ()
    return old if young is None else [*old, *young]


def _as_list(events: Event | list[Event] | None) -> list[Event] | None:
    return events if events is None or isinstance(events, list) else [events]
