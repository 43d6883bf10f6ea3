"""The instruments of what a sidecar knows of itself: its status, the groups that it follows, its exporters."""

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
MOST_SAMPLES = 4
"""Events of one group in one partition that one look measures."""

_STREAM: tuple[tuple[str, Kind, str, Callable[[models.StreamStatusModel], float | None]], ...] = (
    ("tracecar.events", "counter", "Events seen.", lambda one: one.events),
    ("tracecar.rejected", "counter", "Events that were rejected.", lambda one: one.rejected),
    ("tracecar.gaps", "counter", "How often records were gone before they were read.", lambda one: one.gaps),
    ("tracecar.lag", "gauge", "Records that are not committed yet.", lambda one: one.lag),
    ("tracecar.held", "gauge", "1 where the stream is held.", lambda one: int(one.held is not None)),
    ("tracecar.partitions_settled_here", "gauge", "Partitions that are committed here.", lambda one: one.settled_here),
)
_ALONE: tuple[tuple[str, Kind, str, Callable[[models.ServiceStatus], float]], ...] = (
    ("tracecar.ready", "gauge", "1 where the brokers are reached.", lambda one: int(one.ready)),
    ("tracecar.index_events", "gauge", "Events that the index holds.", lambda one: one.index.events),
    ("tracecar.index_evicted", "counter", "Events that the bound pushed out.", lambda one: one.index.evicted),
    ("tracecar.schemas", "gauge", "Schemas in memory.", lambda one: one.registry.schemas),
    (
        "tracecar.registry.reachable",
        "gauge",
        "1 where the schema registry answered when last asked.",
        lambda one: int(one.registry.reachable is not False),
    ),
    (
        "tracecar.live_dropped",
        "counter",
        "Events that listeners missed.",
        lambda one: one.live.dropped if one.live else 0,
    ),
    ("tracecar.uptime_seconds", "gauge", "Seconds since start.", lambda one: one.uptime_s),
)


class StatusMetrics:
    """What `tracecar status` says."""

    def __init__(self, ask: Callable[[], Awaitable[models.ServiceStatus]]) -> None:
        self._ask = ask
        self._status: models.ServiceStatus | None = None

    async def refresh(self) -> None:
        self._status = await self._ask()

    def instruments(self) -> Sequence[Instrument]:
        found = [
            Instrument(name, kind, description, self._streams(value)) for name, kind, description, value in _STREAM
        ]
        found.append(
            Instrument(
                "messaging.client.consumed.messages",
                "counter",
                "Messages that the sidecar's group was given, each counted once.",
                self._consumed,
                "{message}",
            )
        )
        found += [Instrument(name, kind, description, self._alone(value)) for name, kind, description, value in _ALONE]
        return found

    def _streams(self, value: Callable[[models.StreamStatusModel], float | None]) -> Callable[[], Iterable[Point]]:
        def read() -> Iterable[Point]:
            for one in self._status.streams if self._status is not None else ():
                number = value(one)
                if number is not None:
                    yield number, {"system": one.system, "stream": one.stream}

        return read

    def _consumed(self) -> Iterable[Point]:
        for one in self._status.streams if self._status is not None else ():
            labels = {SYSTEM: one.system, DESTINATION: one.stream, "messaging.operation.name": "receive"}
            yield one.events, labels if one.group is None else {**labels, GROUP: one.group}

    def _alone(self, value: Callable[[models.ServiceStatus], float]) -> Callable[[], Iterable[Point]]:
        return lambda: [] if self._status is None else [(value(self._status), {})]


