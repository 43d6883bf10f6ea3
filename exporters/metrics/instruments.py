"""The metric instruments, one set for `/metrics` and OTLP, on OpenTelemetry's metrics API.

Counters and gauges are observable: a collection reads what is counted anyway. Measurements of every event or batch go
to our own histograms (`exporters.metrics.histograms`), because the SDK's are too slow; a collection adds them. The
SDK is imported on first use. Label sets are bounded: streams beyond the first `MAX_STREAMS` are counted together.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import time_ns
from typing import TYPE_CHECKING, Any

from exporters import semantic_conventions as names
from exporters.metrics.histograms import BOUNDS, OTHER, HistogramSeries, LabeledHistogram, Labels
from exporters.metrics.prometheus import render
from exporters.semantic_conventions import Spelling, names_for
from exporters.tracing.sampling import in_sample
from exporters.tracing.span_ids import span_id_at
from sidecar.domain.failure_fingerprint import normalize_message
from sidecar.domain.model import Decoded, Event
from sidecar.domain.ports.index import Node
from sidecar.domain.ports.metrics import Instrument, InstrumentSource, Point, Reading

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import Metric, MetricsData

MAX_STREAMS = 300
MAX_SERIES = 1_900
"""Data points of a counter or gauge. Further points of a counter are summed up, those of a gauge are left out. The
SDK's own limit, which drops labels too, is 2,000."""
MAX_CAUSES = 2_000
"""Rejection causes to remember, so that new ones are recognized. Beyond this number all are forgotten."""
WARM_UP_S = 60.0
"""Time after the start in which the backfill may still show that a cause is an old one."""


@dataclass
class StreamTotals:
    """Counts of one stream that no other component keeps."""

    codes: Counter[str] = field(default_factory=Counter)
    replays: int = 0
    new_causes: int = 0


class EventMeasures:
    """Measures events with instruments and histograms."""

    def __init__(
        self,
        *,
        clock: Callable[[], int] = lambda: time_ns() // 1000,
        warm_up_s: float = WARM_UP_S,
        bound: int | None = None,
    ) -> None:
        """Create the measures.

        Args:
            clock: Microseconds since 1970.
            warm_up_s: Seconds after the start in which no cause counts as new.
            bound: Bound of sampled traces (`exporters.tracing.sampling`): exemplars link to sampled traces only.
        """
        self._bound = bound
        self._clock, self._warm_at = clock, clock() + int(warm_up_s * 1e6)
        self._early: dict[int, StreamTotals] = {}
        """Causes found since the start, which may still be old ones."""
        self._totals: dict[tuple[str, str], StreamTotals] = {}
        self._causes: set[int] = set()
        self.process = LabeledHistogram(
            "messaging.process.duration",
            "Duration of a batch, from decoding to publishing, indexing and export.",
            (names.SYSTEM, names.DESTINATION, names.OPERATION_NAME),
        )
        self.edges = LabeledHistogram(
            "tracecar.edge.duration",
            "Time from the append of an event to the append of an event that it caused.",
            ("tracecar.from", "tracecar.to"),
        )
        self.delivery = LabeledHistogram(
            "tracecar.delivery.duration",
            "Time from the append of an event to its consumption by a consumer group, polled every few seconds.",
            (names.SYSTEM, names.DESTINATION, names.GROUP),
        )

    def record_batch(self, decoded: Sequence[Decoded]) -> None:
        """Record a batch after all other components have processed it."""
        event = decoded[0].event
        position = event.position
        labels = (position.system, position.stream, "process")
        took = (self._clock() - event.observed_at) / 1e6
        self.process.add(labels, took, self._sampled_trace(event.trace_id), span_id_at(position))
        # The counters exist from the first batch on: Prometheus sees no increase in a counter that begins with a
        # rejection.
        totals = self._totals_of(position.system, position.stream)
        totals.replays += len([item for item in decoded if item.event.replay_of is not None])
        for item in decoded:
            if item.event.rejection is not None:
                self.record_rejection(item.event)

    def record_rejection(self, event: Event) -> None:
        """Record a rejection by the sidecar or by a consumer group."""
        totals = self._totals_of(event.position.system, event.position.stream)
        assert event.rejection is not None
        totals.codes[event.rejection.code] += 1
        self._note_cause(event, totals)

    def record_edge(self, cause: Event, event: Event, trace_id: int | None, span_id: int) -> None:
        """Record the time between a cause and its effect."""
        labels = (cause.position.stream, event.position.stream)
        self.edges.add(labels, (event.appended_at - cause.appended_at) / 1e3, self._sampled_trace(trace_id), span_id)

    def record_delivery(self, labels: Labels, seconds: float, node: Node, trace_id: int | None) -> None:
        """Record that a consumer group consumed an event `seconds` after its append."""
        self.delivery.add(
            labels, seconds, self._sampled_trace(trace_id or node.trace_id), span_id_at(node.event.position)
        )

    def _sampled_trace(self, trace_id: int | None) -> int | None:
        """Return the trace id if the trace is sampled, else None."""
        bound = self._bound
        return trace_id if bound is None or trace_id is None or in_sample(trace_id, bound) else None

    def _totals_of(self, system: str, stream: str) -> StreamTotals:
        totals = self._totals.get((system, stream))
        if totals is None:
            if len(self._totals) >= MAX_STREAMS:
                stream = OTHER
            totals = self._totals.setdefault((system, stream), StreamTotals())
        return totals

    def _note_cause(self, event: Event, totals: StreamTotals) -> None:
        fingerprint = _fingerprint_cause(event)
        if fingerprint in self._causes:
            return
        if len(self._causes) >= MAX_CAUSES:
            self._causes.clear()
            self._early.clear()
        self._causes.add(fingerprint)
        if self._clock() < self._warm_at:
            self._early[fingerprint] = totals
        else:
            totals.new_causes += 1

    def remember(self, events: Sequence[Event]) -> None:
        """Remember the causes of rejections from before the start, which are not new."""
        for event in events:
            if event.rejection is not None and len(self._causes) < MAX_CAUSES:
                fingerprint = _fingerprint_cause(event)
                self._causes.add(fingerprint)
                self._early.pop(fingerprint, None)

    def _count_new_causes(self, totals: StreamTotals) -> int:
        if self._early and self._clock() >= self._warm_at:
            for early in self._early.values():
                early.new_causes += 1
            self._early.clear()
        return totals.new_causes

    def instruments(self) -> Sequence[Instrument]:
        """Return the counters of events."""

        def each(value: Callable[[StreamTotals], float]) -> Reading:
            return lambda: [
                (value(totals), {names.SYSTEM: system, names.DESTINATION: stream})
                for (system, stream), totals in self._totals.items()
            ]

        def codes() -> Iterator[Point]:
            for (system, stream), totals in self._totals.items():
                for code, count in totals.codes.items():
                    yield count, {names.SYSTEM: system, names.DESTINATION: stream, names.ERROR_TYPE: code}

        return (
            Instrument("tracecar.rejections", "counter", "Rejections by code.", codes),
            Instrument("tracecar.replays", "counter", "Replayed events seen.", each(lambda totals: totals.replays)),
            Instrument(
                "tracecar.rejections.new_causes",
                "counter",
                "Rejections with a cause that was not seen before.",
                each(self._count_new_causes),
            ),
        )

    async def refresh(self) -> None:
        """Do nothing: the counts are up to date."""

    @property
    def histograms(self) -> Sequence[LabeledHistogram]:
        """The histograms, which are collected beside the instruments."""
        return self.process, self.edges, self.delivery


