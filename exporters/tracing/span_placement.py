"""Placement of the spans of quiet flows: their trace, parent and sampling decision.

Spans that were sent already and would be different now are counted.
"""

from __future__ import annotations

from collections.abc import Callable

from exporters.tracing.event_window import EventWindow, SamplingDecision
from exporters.tracing.flow_buffer import QuietFlow
from exporters.tracing.sampling import TailSampler, in_sample
from exporters.tracing.span_mapper import ExportSpan, SpanMapper, SpanParent
from sidecar.domain.model import Event

EdgeCallback = Callable[[Event, Event, int | None, int], None]
"""Called with a cause, its effect, and the trace id and span id of the effect."""
RejectionCallback = Callable[[Event, int | None], None]
"""Called with a rejected event and its trace id."""


class SpanPlacer:
    """Finishes the spans of held events. `bound`: upper bound of sampled trace ids (`sample_bound`); None: all."""

    def __init__(
        self,
        window: EventWindow,
        mapper: SpanMapper,
        *,
        tail: TailSampler | None,
        bound: int | None,
        on_edge: EdgeCallback | None,
        on_rejection: RejectionCallback | None,
    ) -> None:
        self._window, self._mapper, self._tail, self._bound = window, mapper, tail, bound
        self._on_edge, self._on_rejection = on_edge, on_rejection
        self.unresolved_cause_streak = 0
        """Number of consecutive events that waited in vain for the cause that they name."""
        self.unsampled = 0
        """Number of spans that were not sampled."""
        self.changed_spans = 0
        """Number of sent spans that would be different now, because their cause, or more of their flow, arrived
        later."""

    def create_spans(self, flow: QuietFlow) -> list[ExportSpan]:
        """Create the spans of a flow's held events, without those that are not sampled."""
        flow_kept = None if self._tail is None else self._keeps(self._tail, flow)
        record, finish, bound = self._window.record_decision, self._mapper.finish, self._bound
        events, waited, inferred = flow.events, flow.waited, flow.inferred
        spans: list[ExportSpan] = []
        for number, (buffered, above) in enumerate(zip(waited, flow.parents, strict=True)):
            if buffered is None:
                continue
            event = buffered.event
            trace_id = flow.trace_id if event.trace_id is None else event.trace_id
            cause = None if above is None else events[above]
            kept = (bound is None or in_sample(trace_id, bound)) if flow_kept is None else flow_kept
            record(SamplingDecision(event, trace_id, cause, kept))
            if event.rejection is not None and self._on_rejection is not None:
                self._on_rejection(event, trace_id)
            guessed = number in inferred
            if event.causation_id is not None:
                self.unresolved_cause_streak = self.unresolved_cause_streak + 1 if above is None or guessed else 0
            if cause is not None and not guessed and not buffered.edge_recorded:
                self.record_edge(cause, event, trace_id)
            if not kept:
                self.unsampled += 1
                continue
            parent = None
            # The sender's span, where the record names it, is a better parent than an inferred one.
            if above is not None and cause is not None and (not guessed or event.span_id is None):
                held_cause = waited[above]
                if held_cause is None:
                    parent = self.parent_span(cause, trace_id, guessed)
                else:
                    parent = SpanParent(flow.trace_of(cause), held_cause.span.span_id, guessed)
            finish(buffered.span, trace_id, parent, flow.find_original(event) if flow.same_id else None)
            spans.append(buffered.span)
        if None in waited:
            self._count_changes(flow)
        return spans

    def _keeps(self, tail: TailSampler, flow: QuietFlow) -> bool:
        decisions = [self._window.decision(event) for event in flow.events]
        # Events that arrive after their flow was kept are kept too.
        if any(decision is not None and decision.kept for decision in decisions):
            return True
        payloads = {
            id(buffered.event): (buffered.headers, buffered.body) for buffered in flow.waited if buffered is not None
        }
        kept = tail.keeps(flow.nodes(), payloads)
        if kept:
            self.changed_spans += sum(decision is not None for decision in decisions)
        return kept

    def _count_changes(self, flow: QuietFlow) -> None:
        """Count the spans of this flow that were sent earlier and would have another parent or trace now."""
        for event, above, waited in zip(flow.events, flow.parents, flow.waited, strict=True):
            decision = None if waited is not None else self._window.decision(event)
            if decision is None or not decision.kept:
                continue
            cause = None if above is None else flow.events[above]
            if decision.trace_id != flow.trace_of(event) or decision.parent is not cause:
                self.changed_spans += 1
                self._window.record_decision(SamplingDecision(event, decision.trace_id, cause, True))

    def record_edge(self, cause: Event, event: Event, trace_id: int | None) -> None:
        """Report that the cause of an event is known."""
        if self._on_edge is not None and cause is not event:
            self._on_edge(cause, event, trace_id, self._mapper.span_id_at(event.position))

    def trace_of(self, event: Event, default: int) -> int:
        """Return the trace of an event's span, or `default` if it is unknown."""
        if event.trace_id is not None:
            return event.trace_id
        decision = self._window.decision(event)
        return default if decision is None else decision.trace_id

    def parent_span(self, cause: Event, default_trace: int, inferred: bool = False) -> SpanParent:
        """Return the span of a cause as the parent of its effect."""
        return SpanParent(self.trace_of(cause, default_trace), self._mapper.span_id_at(cause.position), inferred)
