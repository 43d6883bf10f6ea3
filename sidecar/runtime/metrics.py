"""Metric instruments of the sidecar: status, dead letters, members, exporters and consumer groups."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Literal, Protocol

from sidecar.api import models
from sidecar.domain.broker_traits import traits_of
from sidecar.domain.errors import TracecarError
from sidecar.domain.ports.exporter import Destination
from sidecar.domain.ports.index import Index, Node
from sidecar.domain.ports.metrics import Instrument, Point
from sidecar.domain.position import Position
from sidecar.pipeline.consumer_groups.progress import GroupPartitionProgress
from sidecar.pipeline.consumer_groups.tracker import ConsumerGroupTracker, TrackedGroup
from sidecar.pipeline.stream_counters import StreamCounters

SYSTEM, DESTINATION, GROUP = "messaging.system", "messaging.destination.name", "messaging.consumer.group.name"
Kind = Literal["counter", "gauge"]
MAX_SAMPLES_PER_PARTITION = 4
"""Events of one group in one partition to measure in one collection."""

_STREAM: tuple[tuple[str, Kind, str, Callable[[models.StreamStatusModel], float | None]], ...] = (
    ("tracecar.events", "counter", "Events seen.", lambda stream: stream.events),
    ("tracecar.rejected", "counter", "Events that were rejected.", lambda stream: stream.rejected),
    ("tracecar.gaps", "counter", "Gaps: records that were deleted before they were read.", lambda stream: stream.gaps),
    ("tracecar.lag", "gauge", "Records that are not committed yet.", lambda stream: stream.lag),
    ("tracecar.held", "gauge", "1 if the stream is held.", lambda stream: int(stream.held is not None)),
    (
        "tracecar.partitions_settled_here",
        "gauge",
        "Partitions that are committed here.",
        lambda stream: stream.settled_here,
    ),
)
_SERVICE: tuple[tuple[str, Kind, str, Callable[[models.ServiceStatus], float]], ...] = (
    ("tracecar.ready", "gauge", "1 if every broker is connected.", lambda status: int(status.ready)),
    ("tracecar.index_events", "gauge", "Events that the index holds.", lambda status: status.index.events),
    (
        "tracecar.index_evicted",
        "counter",
        "Events that were evicted from the index.",
        lambda status: status.index.evicted,
    ),
    ("tracecar.schemas", "gauge", "Schemas in memory.", lambda status: status.registry.schemas),
    (
        "tracecar.registry.reachable",
        "gauge",
        "1 if the schema registry answered the last request.",
        lambda status: int(status.registry.reachable is not False),
    ),
    (
        "tracecar.live_dropped",
        "counter",
        "Events that live subscribers missed.",
        lambda status: status.live.dropped if status.live else 0,
    ),
    ("tracecar.uptime_seconds", "gauge", "Seconds since start.", lambda status: status.uptime_s),
)


class StatusMetrics:
    """Instruments of the values in `tracecar status`."""

    def __init__(self, ask: Callable[[], Awaitable[models.ServiceStatus]]) -> None:
        self._ask = ask
        self._status: models.ServiceStatus | None = None

    async def refresh(self) -> None:
        self._status = await self._ask()

    def instruments(self) -> Sequence[Instrument]:
        instruments = [
            Instrument(name, kind, description, self._streams(value)) for name, kind, description, value in _STREAM
        ]
        instruments.append(
            Instrument(
                "messaging.client.consumed.messages",
                "counter",
                "Messages that the sidecar's group received, each counted once.",
                self._collect_consumed,
                "{message}",
            )
        )
        instruments += [
            Instrument(name, kind, description, self._service(value)) for name, kind, description, value in _SERVICE
        ]
        return instruments

    def _streams(self, value: Callable[[models.StreamStatusModel], float | None]) -> Callable[[], Iterable[Point]]:
        def read() -> Iterable[Point]:
            for stream in self._status.streams if self._status is not None else ():
                number = value(stream)
                if number is not None:
                    yield number, {"system": stream.system, "stream": stream.stream}

        return read

    def _collect_consumed(self) -> Iterable[Point]:
        for stream in self._status.streams if self._status is not None else ():
            labels = {SYSTEM: stream.system, DESTINATION: stream.stream, "messaging.operation.name": "receive"}
            yield stream.events, labels if stream.group is None else {**labels, GROUP: stream.group}

    def _service(self, value: Callable[[models.ServiceStatus], float]) -> Callable[[], Iterable[Point]]:
        return lambda: [] if self._status is None else [(value(self._status), {})]


class DeadLetterMetrics:
    """Instruments of written dead letters: of rejections, failure reports and exhausted entries."""

    def __init__(self, counters: StreamCounters) -> None:
        self._counters = counters

    async def refresh(self) -> None:
        """Do nothing: all values are in memory."""

    def instruments(self) -> Sequence[Instrument]:
        return (Instrument("tracecar.dead_letters", "counter", "Dead letters that are durable.", self._read),)

    def _read(self) -> Iterable[Point]:
        for system, stream in self._counters.streams():
            dead_lettered = self._counters.of(system, stream).dead_lettered
            yield dead_lettered, {SYSTEM: system, DESTINATION: stream}


class SharedIndexCounts(Protocol):
    """An index that several sidecars share."""

    @property
    def waiting(self) -> int: ...

    @property
    def not_indexed(self) -> int: ...


class MembershipMetrics:
    """Instruments of the members and their shared index. A sidecar without a shared index counts as one live member."""

    def __init__(self, shared: SharedIndexCounts | None, members: Callable[[], Sequence[models.MemberModel]]) -> None:
        self._shared, self._members = shared, members

    async def refresh(self) -> None:
        """Do nothing: all values are in memory."""

    def instruments(self) -> Sequence[Instrument]:
        shared = self._shared
        return (
            Instrument(
                "tracecar.index.waiting",
                "gauge",
                "Events of this sidecar that wait to be written to the shared index.",
                lambda: [(0 if shared is None else shared.waiting, {})],
            ),
            Instrument(
                "tracecar.index.not_indexed",
                "counter",
                "Events that found no room in the queue to the shared index and are read again from the broker.",
                lambda: [(0 if shared is None else shared.not_indexed, {})],
            ),
            Instrument(
                "tracecar.members",
                "gauge",
                "Sidecars of the group that share the index, this one included: alive, or silent for too long.",
                self._read,
            ),
        )

    def _read(self) -> Iterable[Point]:
        if self._shared is None:
            return [(1, {"state": "alive"}), (0, {"state": "silent"})]
        rows = self._members()
        alive = sum(row.alive for row in rows)
        return [(alive, {"state": "alive"}), (len(rows) - alive, {"state": "silent"})]


class TraceExportCounts(Protocol):
    """Counters of the trace exporter."""

    @property
    def unsampled(self) -> int: ...

    @property
    def changed(self) -> int: ...

    @property
    def early(self) -> int: ...

    @property
    def held(self) -> int: ...


class ExporterMetrics:
    """Instruments of the telemetry exporters."""

    def __init__(self, exporters: Sequence[Destination], tracing: TraceExportCounts) -> None:
        self._exporters, self._tracing = exporters, tracing

    async def refresh(self) -> None:
        """Do nothing: all values are in memory."""

    def instruments(self) -> Sequence[Instrument]:
        def count(number: int) -> Callable[[], Iterable[Point]]:
            return lambda: [(exporter.counts()[number], {"exporter": exporter.name}) for exporter in self._exporters]

        tracing = self._tracing
        return (
            Instrument("tracecar.exporter.sent", "counter", "Items that a backend accepted.", count(0)),
            Instrument("tracecar.exporter.dropped", "counter", "Items dropped because the queue was full.", count(1)),
            Instrument("tracecar.exporter.failed", "counter", "Items that a backend refused.", count(2)),
            Instrument(
                "tracecar.exporter.up",
                "gauge",
                "0 if the backend does not accept what is sent.",
                lambda: [(int(exporter.trouble is None), {"exporter": exporter.name}) for exporter in self._exporters],
            ),
            Instrument(
                "tracecar.spans.unsampled",
                "counter",
                "Spans that sampling dropped.",
                lambda: [(tracing.unsampled, {})],
            ),
            Instrument(
                "tracecar.spans.changed",
                "counter",
                "Spans that would be different now, because an event of their flow arrived after they were sent.",
                lambda: [(tracing.changed, {})],
            ),
            Instrument(
                "tracecar.spans.early",
                "counter",
                "Spans sent before their flow was quiet, for lack of room.",
                lambda: [(tracing.early, {})],
            ),
            Instrument(
                "tracecar.spans.held", "gauge", "Events that wait for their flow.", lambda: [(tracing.held, {})]
            ),
        )


DeliveryCallback = Callable[[tuple[str, str, str], float, Node], None]
"""Called for a consumed event, with its system, stream and group, and the seconds from append to consumption."""


class ConsumerGroupMetrics:
    """Instruments of other consumer groups: lag, stops, and the time from append to consumption."""

    def __init__(self, tracker: ConsumerGroupTracker, index: Index, on_delivery: DeliveryCallback) -> None:
        self._tracker, self._index, self._on_delivery = tracker, index, on_delivery
        self._committed: dict[tuple[str, str, Position], int] = {}

    async def refresh(self) -> None:
        """Measure some of the latest events that each group consumed since the last call."""
        before, self._committed = self._committed, {}
        for group in self._tracker.groups():
            for partition, progress in list(group.partitions.items()):
                key = (group.system, group.group, partition.at(0))
                committed = progress.latest.committed
                self._committed[key] = committed
                if key in before and committed > before[key]:
                    with contextlib.suppress(TracecarError):
                        await self._measure(group, progress, before[key], committed)

    async def _measure(self, group: TrackedGroup, progress: GroupPartitionProgress, begin: int, end: int) -> None:
        partition = progress.latest.partition
        step = max(1, (end - begin) // MAX_SAMPLES_PER_PARTITION)
        # If offsets do not count records, only the last consumed one is known to exist.
        last = begin - 1 if traits_of(group.system).offsets_count_records else end - 2
        for offset in range(end - 1, last, -step)[:MAX_SAMPLES_PER_PARTITION]:
            times = progress.history.consumed_between(offset)
            node = None if times is None else await self._index.at(partition.at(offset))
            if node is not None and times is not None:
                seconds = times[1] / 1e6 - node.event.appended_at / 1e3
                self._on_delivery((group.system, partition.stream, group.group), seconds, node)

    def instruments(self) -> Sequence[Instrument]:
        return (
            Instrument(
                "tracecar.group.lag", "gauge", "Records that a consumer group has not committed yet.", self._lags
            ),
            Instrument(
                "tracecar.group.stopped",
                "gauge",
                "Partitions in which a consumer group stopped at an event.",
                self._stops,
            ),
        )

    def _lags(self) -> Iterable[Point]:
        for group in self._tracker.groups():
            lags: dict[str, int] = {}
            for partition, progress in group.partitions.items():
                if progress.latest.lag is not None:
                    lags[partition.stream] = lags.get(partition.stream, 0) + progress.latest.lag
            for stream, lag in lags.items():
                yield lag, {SYSTEM: group.system, DESTINATION: stream, GROUP: group.group}

    def _stops(self) -> Iterable[Point]:
        for group in self._tracker.groups():
            stops = [stop.position.stream for stop in group.stops]
            for stream in group.streams:
                yield stops.count(stream), {SYSTEM: group.system, DESTINATION: stream, GROUP: group.group}