class DeadLetterMetrics:
    """The dead letters that were written: of rejections, of reports, of what groups gave up."""

    def __init__(self, counters: StreamCounters) -> None:
        self._counters = counters

    async def refresh(self) -> None:
        """Nothing to ask."""

    def instruments(self) -> Sequence[Instrument]:
        return (
            Instrument("tracecar.dead_letters", "counter", "Dead letters that are known to be durable.", self._read),
        )

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
    """Who shares the work, and how the index that they share keeps up. A sidecar by itself is one that is alive, and
    nothing of it waits."""

    def __init__(self, shared: SharedIndexCounts | None, members: Callable[[], Sequence[models.MemberModel]]) -> None:
        self._shared, self._members = shared, members

    async def refresh(self) -> None:
        """Nothing to ask."""

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
                "Events that found no room on the way to the shared index, and are read again from the broker.",
                lambda: [(0 if shared is None else shared.not_indexed, {})],
            ),
            Instrument(
                "tracecar.members",
                "gauge",
                "Sidecars of the group that share the index, this one too: alive, or silent for longer than usual.",
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
    """What exporters of traces tell beside their counts."""

    @property
    def unsampled(self) -> int: ...

    @property
    def changed(self) -> int: ...

    @property
    def early(self) -> int: ...

    @property
    def held(self) -> int: ...


class ExporterMetrics:
    """How telemetry gets out."""

    def __init__(self, exporters: Sequence[Destination], tracing: TraceExportCounts) -> None:
        self._exporters, self._tracing = exporters, tracing

    async def refresh(self) -> None:
        """Nothing to ask."""

    def instruments(self) -> Sequence[Instrument]:
        def count(number: int) -> Callable[[], Iterable[Point]]:
            return lambda: [(exporter.counts()[number], {"exporter": exporter.name}) for exporter in self._exporters]

        tracing = self._tracing
        return (
            Instrument("tracecar.exporter.sent", "counter", "Items that a backend took.", count(0)),
            Instrument("tracecar.exporter.dropped", "counter", "Items that found the queue full.", count(1)),
            Instrument("tracecar.exporter.failed", "counter", "Items that a backend refused.", count(2)),
            Instrument(
                "tracecar.exporter.up",
                "gauge",
                "0 where the backend does not take what is sent.",
                lambda: [(int(exporter.trouble is None), {"exporter": exporter.name}) for exporter in self._exporters],
            ),
            Instrument(
                "tracecar.spans.unsampled",
                "counter",
                "Spans that sampling left out.",
                lambda: [(tracing.unsampled, {})],
            ),
            Instrument(
                "tracecar.spans.changed",
                "counter",
                "Spans that were sent and would be different now: something of their flow came later.",
                lambda: [(tracing.changed, {})],
            ),
            Instrument(
                "tracecar.spans.early",
                "counter",
                "Spans that could not wait until their flow was quiet.",
                lambda: [(tracing.early, {})],
            ),
            Instrument(
                "tracecar.spans.held", "gauge", "Events that wait for their flow.", lambda: [(tracing.held, {})]
            ),
        )


Passed = Callable[[tuple[str, str, str], float, Node], None]
"""Hears of an event that a group has passed: system, stream and group, how long after it was appended, which event."""


class ConsumerGroupMetrics:
    """How far other consumer groups are, and how long events take to them."""

    def __init__(self, follower: ConsumerGroupTracker, index: Index, passed: Passed) -> None:
        self._follower, self._index, self._passed = follower, index, passed
        self._seen: dict[tuple[str, str, Position], int] = {}

    async def refresh(self) -> None:
        """Measure the latest events that each group has passed since it was last asked."""
        before, self._seen = self._seen, {}
        for reading in self._follower.groups():
            for partition, followed in list(reading.partitions.items()):
                key = (reading.system, reading.group, partition.at(0))
                committed = followed.seen.committed
                self._seen[key] = committed
                if key in before and committed > before[key]:
                    with contextlib.suppress(TracecarError):
                        await self._measure(reading, followed, before[key], committed)

    async def _measure(self, reading: TrackedGroup, followed: GroupPartitionProgress, begin: int, end: int) -> None:
        partition = followed.seen.partition
        step = max(1, (end - begin) // MOST_SAMPLES)
        # Where offsets do not count records, only the last one passed is known to exist.
        last = begin - 1 if traits_of(reading.system).offsets_count_records else end - 2
        for offset in range(end - 1, last, -step)[:MOST_SAMPLES]:
            times = followed.passing.when(offset)
            node = None if times is None else await self._index.at(partition.at(offset))
            if node is not None and times is not None:
                took = times[1] / 1e6 - node.event.appended_at / 1e3
                self._passed((reading.system, partition.stream, reading.group), took, node)

    def instruments(self) -> Sequence[Instrument]:
        return (
            Instrument(
                "tracecar.group.lag", "gauge", "Records that a consumer group has not committed yet.", self._lags
            ),
            Instrument(
                "tracecar.group.stopped",
                "gauge",
                "Partitions in which a consumer group stands still in front of an event.",
                self._stops,
            ),
        )

    def _lags(self) -> Iterable[Point]:
        for reading in self._follower.groups():
            lags: dict[str, int] = {}
            for partition, followed in reading.partitions.items():
                if followed.seen.lag is not None:
                    lags[partition.stream] = lags.get(partition.stream, 0) + followed.seen.lag
            for stream, lag in lags.items():
                yield lag, {SYSTEM: reading.system, DESTINATION: stream, GROUP: reading.group}

    def _stops(self) -> Iterable[Point]:
        for reading in self._follower.groups():
            stops = [stop.position.stream for stop in reading.stops]
            for stream in reading.streams:
                yield stops.count(stream), {SYSTEM: reading.system, DESTINATION: stream, GROUP: reading.group}