def _fingerprint_cause(event: Event) -> int:
    """Hash what dead letters are grouped by: stream, code, path and message without their varying parts, and schema."""
    rejection = event.rejection
    assert rejection is not None
    subject = event.schema.subject if event.schema is not None else None
    path = rejection.path and rejection.path.partition("[")[0]
    return hash((event.position.stream, rejection.code, path, normalize_message(rejection.message), subject))


class MetricsRegistry:
    """All instruments of a sidecar and their readers."""

    def __init__(
        self,
        sources: Sequence[InstrumentSource],
        histograms: Sequence[LabeledHistogram] = (),
        spelling: Spelling | None = None,
    ) -> None:
        """Create the registry. `spelling`: names of attributes (`exporters.semantic_conventions`)."""
        self._sources, self._histograms, self.spelling = list(sources), list(histograms), spelling or {}
        self._reader: MetricsReader | None = None
        self._started = time_ns()
        self._collecting = asyncio.Lock()

    async def exposition(self, *, open_metrics: bool) -> str:
        """Return all metrics in a Prometheus text format."""
        async with self._collecting:
            if self._reader is None:
                self._reader = await self.reader(None)
            return render(await self._collect(self._reader), open_metrics=open_metrics)

    async def reader(self, temporality: Mapping[type, Any] | None) -> MetricsReader:
        """Create a reader for one destination. `temporality`: preferred by its exporter."""
        # Importing the SDK takes a tenth of a second, too long for the event loop.
        await asyncio.to_thread(_load_sdk)
        return MetricsReader(self, temporality)

    async def collect(self, reader: MetricsReader) -> list[Metric]:
        """Collect all metrics. Collections run one after the other, and each refreshes the sources."""
        async with self._collecting:
            return await self._collect(reader)

    async def _collect(self, reader: MetricsReader) -> list[Metric]:
        for source in self._sources:
            await source.refresh()
        return reader.collect()

    # --- for readers

    def instruments(self) -> Iterator[Instrument]:
        """Iterate over the instruments of all sources."""
        for source in self._sources:
            yield from source.instruments()

    @property
    def histograms(self) -> Sequence[LabeledHistogram]:
        """The histograms."""
        return self._histograms

    @property
    def started(self) -> int:
        """Start time in nanoseconds since 1970."""
        return self._started


