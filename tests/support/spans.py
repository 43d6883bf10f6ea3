"""Tracing without a backend: recorded spans, and a clock that tests control."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from exporters.batch_queue import BatchQueue, QueueBounds
from exporters.tracing.exporter import TraceExporter
from exporters.tracing.span_mapper import DeadLetterTarget, ExportSpan, SpanMapper
from exporters.tracing.span_sink import SpanSink
from sidecar.config.schema import ExportersConfig, SamplingConfig
from sidecar.config.value_types import Duration
from sidecar.domain.model import Decoded, Event, Record
from sidecar.domain.position import Position
from sidecar.domain.redaction import Redactor

NOW = 1_767_225_600_000
JOIN = ("trace", "correlation", "causation")


class Nowhere:
    """A transport that is never used."""

    def send(self, items: Sequence[bytes]) -> int:
        return 0

    def close(self) -> None: ...


class Recorded(SpanSink):
    """Keeps the spans that it receives."""

    def __init__(self) -> None:
        super().__init__("recorded", self, BatchQueue("recorded", Nowhere(), QueueBounds()))
        self.spans: list[ExportSpan] = []

    def encode(self, spans: Sequence[ExportSpan]) -> list[bytes]:
        return []

    def begin(self, spans: Sequence[ExportSpan]) -> None: ...

    def offer(self, spans: Sequence[ExportSpan]) -> None:
        self.spans += spans


class Bench:
    """A tracing sink under test. Offsets of every stream count up."""

    def __init__(
        self,
        sampling: SamplingConfig = SamplingConfig(),  # noqa: B008  # frozen
        *,
        hold: float = 3,
        max_held: int = 1000,
        max_flow: int = 100,
        redact: Sequence[str] = (),
        places: dict[str, list[str]] | None = None,
    ) -> None:
        self.now = 0.0
        self.backend = Recorded()
        self.edges: list[tuple[str, str]] = []
        self.edge_traces: list[int | None] = []
        self.rejected: list[tuple[Position, int | None]] = []
        self.tracing = TraceExporter(
            [self.backend],
            SpanMapper({"memory": DeadLetterTarget("tracecar.shop", None)}),
            ExportersConfig(hold=Duration(hold), max_held=max_held),
            sampling,
            join=JOIN,
            max_flow=max_flow,
            redactor=Redactor(redact, places or {}),
            on_edge=self._edge,
            on_rejection=lambda event, trace_id: self.rejected.append((event.position, trace_id)),
            clock=lambda: self.now,
        )
        self._offsets: dict[str, int] = {}

    def _edge(self, cause: Event, event: Event, trace_id: int | None, span_id: int) -> None:
        self.edges.append((cause.position.stream, event.position.stream))
        self.edge_traces.append(trace_id)

    def event(self, stream: str = "orders", *, at: int | None = None, offset: int | None = None, **words: Any) -> Event:
        number = self._offsets.get(stream, 0) if offset is None else offset
        self._offsets[stream] = number + 1
        at = number if at is None else at
        base = {"key": None, "appended_at": NOW + at, "observed_at": (NOW + at) * 1000, "occurred_at": None}
        return Event(position=Position("memory", stream, 0, number), **(base | words))

    def pass_by(self, *events: Event, body: Any = None) -> list[Event]:
        """Record the events, each as a batch of its own."""
        for event in events:
            self.tracing.offer([Decoded(Record(event.position, None, b"{}", (("h", b"v"),), 0), event, body)])
        return list(events)

    def wait(self, seconds: float) -> None:
        """Advance the clock, and look for quiet flows."""
        self.now += seconds
        for _ in self.tracing.quiet():
            pass

    @property
    def spans(self) -> list[ExportSpan]:
        return self.backend.spans

    def span(self, event: Event) -> ExportSpan:
        (found,) = [span for span in self.spans if span.values[0] == str(event.position)]
        return found

    def id(self, event: Event) -> int:
        return SpanMapper({}).span_id_at(event.position)
