"""Where the spans of quiet flows belong: whose trace, below whom, sent or left out; and what would change of those that
were sent already, which is counted.
"""

from __future__ import annotations

from collections.abc import Callable

from exporters.tracing.event_window import EventWindow, SamplingDecision
from exporters.tracing.flow_buffer import QuietFlow
from exporters.tracing.sampling import TailSampler, in_sample
from exporters.tracing.span_mapper import ExportSpan, SpanMapper, SpanParent
from sidecar.domain.model import Event

Edge = Callable[[Event, Event, int | None, int], None]
"""Hears of a cause, its effect, the effect's trace and span id."""
Rejected = Callable[[Event, int | None], None]
"""Hears of a rejected event and its trace."""


class SpanPlacer:
    """Finishes the spans of events that waited. `bound`: of the trace ids that are in the sample; None: all are."""

    def __init__(
        self,
        recent: EventWindow,
        mapper: SpanMapper,
        *,
        tail: TailSampler | None,
        bound: int | None,
        edge: Edge | None,
        rejected: Rejected | None,
    ) -> None:
        self._recent, self._mapper, self._tail, self._bound = recent, mapper, tail, bound
        self._edge, self._rejected = edge, rejected
        self.fruitless = 0
        """Events in a row that waited in vain for the cause that they name."""
        self.unsampled = 0
        """Spans that sampling left out."""
        self.changed = 0
        """Spans that would be different if they were sent now: their cause, or more of their flow, came later."""

    def spans_of(self, drawn: QuietFlow) -> list[ExportSpan]:
        """The spans of those that waited, but for what sampling leaves out."""
        whole = None if self._tail is None else self._keeps(self._tail, drawn)
        commit, finish, bound = self._recent.record_decision, self._mapper.finish, self._bound
        events, waited, inferred = drawn.events, drawn.waited, drawn.inferred
        spans: list[ExportSpan] = []
        for number, (seen, above) in enumerate(zip(waited, drawn.parents, strict=True)):
            if seen is None:
                continue
            event = seen.event
            trace_id = drawn.trace_id if event.trace_id is None else event.trace_id
            cause = None if above is None else events[above]
            kept = (bound is None or in_sample(trace_id, bound)) if whole is None else whole
            commit(SamplingDecision(event, trace_id, cause, kept))
            if event.rejection is not None and self._rejected is not None:
                self._rejected(event, trace_id)
            guessed = number in inferred
            if event.causation_id is not None:
                self.fruitless = self.fruitless + 1 if above is None or guessed else 0
            if cause is not None and not guessed and not seen.told:
                self.tell(cause, event, trace_id)
            if not kept:
                self.unsampled += 1
                continue
            parent = None
            # A sender's span that is told is a better parent than a guess.
            if above is not None and cause is not None and (not guessed or event.span_id is None):
                beside = waited[above]
                if beside is None:
                    parent = self.above(cause, trace_id, guessed)
                else:
                    parent = SpanParent(drawn.trace_of(cause), beside.span.span_id, guessed)
            finish(seen.span, trace_id, parent, drawn.first(event) if drawn.same_id else None)
            spans.append(seen.span)
        if None in waited:
            self._count_changes(drawn)
        return spans

    def _keeps(self, tail: TailSampler, drawn: QuietFlow) -> bool:
        decisions = [self._recent.decision(event) for event in drawn.events]
        # What comes after a flow was kept belongs to what was sent of it.
        if any(decision is not None and decision.kept for decision in decisions):
            return True
        payloads = {id(seen.event): (seen.headers, seen.body) for seen in drawn.waited if seen is not None}
        kept = tail.keeps(drawn.nodes(), payloads)
        if kept:
            self.changed += sum(decision is not None for decision in decisions)
        return kept

    def _count_changes(self, drawn: QuietFlow) -> None:
        """What went before with this flow, and would hang elsewhere by now."""
        for event, above, waited in zip(drawn.events, drawn.parents, drawn.waited, strict=True):
            decision = None if waited is not None else self._recent.decision(event)
            if decision is None or not decision.kept:
                continue
            cause = None if above is None else drawn.events[above]
            if decision.trace_id != drawn.trace_of(event) or decision.parent is not cause:
                self.changed += 1
                self._recent.record_decision(SamplingDecision(event, decision.trace_id, cause, True))

    def tell(self, cause: Event, event: Event, trace_id: int | None) -> None:
        """That the cause of an event is known."""
        if self._edge is not None and cause is not event:
            self._edge(cause, event, trace_id, self._mapper.span_id_at(event.position))

    def trace_of(self, event: Event, otherwise: int) -> int:
        """The trace that an event's span is in; `otherwise` where that is not known."""
        if event.trace_id is not None:
            return event.trace_id
        decision = self._recent.decision(event)
        return otherwise if decision is None else decision.trace_id

    def above(self, cause: Event, otherwise: int, inferred: bool = False) -> SpanParent:
        """The cause as whom its effect hangs from."""
        return SpanParent(self.trace_of(cause, otherwise), self._mapper.span_id_at(cause.position), inferred)
