"""Telemetry of a sidecar: creates its trace, log and metric exporters, and passes events to them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from exporters import semantic_conventions
from exporters.batch_queue import BatchQueue, QueueBounds
from exporters.metrics.instruments import EventMeasures, MetricsRegistry
from exporters.tracing.exporter import TraceExporter
from exporters.tracing.sampling import sample_bound, sampling_from_environment
from exporters.tracing.span_mapper import DeadLetterTarget, SpanMapper
from exporters.tracing.span_sink import SpanSink
from sidecar.config.schema import Config, OtlpConfig
from sidecar.domain.model import Decoded, Event
from sidecar.domain.ports.exporter import Destination
from sidecar.domain.ports.index import Node
from sidecar.domain.ports.metrics import InstrumentSource
from sidecar.domain.redaction import Redactor

if TYPE_CHECKING:
    from exporters.otlp.metric_exporter import MetricDestination, OtlpMetricExporter

MAX_QUEUED_LOGS = 10_000
"""Queue limit of log records."""


class Telemetry:
    """All exporters of a sidecar (`sidecar.domain.ports.exporter.Exporter`). Raises ConfigError for bad settings."""

    name = "telemetry"

    def __init__(
        self,
        config: Config,
        letters: dict[str, DeadLetterTarget],
        servers: dict[str, tuple[str, int]],
        redactor: Redactor | None = None,
    ) -> None:
        from exporters.otlp.environment import is_sdk_disabled, selected_exporters, service_name
        from exporters.otlp.settings import check_settings, effective_config, enabled_signals

        settings = config.exporters
        otlp = effective_config(settings.otlp)
        sent = [] if otlp is None else enabled_signals(otlp)
        if otlp is not None:
            check_settings(otlp)
        spelling = semantic_conventions.read_spelling()
        mapper = SpanMapper(letters, servers)
        bounds = QueueBounds(items=settings.queue)
        backends: list[SpanSink] = []
        if otlp is not None and "traces" in sent:
            backends.append(_build_otlp_sink(otlp, config.service, spelling, bounds))
        if settings.zipkin is not None and not is_sdk_disabled() and "none" not in selected_exporters("traces"):
            from exporters.zipkin import ZipkinSpanEncoder, ZipkinTransport

            outbox = BatchQueue("zipkin", ZipkinTransport(settings.zipkin), bounds)
            backends.append(SpanSink("zipkin", ZipkinSpanEncoder(spelling, service_name()), outbox))
        self.destinations: list[Destination] = [*backends]
        self.logs = None
        if otlp is not None and "logs" in sent:
            from exporters.otlp.log_encoder import RejectionLogExporter
            from exporters.otlp.transport import create_transport

            outbox = BatchQueue(
                "otlp.logs", create_transport(otlp, "logs", config.service), QueueBounds(items=MAX_QUEUED_LOGS)
            )
            self.logs = RejectionLogExporter(outbox, mapper, spelling, redactor)
            self.destinations.append(self.logs)
        sampling = settings.sampling or sampling_from_environment()
        bound = sample_bound(sampling.ratio or 0.0) if sampling.keep == "ratio" else None
        self.measures = EventMeasures(bound=bound)
        self.tracing = TraceExporter(
            backends,
            mapper,
            settings,
            sampling,
            join=config.correlation.join,
            max_flow=config.correlation.max_flow,
            redactor=redactor,
            on_edge=self.measures.record_edge,
            on_rejection=None if self.logs is None else self.logs.record_rejection,
        )
        self.spelling = spelling
        self._otlp, self._service = otlp, config.service
        self._metric_destination: MetricDestination | None = None
        if otlp is not None and "metrics" in sent:
            from exporters.otlp.metric_exporter import MetricDestination

            self._metric_destination = MetricDestination()
            self.destinations.append(self._metric_destination)

    def create_metric_exporter(self, metrics: MetricsRegistry) -> OtlpMetricExporter | None:
        """Create the exporter of these metrics; None if none is configured."""
        if self._otlp is None or self._metric_destination is None:
            return None
        from exporters.otlp.metric_exporter import OtlpMetricExporter

        return OtlpMetricExporter(self._otlp, metrics, self._service, self._metric_destination)

    def record_delivery(self, labels: tuple[str, str, str], seconds: float, node: Node) -> None:
        """Record that a consumer group has consumed an event.

        Args:
            labels: System, stream and consumer group.
            seconds: Time from the append to the consumption.
            node: The event.
        """
        self.measures.record_delivery(labels, seconds, node, self.tracing.trace_of(node.event))

    def start(self) -> None:
        """Start to send the spans of quiet flows in the background."""
        self.tracing.start()

    def offer(self, decoded: Sequence[Decoded]) -> None:
        """Take a decoded batch. Never blocks."""
        if decoded:
            self.tracing.offer(decoded)
            self.measures.record_batch(decoded)

    def dead_lettered(self, event: Event, group: str, id: str) -> None:
        """Record that an event failed in a consumer group and has a dead letter with this id."""
        self.measures.record_rejection(event)
        if self.logs is not None:
            self.logs.dead_lettered(event, self.tracing.trace_of(event), group, id)
        if self.tracing.backends:
            self.tracing.count_changed()

    def remember(self, events: Sequence[Event]) -> None:
        """Remember events from before the start, which can be parents."""
        self.tracing.remember(events)
        self.measures.remember(events)

    @property
    def trouble(self) -> str | None:
        """Reason why a backend currently accepts nothing, or None."""
        return next((destination.trouble for destination in self.destinations if destination.trouble is not None), None)

    def counts(self) -> tuple[int, int, int]:
        """Return the numbers of sent, dropped and failed items of all destinations."""
        counts = [destination.counts() for destination in self.destinations]
        return sum(count[0] for count in counts), sum(count[1] for count in counts), sum(count[2] for count in counts)

    async def close(self) -> None:
        """Send everything that is held and queued, within a few seconds."""
        await self.tracing.flush()  # may record rejections
        logs = [asyncio.to_thread(self.logs.outbox.close)] if self.logs is not None else []
        await asyncio.gather(self.tracing.close(), *logs)


class TelemetrySession:
    """Telemetry with all metrics of a sidecar, from its start to its end.

    The metrics come from objects that need the telemetry. So this object is built last, on both.
    """

    def __init__(self, telemetry: Telemetry, sources: Sequence[InstrumentSource]) -> None:
        self._telemetry = telemetry
        measures = telemetry.measures
        self.metrics = MetricsRegistry([measures, *sources], measures.histograms, telemetry.spelling)
        self.metric_exporter = telemetry.create_metric_exporter(self.metrics)

    def start(self) -> None:
        """Start the background tasks."""
        self._telemetry.start()
        if self.metric_exporter is not None:
            self.metric_exporter.start()

    async def close(self) -> None:
        """Send everything that is held and queued, and the metrics once more, within a few seconds."""
        await self._telemetry.close()
        if self.metric_exporter is not None:
            await self.metric_exporter.close()


def _build_otlp_sink(
    otlp: OtlpConfig, service: str, spelling: semantic_conventions.Spelling, bounds: QueueBounds
) -> SpanSink:
    from exporters.otlp.span_encoder import OtlpSpanEncoder
    from exporters.otlp.transport import create_transport

    return SpanSink(
        "otlp", OtlpSpanEncoder(spelling), BatchQueue("otlp", create_transport(otlp, "traces", service), bounds)
    )
