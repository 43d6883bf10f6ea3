"""Exporter that turns events into spans and sends them to the backends, with sampling and buffering.

An event that carries its trace, and whose parent is known at once, becomes a span at once. All others wait until their
flow is quiet (`exporters.tracing.flow_buffer`), as do events that name a cause which has not arrived; with tail
sampling all events wait. Nothing here blocks, and every span that is not sent is counted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import structlog

from exporters.tracing.cloudevent_link import find_starting_link
from exporters.tracing.event_window import EventWindow
from exporters.tracing.flow_buffer import FlowBuffer, QuietFlow
from exporters.tracing.late_rejections import UncheckedPositions
from exporters.tracing.sampling import TailSampler, in_sample, sample_bound
from exporters.tracing.span_mapper import ExportSpan, SpanMapper
from exporters.tracing.span_placement import EdgeCallback, RejectionCallback, SpanPlacer
from exporters.tracing.span_sink import SpanSink
from sidecar.config.schema import ExportersConfig, SamplingConfig
from sidecar.domain.correlation.hops import hop_root
from sidecar.domain.model import Decoded, Event
from sidecar.domain.redaction import Redactor

log = structlog.get_logger()

MIN_WINDOW_EVENTS = 16_384
"""Minimum number of recent events among which causes and duplicates are found."""
MAX_MISSING_CAUSES = 10_000
"""Causes that have not arrived yet, kept to count the spans that their arrival changes."""
MAX_UNCAUSED_EVENTS = 50_000
"""Number of consecutive events without a causation id after which causes are not looked up until an event names one."""
MAX_UNRESOLVED_CAUSES = 1_000
"""Number of consecutive events that waited in vain for their cause, after which events no longer wait until a cause
arrives: the causes are on streams that are not watched."""
POLL_INTERVAL_S = 0.25
"""Interval between two searches for quiet flows."""
MAX_SPANS_PER_SLICE = 200
"""Spans of quiet flows to create before yielding to the event loop."""


class TraceExporter:
    """Turns events into spans (`sidecar.domain.ports.exporter.Exporter`).

    Args:
        on_edge: Called for every event with a known cause, with its trace and span id.
        on_rejection: Called for every rejection once its trace is known.
    """

    name = "traces"

    def __init__(
        self,
        backends: Sequence[SpanSink],
        mapper: SpanMapper,
        settings: ExportersConfig,
        sampling: SamplingConfig,
        *,
        join: Sequence[str],
        max_flow: int,
        redactor: Redactor | None = None,
        on_edge: EdgeCallback | None = None,
        on_rejection: RejectionCallback | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.backends = list(backends)
        self._mapper, self._clock, self._on_rejection = mapper, clock, on_rejection
        self._unchecked = UncheckedPositions()
        self._uncaused = 0
        """Events since the last one that named its cause."""
        self._tail = TailSampler(sampling) if sampling.keep == "tail" else None
        self._bound = sample_bound(sampling.ratio or 0.0) if sampling.keep == "ratio" else None
        self._all = sampling.keep == "always"
        self._payloads = self._tail is not None and self._tail.query is not None and self._tail.query.needs_payload
        # Without a backend only edges are measured.
        window_events = max(MIN_WINDOW_EVENTS, settings.max_held) if self.backends else MIN_WINDOW_EVENTS // 2
        self._recent = EventWindow(window_events, join, max_flow, by_trace=self._tail is not None)
        self._placer = SpanPlacer(
            self._recent, mapper, tail=self._tail, bound=self._bound, on_edge=on_edge, on_rejection=on_rejection
        )
        self._max_held = settings.max_held
        self._flows = FlowBuffer(self._recent, float(settings.hold), settings.max_held)
        self._redactor = redactor if redactor is not None and redactor.active else None
        self._missing: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None

    # --- events

    def offer(self, decoded: Sequence[Decoded]) -> None:
        """Take a decoded batch. Never blocks, and never raises for an event's content."""
        if not decoded:
            return
        if not self.backends:
            self._measure(decoded)
            return
        recent, mapper, redactor, bound, tail = self._recent, self._mapper, self._redactor, self._bound, self._tail
        note, missing = recent.note, self._missing
        place = mapper.place(decoded[0].event.position)
        log = place.log
        spans: list[ExportSpan] = []
        held: list[ExportSpan] = []
        now = self._clock()
        for item in decoded:
            event, value = item.event, item.record.value
            if (event.unchecked or event.rejection is not None) and self._was_sent(event):
                continue
            cause, trace_id = None, event.trace_id
            if event.causation_id is not None or event.parent_span_id is not None:
                cause = recent.cause(event)
                if cause is not None and trace_id is not None:
                    self._placer.record_edge(cause, event, trace_id)
            first = note(event, cause)
            if missing and event.event_id in missing:
                self._placer.changed_spans += missing.pop(event.event_id)
                self._placer.unresolved_cause_streak = 0
            position = event.position
            if position.partition != log.number or position.stream != log.stream or position.system != log.system:
                place = mapper.place(position)
                log = place.log
            size = None if value is None else len(value)
            shown = event if redactor is None else redactor.event(event)
            waits = tail is not None or trace_id is None or (cause is None and event.span_id is None)
            if not waits and cause is None and event.causation_id is not None:
                # Streams are read in parallel: the cause may arrive in a moment.
                waits = self._placer.unresolved_cause_streak < MAX_UNRESOLVED_CAUSES
                if not waits:
                    self._miss(event.causation_id)
            if waits or trace_id is None:
                span = mapper.begin(shown, size, place, find_starting_link(item, redactor))
                if self._hold(item, span, now, cause):
                    held.append(span)
                continue
            if event.rejection is not None and self._on_rejection is not None:
                self._on_rejection(event, trace_id)
            if bound is not None and not in_sample(trace_id, bound):
                self._placer.unsampled += 1
                continue
            span = mapper.begin(shown, size, place, find_starting_link(item, redactor))
            parent = None if cause is None or cause is event else self._placer.parent_span(cause, trace_id)
            mapper.finish(span, trace_id, parent, None if first is None else _find_original(event, first))
            spans.append(span)
        self._send(spans)
        if held and self._all:
            for backend in self.backends:
                backend.begin(held)

    def _was_sent(self, event: Event) -> bool:
        """Return True if the span of this event was sent before, while the event was unchecked.

        Its rejection is reported; its span is not sent twice.
        """
        if not self._unchecked.became_rejected(event):
            return False
        self._placer.changed_spans += 1
        if self._on_rejection is not None:
            self._on_rejection(event, self.trace_of(event))
        return True

    def _measure(self, decoded: Sequence[Decoded]) -> None:
        """Report edges and rejections of a batch where no backend is configured."""
        if any(item.event.causation_id is not None or item.event.parent_span_id is not None for item in decoded):
            self._uncaused = 0
        elif self._uncaused > MAX_UNCAUSED_EVENTS and self._on_rejection is None:
            return  # no producer here names causes: no event needs to be remembered for them
        self._uncaused += len(decoded)
        recent = self._recent
        for item in decoded:
            event = item.event
            if event.rejection is not None and self._on_rejection is not None:
                self._on_rejection(event, event.trace_id)
            cause = None
            if event.causation_id is not None or event.parent_span_id is not None:
                cause = recent.cause(event)
                if cause is not None:
                    self._placer.record_edge(cause, event, event.trace_id)
            recent.note(event, cause)

    def remember(self, events: Sequence[Event]) -> None:
        """Remember events from before the start. Their spans are not sent, but they can be parents."""
        for event in events:
            self._recent.note(event, self._recent.cause(event))

    def _hold(self, decoded: Decoded, span: ExportSpan, now: float, cause: Event | None) -> bool:
        """Hold an event until its flow is quiet. Returns False if the buffer is full."""
        edge_recorded = cause is not None and decoded.event.trace_id is not None
        if len(self._flows) >= 2 * self._max_held:  # events arrive faster than quiet flows are sent
            if cause is not None and not edge_recorded:
                self._placer.record_edge(cause, decoded.event, None)
            for backend in self.backends:
                backend.outbox.drop(1)
            return False
        if not self._payloads:
            self._flows.hold(decoded.event, span, now, edge_recorded)
            return True
        redactor = self._redactor
        headers = decoded.record.headers if redactor is None else redactor.record(decoded.record).headers
        flat = decoded.record.value is None
        body = decoded.body if redactor is None else redactor.body(decoded.body, flat=flat)
        self._flows.hold(decoded.event, span, now, edge_recorded, headers, body)
        return True

    def _miss(self, causation_id: str) -> None:
        if len(self._missing) >= MAX_MISSING_CAUSES:
            self._missing.clear()
        self._missing[causation_id] = self._missing.get(causation_id, 0) + 1

    def _send(self, spans: Sequence[ExportSpan]) -> None:
        if not spans:
            return
        for backend in self.backends:
            backend.offer(spans)

    # --- quiet flows

    def start(self) -> None:
        """Start sending quiet flows in the background, until `close`."""
        self._task = asyncio.create_task(self._send_quiet_flows(), name="spans of quiet flows")
        self._task.add_done_callback(_log_failure)

    async def _send_quiet_flows(self) -> None:
        while True:
            await asyncio.sleep(POLL_INTERVAL_S)
            for _ in self.quiet():
                await asyncio.sleep(0)

    def quiet(self) -> Iterator[int]:
        """Send the flows that are quiet now (see `send`)."""
        return self.send(self._flows.due(self._clock()))

    def send(self, flows: Iterable[QuietFlow]) -> Iterator[int]:
        """Create the spans of these flows and send them in slices.

        A slice holds many small flows, so that a backend is not called for each. Yields the number of events after each
        slice, so that the caller can yield to the event loop.
        """
        spans: list[ExportSpan] = []
        events = 0
        for flow in flows:
            spans += self._placer.create_spans(flow)
            events += len(flow.events)
            if events >= MAX_SPANS_PER_SLICE:
                self._send(spans)
                yield events
                spans, events = [], 0
        self._send(spans)
        yield events

    # --- state

    @property
    def held(self) -> int:
        """Number of events that wait until their flow is quiet."""
        return len(self._flows)

    @property
    def early(self) -> int:
        """Number of events whose spans were sent before their flow was quiet."""
        return self._flows.early

    @property
    def unsampled(self) -> int:
        """Number of spans that were not sampled."""
        return self._placer.unsampled

    @property
    def changed(self) -> int:
        """Number of sent spans that would be different if they were sent now."""
        return self._placer.changed_spans

    def count_changed(self) -> None:
        """Count a sent span that would be different now."""
        self._placer.changed_spans += 1

    @property
    def trouble(self) -> str | None:
        """Reason why a backend currently accepts nothing, or None."""
        return next((backend.trouble for backend in self.backends if backend.trouble is not None), None)

    def trace_of(self, event: Event) -> int | None:
        """Return the trace of an event's span; None while its flow is not quiet."""
        return self._placer.trace_of(event, 0) or None

    def counts(self) -> tuple[int, int, int]:
        """Return the numbers of sent, dropped and failed spans."""
        if not self.backends:
            return 0, 0, 0
        sent, dropped, failed = zip(*(backend.counts() for backend in self.backends), strict=True)
        return sum(sent), sum(dropped), sum(failed)

    async def flush(self) -> None:
        """Send the held events, and stop searching for quiet flows."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
        for _ in self.send(self._flows.all()):
            pass

    async def close(self) -> None:
        """Send held events and queued spans, within a few seconds."""
        await self.flush()
        await asyncio.gather(*(backend.close() for backend in self.backends))


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("sending quiet flows stopped because of a bug in Tracecar; please report it", exc_info=error)


def _find_original(event: Event, first: Event) -> Event | None:
    """Return the event that this one duplicates. Replays, hops and their original do not duplicate each other."""
    if event.replay_of is not None or first.replay_of is not None or first.position == event.position:
        return None
    return None if (event.hop_of or first.hop_of) and hop_root(event) == hop_root(first) else first
