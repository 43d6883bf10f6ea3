"""What is measured, through OpenTelemetry's metrics API: one set of instruments, which `/metrics` and OTLP both read.

Counters and gauges are observable: they read, when somebody collects, what is counted anyway. What is measured with
every event or batch goes into histograms of our own (`exporters.metrics.histograms`), for the SDK's take too long;
they join the
rest when collected. The SDK is loaded when first needed. Label sets are bounded: streams beyond the first
`MOST_STREAMS` count together.
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
from exporters.semantic_conventions import Spelling, spelled
from exporters.tracing.sampling import in_sample
from exporters.tracing.span_ids import span_id_at
from sidecar.domain.failure_fingerprint import normalize_message
from sidecar.domain.model import Decoded, Event
from sidecar.domain.ports.index import Node
from sidecar.domain.ports.metrics import Instrument, InstrumentSource, Point, Reading

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import Metric, MetricsData

MOST_STREAMS = 300
MOST_SERIES = 1_900
"""Data points of one counter or gauge. What a counter has beyond counts together; a gauge's are left out. The SDK's own
bound, which drops labels as well, is 2,000."""
MOST_CAUSES = 2_000
"""Causes of rejections that are remembered, to know a new one; then all are forgotten."""
SETTLING_IN = 60.0
"""Seconds after the start in which a cause may still turn out to be an old one, once the look-back was read."""


@dataclass
class StreamTotals:
    """Counts of one stream that nobody else keeps."""

    codes: Counter[str] = field(default_factory=Counter)
    replays: int = 0
    new_causes: int = 0


class EventMeasures:
    """What is measured as events pass (`instruments` of it, and histograms)."""

    def __init__(
        self,
        *,
        clock: Callable[[], int] = lambda: time_ns() // 1000,
        settling_in: float = SETTLING_IN,
        bound: int | None = None,
    ) -> None:
        """`clock`: microseconds since 1970; `settling_in`: seconds; `bound`: of the traces that are sent
        (`exporters.sampling`), for exemplars lead to no others."""
        self._bound = bound
        self._clock, self._settled_in = clock, clock() + int(settling_in * 1e6)
        self._early: dict[int, StreamTotals] = {}
        """Causes that were found since the start, which nobody calls new yet."""
        self._passed: dict[tuple[str, str], StreamTotals] = {}
        self._causes: set[int] = set()
        self.process = LabeledHistogram(
            "messaging.process.duration",
            "How long a batch took, from being judged to being shown, indexed and exported.",
            (names.SYSTEM, names.DESTINATION, names.OPERATION_NAME),
        )
        self.edges = LabeledHistogram(
            "tracecar.edge.duration",
            "From an event being appended to one that it caused being appended.",
            ("tracecar.from", "tracecar.to"),
        )
        self.delivery = LabeledHistogram(
            "tracecar.delivery.duration",
            "From an event being appended to a consumer group having passed it (as seen every few seconds).",
            (names.SYSTEM, names.DESTINATION, names.GROUP),
        )

    def batch(self, decoded: Sequence[Decoded]) -> None:
        """A batch has passed: everything else was told about it already."""
        event = decoded[0].event
        position = event.position
        labels = (position.system, position.stream, "process")
        took = (self._clock() - event.observed_at) / 1e6
        self.process.add(labels, took, self._sent(event.trace_id), span_id_at(position))
        # There from the first batch on: in Prometheus' eyes a counter that begins with a rejection has not grown.
        passed = self._of(position.system, position.stream)
        passed.replays += len([one for one in decoded if one.event.replay_of is not None])
        for one in decoded:
            if one.event.rejection is not None:
                self.rejected(one.event)

    def rejected(self, event: Event) -> None:
        """An event was rejected, here or by a group that uses it."""
        passed = self._of(event.position.system, event.position.stream)
        assert event.rejection is not None
        passed.codes[event.rejection.code] += 1
        self._note_cause(event, passed)

    def edge(self, cause: Event, event: Event, trace_id: int | None, span_id: int) -> None:
        """An event passed whose cause is known."""
        labels = (cause.position.stream, event.position.stream)
        self.edges.add(labels, (event.appended_at - cause.appended_at) / 1e3, self._sent(trace_id), span_id)

    def delivered(self, labels: Labels, seconds: float, node: Node, trace_id: int | None) -> None:
        """A consumer group has passed an event, which was appended so long before."""
        self.delivery.add(labels, seconds, self._sent(trace_id or node.trace_id), span_id_at(node.event.position))

    def _sent(self, trace_id: int | None) -> int | None:
        """The trace, unless sampling leaves it out."""
        bound = self._bound
        return trace_id if bound is None or trace_id is None or in_sample(trace_id, bound) else None

    def _of(self, system: str, stream: str) -> StreamTotals:
        found = self._passed.get((system, stream))
        if found is None:
            if len(self._passed) >= MOST_STREAMS:
                stream = OTHER
            found = self._passed.setdefault((system, stream), StreamTotals())
        return found

    def _note_cause(self, event: Event, passed: StreamTotals) -> None:
        mark = _cause(event)
        if mark in self._causes:
            return
        if len(self._causes) >= MOST_CAUSES:
            self._causes.clear()
            self._early.clear()
        self._causes.add(mark)
        if self._clock() < self._settled_in:
            self._early[mark] = passed
        else:
            passed.new_causes += 1

    def remember(self, events: Sequence[Event]) -> None:
        """Events of before the start: what failed then is nothing new."""
        for event in events:
            if event.rejection is not None and len(self._causes) < MOST_CAUSES:
                mark = _cause(event)
                self._causes.add(mark)
                self._early.pop(mark, None)

    def _new_causes(self, passed: StreamTotals) -> int:
        if self._early and self._clock() >= self._settled_in:
            for one in self._early.values():
                one.new_causes += 1
            self._early.clear()
        return passed.new_causes

    def instruments(self) -> Sequence[Instrument]:
        def each(value: Callable[[StreamTotals], float]) -> Reading:
            return lambda: [
                (value(passed), {names.SYSTEM: system, names.DESTINATION: stream})
                for (system, stream), passed in self._passed.items()
            ]

        def codes() -> Iterator[Point]:
            for (system, stream), passed in self._passed.items():
                for code, count in passed.codes.items():
                    yield count, {names.SYSTEM: system, names.DESTINATION: stream, names.ERROR_TYPE: code}

        return (
            Instrument("tracecar.rejections", "counter", "Rejections by code.", codes),
            Instrument("tracecar.replays", "counter", "Replayed events seen.", each(lambda one: one.replays)),
            Instrument(
                "tracecar.rejections.new_causes",
                "counter",
                "Rejections of a cause that was not there before.",
                each(self._new_causes),
            ),
        )

    async def refresh(self) -> None:
        """Nothing to ask."""

    @property
    def histograms(self) -> Sequence[LabeledHistogram]:
        """What Prometheus and OTLP get besides."""
        return self.process, self.edges, self.delivery


def _cause(event: Event) -> int:
    """As dead letters have it: stream, code, path and message without what varies, and schema."""
    rejection = event.rejection
    assert rejection is not None
    subject = event.schema.subject if event.schema is not None else None
    path = rejection.path and rejection.path.partition("[")[0]
    return hash((event.position.stream, rejection.code, path, normalize_message(rejection.message), subject))


class MetricsRegistry:
    """All instruments of a sidecar, and who reads them."""

    def __init__(
        self,
        sources: Sequence[InstrumentSource],
        histograms: Sequence[LabeledHistogram] = (),
        spelling: Spelling | None = None,
    ) -> None:
        """`spelling`: the names of attributes that are asked for."""
        self._sources, self._histograms, self.spelling = list(sources), list(histograms), spelling or {}
        self._reader: MetricsReader | None = None
        self._started = time_ns()
        self._turn = asyncio.Lock()

    def add(self, sources: Sequence[InstrumentSource]) -> None:
        """Read these as well. Readers that were made before do not."""
        self._sources += sources

    async def exposition(self, *, open_metrics: bool) -> str:
        """Everything, for Prometheus."""
        async with self._turn:
            if self._reader is None:
                self._reader = await self.reader(None)
            return render(await self._collect(self._reader), open_metrics=open_metrics)

    async def reader(self, temporality: Mapping[type, Any] | None) -> MetricsReader:
        """A reader of its own for one destination. `temporality`: as its exporter prefers it."""
        # The SDK takes a tenth of a second to load, which is not the event loop's to give.
        await asyncio.to_thread(_load)
        return MetricsReader(self, temporality)

    async def collect(self, reader: MetricsReader) -> list[Metric]:
        """What is measured now. One at a time: sources are asked once for each."""
        async with self._turn:
            return await self._collect(reader)

    async def _collect(self, reader: MetricsReader) -> list[Metric]:
        for source in self._sources:
            await source.refresh()
        return reader.collect()

    # --- what readers are made of

    def instruments(self) -> Iterator[Instrument]:
        for source in self._sources:
            yield from source.instruments()

    @property
    def histograms(self) -> Sequence[LabeledHistogram]:
        return self._histograms

    @property
    def started(self) -> int:
        return self._started


def _load() -> None:
    import opentelemetry.sdk.metrics.export  # noqa: F401


class MetricsReader:
    """Collects for one destination: what the SDK has of our instruments, and our own histograms."""

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
        # OTEL_SDK_DISABLED is about what is sent, which `exporters.otlp` sees to; `/metrics` sends nothing.
        provider._disabled = False
        meter = provider.get_meter("tracecar")
        for instrument in metrics.instruments():
            make = meter.create_observable_counter if instrument.kind == "counter" else meter.create_observable_gauge
            callback = _callback(instrument, metrics.spelling)
            make(instrument.name, callbacks=[callback], unit=instrument.unit, description=instrument.description)
        self._provider = provider

    def collect(self) -> list[Metric]:
        data: MetricsData | None = self._sdk.get_metrics_data()
        found = [
            metric
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]
        now = time_ns()
        found += [self._histogram(histogram, now) for histogram in self._metrics.histograms if histogram.series]
        if self._delta:
            self._since = now
        return found

    def _histogram(self, latencies: LabeledHistogram, now: int) -> Metric:
        from opentelemetry.sdk.metrics.export import AggregationTemporality, Histogram, Metric

        points = [self._point(latencies, labels, series, now) for labels, series in latencies.series.items()]
        temporality = AggregationTemporality.DELTA if self._delta else AggregationTemporality.CUMULATIVE
        return Metric(latencies.name, latencies.description, "s", Histogram(points, temporality))

    def _point(self, latencies: LabeledHistogram, labels: Labels, series: HistogramSeries, now: int) -> Any:
        from opentelemetry.sdk.metrics import Exemplar
        from opentelemetry.sdk.metrics.export import HistogramDataPoint

        counts, total, count = list(series.counts), series.total, series.count
        exemplars = [exemplar for exemplar in series.exemplars.values() if not self._delta or exemplar[1] > self._since]
        if self._delta:
            key = (latencies.name, labels)
            before, before_total = self._before.get(key, ([0] * len(counts), 0.0))
            self._before[key] = (counts, total)
            counts = [mine - theirs for mine, theirs in zip(counts, before, strict=True)]
            total, count = total - before_total, sum(counts)
        return HistogramDataPoint(
            attributes=_spelled(dict(zip(latencies.names, labels, strict=True)), self._metrics.spelling),
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
        self._provider.shutdown()


def _callback(instrument: Instrument, spelling: Spelling) -> Any:
    from opentelemetry.metrics import Observation

    def observe(options: object) -> list[Observation]:
        found: list[Observation] = []
        rest, labels = 0.0, None
        for value, attributes in instrument.read():
            if len(found) < MOST_SERIES:
                found.append(Observation(value, _spelled(attributes, spelling)))
            else:
                rest, labels = rest + value, attributes
        if labels is not None and instrument.kind == "counter":
            found.append(Observation(rest, _spelled(dict.fromkeys(labels, OTHER), spelling)))
        return found

    return observe


def _spelled(attributes: Mapping[str, str], spelling: Spelling) -> dict[str, str]:
    """These attributes under the names that are asked for. Bytes that are not UTF-8, as names of Redis streams may
    have, are escapes, as everywhere they are shown: neither Prometheus nor OTLP could hold them."""
    return {each: _encodable(value) for name, value in attributes.items() for each in spelled(spelling, name)}


def _encodable(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "backslashreplace").decode()
    return value