def _load_sdk() -> None:
    import opentelemetry.sdk.metrics.export  # noqa: F401


class MetricsReader:
    """Collects instruments (through the SDK) and our own histograms for one destination."""

    def __init__(self, metrics: MetricsRegistry, temporality: Mapping[type, Any] | None) -> None:
        from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, Histogram, MeterProvider
        from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
        from opentelemetry.sdk.resources import Resource

        self._metrics = metrics
        preferred = dict(temporality) if temporality else None
        self._sdk = InMemoryMetricReader(preferred_temporality=preferred)
        self._delta = (temporality or {}).get(Histogram) is AggregationTemporality.DELTA
        self._before: dict[tuple[str, Labels], tuple[list[int], float]] = {}
        self._since = metrics.started
        provider = MeterProvider(
            [self._sdk],
            resource=Resource.get_empty(),
            exemplar_filter=AlwaysOffExemplarFilter(),
            shutdown_on_exit=False,
        )
        # OTEL_SDK_DISABLED turns sending off, which `exporters.otlp` does; `/metrics` sends nothing.
        provider._disabled = False
        meter = provider.get_meter("tracecar")
        for instrument in metrics.instruments():
            make = meter.create_observable_counter if instrument.kind == "counter" else meter.create_observable_gauge
            callback = _build_callback(instrument, metrics.spelling)
            make(instrument.name, callbacks=[callback], unit=instrument.unit, description=instrument.description)
        self._provider = provider

    def collect(self) -> list[Metric]:
        """Collect all metrics now."""
        data: MetricsData | None = self._sdk.get_metrics_data()
        metrics = [
            metric
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]
        now = time_ns()
        metrics += [self._convert(histogram, now) for histogram in self._metrics.histograms if histogram.series]
        if self._delta:
            self._since = now
        return metrics

    def _convert(self, histogram: LabeledHistogram, now: int) -> Metric:
        from opentelemetry.sdk.metrics.export import AggregationTemporality, Histogram, Metric

        points = [self._convert_series(histogram, labels, series, now) for labels, series in histogram.series.items()]
        temporality = AggregationTemporality.DELTA if self._delta else AggregationTemporality.CUMULATIVE
        return Metric(histogram.name, histogram.description, "s", Histogram(points, temporality))

    def _convert_series(self, histogram: LabeledHistogram, labels: Labels, series: HistogramSeries, now: int) -> Any:
        from opentelemetry.sdk.metrics import Exemplar
        from opentelemetry.sdk.metrics.export import HistogramDataPoint

        counts, total, count = list(series.counts), series.total, series.count
        exemplars = [exemplar for exemplar in series.exemplars.values() if not self._delta or exemplar[1] > self._since]
        if self._delta:
            key = (histogram.name, labels)
            before, before_total = self._before.get(key, ([0] * len(counts), 0.0))
            self._before[key] = (counts, total)
            counts = [mine - theirs for mine, theirs in zip(counts, before, strict=True)]
            total, count = total - before_total, sum(counts)
        return HistogramDataPoint(
            attributes=_rename_attributes(dict(zip(histogram.names, labels, strict=True)), self._metrics.spelling),
            start_time_unix_nano=self._since,
            time_unix_nano=now,
            count=count,
            sum=total,
            bucket_counts=counts,
            explicit_bounds=BOUNDS,
            min=series.lowest,
            max=series.highest,
            exemplars=[Exemplar({}, value, at, span_id, trace_id) for value, at, trace_id, span_id in exemplars],
        )

    def close(self) -> None:
        """Shut the SDK's provider down."""
        self._provider.shutdown()


def _build_callback(instrument: Instrument, spelling: Spelling) -> Any:
    from opentelemetry.metrics import Observation

    def observe(options: object) -> list[Observation]:
        observations: list[Observation] = []
        rest, labels = 0.0, None
        for value, attributes in instrument.read():
            if len(observations) < MAX_SERIES:
                observations.append(Observation(value, _rename_attributes(attributes, spelling)))
            else:
                rest, labels = rest + value, attributes
        if labels is not None and instrument.kind == "counter":
            observations.append(Observation(rest, _rename_attributes(dict.fromkeys(labels, OTHER), spelling)))
        return observations

    return observe


def _rename_attributes(attributes: Mapping[str, str], spelling: Spelling) -> dict[str, str]:
    """Rename attributes by `spelling`.

    Bytes that are not UTF-8, which names of Redis streams can contain, are escaped, because neither Prometheus nor OTLP
    can encode them.
    """
    return {each: _encodable(value) for name, value in attributes.items() for each in names_for(spelling, name)}


def _encodable(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "backslashreplace").decode()
    return value
