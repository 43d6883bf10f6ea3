"""Traces of the events: from what passes to spans, through sampling and holding, to the backends.

An event that carries its trace and whose place in it can be told at once becomes a span at once. All others, and those
that name a cause which has not come yet, wait until their flow is quiet (`exporters.tracing.flow_buffer`); with tail
sampling all do.
Nothing here waits for anybody, and everything that is not sent is counted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import structlog

from exporters.tracing.event_window import EventWindow
from exporters.tracing.flow_buffer import FlowBuffer, QuietFlow
from exporters.tracing.late_rejections import UncheckedPositions
from exporters.tracing.sampling import TailSampler, bound_of, in_sample
from exporters.tracing.span_mapper import ExportSpan, SpanMapper
from exporters.tracing.span_placement import Edge, Rejected, SpanPlacer
from exporters.tracing.span_sink import SpanSink
from sidecar.config.schema import ExportersConfig, SamplingConfig
from sidecar.domain.model import Decoded, Event
from sidecar.domain.redaction import Redactor

log = structlog.get_logger()

RECENT = 16_384
"""Events that are remembered at least, to find causes and duplicates among them."""
MOST_MISSING = 10_000
"""Causes that had not come yet, remembered to count what their coming would change."""
UNCAUSED = 50_000
"""So many events without one that names its cause, and none is looked for any more until one does."""
FRUITLESS = 1_000
"""So many events in a row that wait in vain for their cause, and no more wait until a cause does come: theirs are on
streams that are not watched."""
LOOK_SECONDS = 0.25
"""From one look for quiet flows to the next."""
SLICE = 200
"""Spans of quiet flows that are made before others get their turn."""


class TraceExporter:
    """Turns what passes into spans (`sidecar.domain.ports.exporter.Exporter`). `edge` hears of every event whose
    cause is known, and of
    its trace and span id; `rejected` of every rejection, once it is known to which trace it belongs."""

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
        edge: Edge | None = None,
        rejected: Rejected | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.backends = list(backends)
        self._mapper, self._clock, self._rejected = mapper, clock, rejected
        self._unchecked = UncheckedPositions()
        self._uncaused = 0
        """Events since one named its cause."""
        self._tail = TailSampler(sampling) if sampling.keep == "tail" else None
        self._bound = bound_of(sampling.ratio or 0.0) if sampling.keep == "ratio" else None
        self._all = sampling.keep == "always"
        self._payloads = self._tail is not None and self._tail.query is not None and self._tail.query.needs_payload
        # Where nothing is sent, only edges are measured.
        most = max(RECENT, settings.max_held) if self.backends else RECENT // 2
        self._recent = EventWindow(most, join, max_flow, by_trace=self._tail is not None)
        self._placing = SpanPlacer(
            self._recent, mapper, tail=self._tail, bound=self._bound, edge=edge, rejected=rejected
        )
        self._max_held = settings.max_held
        self._flows = FlowBuffer(self._recent, float(settings.hold), settings.max_held)
        self._redactor = redactor if redactor is not None and redactor.active else None
        self._missing: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None

    # --- what passes

    def offer(self, decoded: Sequence[Decoded]) -> None:
        """Take a judged batch. Never waits, never raises for what an event holds."""
        if not decoded:
            return
        if not self.backends:
            self._watch(decoded)
            return
        recent, mapper, redactor, bound, tail = self._recent, self._mapper, self._redactor, self._bound, self._tail
        note, missing = recent.note, self._missing
        place = mapper.place(decoded[0].event.position)
        log = place.log
        spans: list[ExportSpan] = []
        held: list[ExportSpan] = []
        now = self._clock()
        for one in decoded:
            event, value = one.event, one.record.value
            if (event.unchecked or event.rejection is not None) and self._was_sent(event):
                continue
            cause, trace_id = None, event.trace_id
            if event.causation_id is not None or event.parent_span_id is not None:
                cause = recent.cause(event)
                if cause is not None and trace_id is not None:
                    self._placing.tell(cause, event, trace_id)
            first = note(event, cause)
            if missing and event.event_id in missing:
                self._placing.changed += missing.pop(event.event_id)
                self._placing.fruitless = 0
            position = event.position
            if position.partition != log.number or position.stream != log.stream or position.system != log.system:
                place = mapper.place(position)
                log = place.log
            size = None if value is None else len(value)
            shown = event if redactor is None else redactor.event(event)
            waits = tail is not None or trace_id is None or (cause is None and event.span_id is None)
            if not waits and cause is None and event.causation_id is not None:
                # Streams are read side by side: its cause may be only a moment away.
                waits = self._placing.fruitless < FRUITLESS
                if not waits:
                    self._miss(event.causation_id)
            if waits or trace_id is None:
                span = mapper.begin(shown, size, place)
                if self._hold(one, span, now, cause):
                    held.append(span)
                continue
            if event.rejection is not None and self._rejected is not None:
                self._rejected(event, trace_id)
            if bound is not None and not in_sample(trace_id, bound):
                self._placing.unsampled += 1
                continue
            span = mapper.begin(shown, size, place)
            parent = None if cause is None or cause is event else self._placing.above(cause, trace_id)
            mapper.finish(span, trace_id, parent, None if first is None else _original(event, first))
            spans.append(span)
        self._send(spans)
        if held and self._all:
            for backend in self.backends:
                backend.begin(held)

    def _was_sent(self, event: Event) -> bool:
        """Whether the span of this event was sent before, while it was unchecked. That it is rejected is news; its span
        is not sent twice."""
        if not self._unchecked.became_rejected(event):
            return False
        self._placing.changed += 1
        if self._rejected is not None:
            self._rejected(event, self.trace_of(event))
        return True

    def _watch(self, decoded: Sequence[Decoded]) -> None:
        """Nothing is sent anywhere: only what is measured counts."""
        if any(one.event.causation_id is not None or one.event.parent_span_id is not None for one in decoded):
            self._uncaused = 0
        elif self._uncaused > UNCAUSED and self._rejected is None:
            return  # nobody here names causes: there is nothing to remember for them
        self._uncaused += len(decoded)
        recent = self._recent
        for one in decoded:
            event = one.event
            if event.rejection is not None and self._rejected is not None:
                self._rejected(event, event.trace_id)
            cause = None
            if event.causation_id is not None or event.parent_span_id is not None:
                cause = recent.cause(event)
                if cause is not None:
                    self._placing.tell(cause, event, event.trace_id)
            recent.note(event, cause)

    def remember(self, events: Sequence[Event]) -> None:
        """Events of before the start: nothing is sent of them, but others hang from them."""
        for event in events:
            self._recent.note(event, self._recent.cause(event))

    def _hold(self, decoded: Decoded, span: ExportSpan, now: float, cause: Event | None) -> bool:
        """False where there is no room for it."""
        told = cause is not None and decoded.event.trace_id is not None
        if len(self._flows) >= 2 * self._max_held:  # they come faster than anything else gets its turn
            if cause is not None and not told:
                self._placing.tell(cause, decoded.event, None)
            for backend in self.backends:
                backend.outbox.drop(1)
            return False
        if not self._payloads:
            self._flows.hold(decoded.event, span, now, told)
            return True
        redactor = self._redactor
        headers = decoded.record.headers if redactor is None else redactor.record(decoded.record).headers
        flat = decoded.record.value is None
        body = decoded.body if redactor is None else redactor.body(decoded.body, flat=flat)
        self._flows.hold(decoded.event, span, now, told, headers, body)
        return True

    def _miss(self, causation_id: str) -> None:
        if len(self._missing) >= MOST_MISSING:
            self._missing.clear()
        self._missing[causation_id] = self._missing.get(causation_id, 0) + 1

    def _send(self, spans: Sequence[ExportSpan]) -> None:
        if not spans:
            return
        for backend in self.backends:
            backend.offer(spans)

    # --- flows that are quiet

    def start(self) -> None:
        """Look for quiet flows in the background, until `close`."""
        self._task = asyncio.create_task(self._look(), name="spans of quiet flows")
        self._task.add_done_callback(_ended)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for _ in self.quiet():
                await asyncio.sleep(0)

    def quiet(self) -> Iterator[int]:
        """Send the flows that are quiet by now (`send`)."""
        return self.send(self._flows.due(self._clock()))

    def send(self, flows: Iterable[QuietFlow]) -> Iterator[int]:
        """Make these flows' spans and send them, a slice at a time, so that a backend is not asked for every small
        flow. Gives the number of events after each slice, for others to get their turn."""
        spans: list[ExportSpan] = []
        events = 0
        for drawn in flows:
            spans += self._placing.spans_of(drawn)
            events += len(drawn.events)
            if events >= SLICE:
                self._send(spans)
                yield events
                spans, events = [], 0
        self._send(spans)
        yield events

    # --- how it is

    @property
    def held(self) -> int:
        """Events that wait for their flows."""
        return len(self._flows)

    @property
    def early(self) -> int:
        """Events that could not wait until their flow was quiet."""
        return self._flows.early

    @property
    def unsampled(self) -> int:
        """Spans that sampling left out."""
        return self._placing.unsampled

    @property
    def changed(self) -> int:
        """Spans that would be different if they were sent now."""
        return self._placing.changed

    @changed.setter
    def changed(self, count: int) -> None:
        self._placing.changed = count

    @property
    def trouble(self) -> str | None:
        return next((backend.trouble for backend in self.backends if backend.trouble is not None), None)

    def trace_of(self, event: Event) -> int | None:
        """The trace that an event's span is, or would be, in; None where its flow is waited for."""
        return self._placing.trace_of(event, 0) or None

    def counts(self) -> tuple[int, int, int]:
        if not self.backends:
            return 0, 0, 0
        sent, dropped, failed = zip(*(backend.counts() for backend in self.backends), strict=True)
        return sum(sent), sum(dropped), sum(failed)

    async def flush(self) -> None:
        """Send what waits for its flow. No more is looked for then."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
        for _ in self.send(self._flows.all()):
            pass

    async def close(self) -> None:
        """Send what waits, for its flow or for a backend, within a few seconds."""
        await self.flush()
        await asyncio.gather(*(backend.close() for backend in self.backends))


def _ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("quiet flows are not looked for any more: a mistake of ours", exc_info=error)


def _original(event: Event, first: Event) -> Event | None:
    """What an event is a duplicate of; a replay and its first life are no duplicates of one another."""
    if event.replay_of is not None or first.replay_of is not None or first.position == event.position:
        return None
    return first
