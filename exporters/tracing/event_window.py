"""The events of the last while, by what joins them: who caused this one, what is it a duplicate of, what is its flow.

Bounded by two generations: once the younger one is full, the older is forgotten and a new one begun. Only events are
kept, no payloads. An index answers the same questions better; it is asked by people, this for every event.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec import Struct

from sidecar.domain.correlation.derived_trace_id import cause_of
from sidecar.domain.model import Event

USUAL = 64
"""Characters of an id; a longer one counts as several events, so that memory is bounded whatever comes."""


class _WindowGeneration:
    __slots__ = ("caused", "correlations", "count", "decisions", "ids", "mixed", "spans", "traces")

    def __init__(self) -> None:
        self.count = 0
        self.ids: dict[str, Event] = {}
        """The first with each event id."""
        self.spans: dict[int, Event] = {}
        """The first that each span sent."""
        self.correlations: dict[str, list[Event]] = {}
        self.caused: dict[str, Event | list[Event]] = {}
        """By the event that they name as their cause; mostly it is one."""
        self.traces: dict[int, list[Event]] = {}
        self.mixed: set[str] = set()
        """Correlation ids whose events may be joined to others, or be the same event twice."""
        self.decisions: dict[int, SamplingDecision] = {}
        """By the identity of the event."""


class SamplingDecision(Struct, frozen=True, gc=False):
    """What was decided about an event whose flow had to be known."""

    event: Event
    trace_id: int
    parent: Event | None
    kept: bool


class EventWindow:
    """The latest events, at least `most` and at most twice as many; fewer where their ids are long. `by_trace`: a trace
    id joins them too."""

    def __init__(self, most: int, join: Collection[str], max_flow: int, *, by_trace: bool = False) -> None:
        self._most, self._max_flow = most, max_flow
        self._correlation, self._causation = "correlation" in join, "causation" in join
        self._by_trace = by_trace and "trace" in join
        self._young, self._old = _WindowGeneration(), _WindowGeneration()

    def note(self, event: Event, cause: Event | None) -> Event | None:
        """Take an event in, and what `cause` said of it before. Returns the first with its event id, where that is
        another one."""
        young = self._young
        young.count += 1
        if young.count > self._most:
            self._old, self._young = young, _WindowGeneration()
            young = self._young
        first = None
        id = event.event_id
        if id is not None:
            if len(id) > USUAL:
                young.count += len(id) // USUAL
            first = young.ids.setdefault(id, event)
            if first is event:
                first = self._old.ids.get(id)
        span = event.span_id
        if span is not None:
            young.spans.setdefault(span, event)
        correlation = event.correlation_id
        if correlation is not None and self._correlation:
            if id in young.caused or id in self._old.caused:  # its effects came before it
                self._mix(event)
            if len(correlation) > USUAL:
                young.count += len(correlation) // USUAL
            joined = young.correlations.get(correlation)
            if joined is None:
                young.correlations[correlation] = [event]
            else:
                joined.append(event)
        causation = event.causation_id
        if causation is not None and self._causation:
            if len(causation) > USUAL:
                young.count += len(causation) // USUAL
            other = young.caused.setdefault(causation, event)
            if isinstance(other, list):
                other.append(event)
            elif other is not event:
                young.caused[causation] = [other, event]
            if cause is None or cause.event_id != causation:
                self._mix(event)
            elif cause.correlation_id != correlation:
                self._mix(event, cause)
        if first is not None:
            self._mix(event, first)
        if self._by_trace and event.trace_id is not None:
            young.traces.setdefault(event.trace_id, []).append(event)
        return first

    def _mix(self, *events: Event) -> None:
        self._young.mixed.update([event.correlation_id for event in events if event.correlation_id is not None])

    def cause(self, event: Event) -> Event | None:
        """The event that this one names as its cause: by its causation id, else by the span that its sender's hung
        from, within one trace."""
        id = cause_of(event)
        if id is not None:
            found = self._young.ids.get(id) or self._old.ids.get(id)
            if found is not None:
                return found
        span = event.parent_span_id
        if span is not None:
            found = self._young.spans.get(span) or self._old.spans.get(span)
            if found is not None and found is not event and found.trace_id == event.trace_id:
                return found
        return None

    def flow(self, event: Event) -> tuple[list[Event], bool]:
        """The events that are joined to this one, itself included, at most `max_flow`; a key that joins more than that
        joins none. And whether it is known that no two of them have one id."""
        flow = None if self._by_trace else self._plain_flow(event)
        return (self._closure(event), False) if flow is None else (flow, True)

    def _plain_flow(self, event: Event) -> list[Event] | None:
        """The same where it can be told at once: nothing joins this event, or its correlation id alone does."""
        old, young, correlation = self._old, self._young, event.correlation_id
        if correlation is None:
            own = event.event_id
            joined = event.causation_id is not None or own in young.caused or own in old.caused
            return None if joined else [event]
        if not self._correlation or correlation in young.mixed or correlation in old.mixed:
            return None
        later, earlier = young.correlations.get(correlation), old.correlations.get(correlation)
        flow = later if earlier is None else earlier if later is None else None
        # The event itself is not in it where it waits for longer than is remembered.
        if flow is None or len(flow) > self._max_flow or not (flow[0] is event or any(one is event for one in flow)):
            return None
        return flow.copy()

    def _closure(self, event: Event) -> list[Event]:
        old, young = self._old, self._young
        flow = [event]
        found = {id(event)}
        correlations: set[str] = set()
        causes: set[str] = set()
        traces: set[int] = set()
        for event in flow:  # which grows meanwhile
            correlation, own, cause = event.correlation_id, event.event_id, event.causation_id
            if correlation is not None and self._correlation and correlation not in correlations:
                correlations.add(correlation)
                self._take(_both(old.correlations.get(correlation), young.correlations.get(correlation)), found, flow)
            if self._causation:
                for named in (cause, own):
                    if named is not None and named not in causes:
                        causes.add(named)
                        if named in young.caused or named in old.caused:
                            self._take_caused(named, found, flow)
            trace = event.trace_id
            if self._by_trace and trace is not None and trace not in traces:
                traces.add(trace)
                self._take(_both(old.traces.get(trace), young.traces.get(trace)), found, flow)
            if len(flow) > self._max_flow:
                break
        return flow

    def _take_caused(self, cause: str, found: set[int], flow: list[Event]) -> None:
        """Those that name this event as their cause, and it."""
        old, young = self._old, self._young
        joined = _both(_listed(old.caused.get(cause)), _listed(young.caused.get(cause)))
        named = old.ids.get(cause) or young.ids.get(cause)
        if len(joined) + (named is not None) <= self._max_flow:
            self._take(joined, found, flow)
            if named is not None and id(named) not in found:
                found.add(id(named))
                flow.append(named)

    def _take(self, joined: Sequence[Event], found: set[int], flow: list[Event]) -> None:
        if len(joined) <= self._max_flow:
            for event in joined:
                if id(event) not in found:
                    found.add(id(event))
                    flow.append(event)

    # --- what was decided

    def record_decision(self, decision: SamplingDecision) -> None:
        """Remember what was decided about an event."""
        self._young.decisions[id(decision.event)] = decision

    def decision(self, event: Event) -> SamplingDecision | None:
        """What was decided about this very event."""
        return self._young.decisions.get(id(event)) or self._old.decisions.get(id(event))


def _both(old: list[Event] | None, young: list[Event] | None) -> Sequence[Event]:
    if old is None:
        return young or ()
    return old if young is None else [*old, *young]


def _listed(found: Event | list[Event] | None) -> list[Event] | None:
    return found if found is None or isinstance(found, list) else [found]
