"""Telemetry as a whole: traces, logs and metrics of one sidecar, from what passes to where it goes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from exporters import semantic_conventions
from exporters.batch_queue import BatchQueue, QueueBounds
from exporters.metrics.instruments import EventMeasures, MetricsRegistry
from exporters.tracing.exporter import TraceExporter
from exporters.tracing.sampling import bound_of, from_environment
from exporters.tracing.span_mapper import DeadLetterTarget, SpanMapper
from exporters.tracing.span_sink import SpanSink
from sidecar.config.schema import Config, OtlpConfig
from sidecar.domain.model import Decoded, Event
from sidecar.domain.ports.exporter import Destination
from sidecar.domain.ports.index import Node
from sidecar.domain.ports.metrics import InstrumentSource
from sidecar.domain.redaction import Redactor

MOST_LOGS = 10_000
"""Log records that wait."""


class Telemetry:
    """Everything that leaves a sidecar about what it sees (`sidecar.domain.ports.exporter.Exporter`). Raises
    ConfigError where it
    cannot be made as configured."""

    name = "telemetry"

    def __init__(
        self,
        config: Config,
        letters: dict[str, DeadLetterTarget],
        servers: dict[str, tuple[str, int]],
        redactor: Redactor | None = None,
    ) -> None:
        from exporters.otlp.environment import disabled, exporters, service_name
        from exporters.otlp.settings import check, signals, wanted

        settings = config.exporters
        otlp = wanted(settings.otlp)
        sent = [] if otlp is None else signals(otlp)
        if otlp is not None:
            check(otlp)
        spelling = semantic_conventions.spelling()
        mapper = SpanMapper(letters, servers)
        bounds = QueueBounds(items=settings.queue)
        backends: list[SpanSink] = []
        if otlp is not None and "traces" in sent:
            backends.append(_otlp(otlp, config.service, spelling, bounds))
        if settings.zipkin is not None and not disabled() and "none" not in exporters("traces"):
            from exporters.zipkin import ZipkinSpanEncoder, ZipkinTransport

            outbox = BatchQueue("zipkin", ZipkinTransport(settings.zipkin), bounds)
            backends.append(SpanSink("zipkin", ZipkinSpanEncoder(spelling, service_name()), outbox))
        self.destinations: list[Destination] = [*backends]
        self.logs = None
        if otlp is not None and "logs" in sent:
            from exporters.otlp.log_encoder import RejectionLogExporter
            from exporters.otlp.transport import transport

            outbox = BatchQueue("otlp.logs", transport(otlp, "logs", config.service), QueueBounds(items=MOST_LOGS))
            self.logs = RejectionLogExporter(outbox, mapper, spelling, redactor)
            self.destinations.append(self.logs)
        sampling = settings.sampling or from_environment()
        bound = bound_of(sampling.ratio or 0.0) if sampling.keep == "ratio" else None
        self.measures = EventMeasures(bound=bound)
        self.tracing = TraceExporter(
            backends,
            mapper,
            settings,
            sampling,
            join=config.correlation.join,
            max_flow=config.correlation.max_flow,
            redactor=redactor,
            edge=self.measures.edge,
            rejected=None if self.logs is None else self.logs.rejected,
        )
        self.metrics = MetricsRegistry([self.measures], self.measures.histograms, spelling)
        self.pushed = None
        if otlp is not None and "metrics" in sent:
            from exporters.otlp.metric_exporter import OtlpMetricExporter

            self.pushed = OtlpMetricExporter(otlp, self.metrics, config.service)
            self.destinations.append(self.pushed)

    def measure(self, sources: Sequence[InstrumentSource]) -> None:
        """Have these read as well, whenever somebody collects. Before the first collecting."""
        self.metrics.add(sources)

    def delivered(self, labels: tuple[str, str, str], seconds: float, node: Node) -> None:
        """A consumer group has passed an event: system, stream and group, and how long after it was appended."""
        self.measures.delivered(labels, seconds, node, self.tracing.trace_of(node.event))

    def start(self) -> None:
        """Begin what goes on in the background."""
        self.tracing.start()
        if self.pushed is not None:
            self.pushed.start()

    def offer(self, decoded: Sequence[Decoded]) -> None:
        if decoded:
            self.tracing.offer(decoded)
            self.measures.batch(decoded)

    def dead_lettered(self, event: Event, group: str, id: str) -> None:
        """An event failed later, at a group that uses it, and has a dead letter with this id now."""
        self.measures.rejected(event)
        if self.logs is not None:
            self.logs.dead_lettered(event, self.tracing.trace_of(event), group, id)
        if self.tracing.backends:
            self.tracing.changed += 1

    def remember(self, events: Sequence[Event]) -> None:
        """Events of before the start, which others may hang from."""
        self.tracing.remember(events)
        self.measures.remember(events)

    @property
    def trouble(self) -> str | None:
        return next((destination.trouble for destination in self.destinations if destination.trouble is not None), None)

    def counts(self) -> tuple[int, int, int]:
        counts = [destination.counts() for destination in self.destinations]
        return sum(count[0] for count in counts), sum(count[1] for count in counts), sum(count[2] for count in counts)

    async def close(self) -> None:
        await self.tracing.flush()  # which may tell of rejections
        logs = [asyncio.to_thread(self.logs.outbox.close)] if self.logs is not None else []
        await asyncio.gather(self.tracing.close(), *logs)
        if self.pushed is not None:
            await self.pushed.close()


def _otlp(otlp: OtlpConfig, service: str, spelling: semantic_conventions.Spelling, bounds: QueueBounds) -> SpanSink:
    from exporters.otlp.span_encoder import OtlpSpanEncoder
    from exporters.otlp.transport import transport

    return SpanSink("otlp", OtlpSpanEncoder(spelling), BatchQueue("otlp", transport(otlp, "traces", service), bounds))
