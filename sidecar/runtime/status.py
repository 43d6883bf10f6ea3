"""How the sidecar is: what `tracecar status` and `/readyz` say."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from typing import Protocol

from sidecar.api import models
from sidecar.api.mappers.events import coverage
from sidecar.config.schema import Config
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.domain.errors import TracecarError
from sidecar.domain.json_safe import text
from sidecar.domain.ports.broker import Gap, PartitionStatus
from sidecar.domain.ports.exporter import Destination
from sidecar.domain.ports.index import Index
from sidecar.domain.timestamps import format_rfc3339
from sidecar.pipeline.live_stream import LiveStream
from sidecar.pipeline.pipeline import Pipeline
from sidecar.pipeline.stream_counters import StreamCounters

FRESH_SECONDS = 1.0
"""How long the brokers' answers about lag are used again: many may ask for the status, the brokers are asked once."""
MOST_BEHIND = 100
"""Partitions of a stream that are told by their lag."""


class StatusSources(Protocol):
    """What the status is taken from."""

    config: Config
    counters: StreamCounters
    catalog: SchemaCache
    live: LiveStream
    started: float

    @property
    def index(self) -> Index: ...

    @property
    def exporters(self) -> Sequence[Destination]: ...

    @property
    def pipelines(self) -> Sequence[Pipeline]: ...


class MetricsWriter(Protocol):
    """Writes what is measured."""

    async def exposition(self, *, open_metrics: bool) -> str: ...


class MemberList(Protocol):
    """Who shares the index."""

    def rows(self) -> list[models.MemberModel]:
        """All members, this one too."""

    def trouble(self) -> list[str]:
        """Sentences: what is wrong with the shared index."""


class StatusReporter:
    """The status of one sidecar (`sidecar.api.services.answers.StatusProvider`)."""

    def __init__(self, parts: StatusSources, metrics: MetricsWriter | None = None) -> None:
        self._parts, self._metrics = parts, metrics
        self.besides: Callable[[], Iterable[str]] = lambda: ()
        """Sentences: what else the sidecar looks after, and cannot."""
        self.members: MemberList | None = None
        """Who shares the index; None where it is not shared."""
        self._asked: dict[str, tuple[float, list[PartitionStatus], str | None]] = {}

    @property
    def ready(self) -> bool:
        """The brokers are reached; that the API is up, the asker knows."""
        return all(pipeline.reached for pipeline in self._parts.pipelines)

    async def exposition(self, *, open_metrics: bool) -> str:
        """Everything that is measured, as Prometheus reads it; empty where nothing is."""
        return "" if self._metrics is None else await self._metrics.exposition(open_metrics=open_metrics)

    async def status(self) -> models.ServiceStatus:
        """Everything at once. Never raises for a server that cannot be asked: it is in `trouble` then."""
        parts = self._parts
        streams: list[models.StreamStatusModel] = []
        trouble: list[str] = []
        for pipeline in parts.pipelines:
            partitions, unreachable = await self._partitions(pipeline)
            streams += self._streams(pipeline, partitions)
            if (reason := pipeline.unreached or unreachable) is not None:
                trouble.append(f"{pipeline.broker.system} is not reached: {reason}")
            else:
                trouble += self._unread(pipeline, partitions)
        held = parts.index.coverage()
        live = parts.live
        for stream in streams:
            if stream.held is not None:
                trouble.append(f"{stream.stream} is held: {stream.held.reason}")
        trouble += [_lost(latest, times) for latest, times in parts.counters.gaps()]
        trouble += [f"registry: {problem}" for problem in parts.catalog.problems[:10]]
        trouble += self.besides()
        if self.members is not None:
            trouble += self.members.trouble()
        return models.ServiceStatus(
            service=parts.config.service,
            version=version("tracecar"),
            ready=self.ready,
            filling=held.filling,
            streams=streams,
            index=models.IndexStatus(
                events=held.events,
                max_events=_bound(parts.config),
                evicted=held.evicted,
                coverage=coverage(held),
            ),
            exporters=[
                models.ExporterStatus(name=exporter.name, sent=sent, dropped=dropped, failed=failed)
                for exporter in parts.exporters
                for sent, dropped, failed in [exporter.counts()]
            ],
            registry=models.RegistryStatus(reachable=parts.catalog.reachable, schemas=parts.catalog.schemas),
            uptime_s=round(time.monotonic() - parts.started, 3),
            live=models.LiveStatus(subscribers=live.subscribers, dropped=live.dropped),
            trouble=[text(sentence) for sentence in trouble],
            members=[] if self.members is None else self.members.rows(),
        )

    async def ours(self) -> list[tuple[str, PartitionStatus]]:
        """The partitions that this sidecar commits, with their groups. Empty where the broker cannot say."""
        found = []
        for pipeline in self._parts.pipelines:
            leased = {lease.partition for lease in pipeline.leases()}
            partitions, _ = await self._partitions(pipeline)
            found += [(pipeline.group, partition) for partition in partitions if partition.partition in leased]
        return found

    def _unread(self, pipeline: Pipeline, partitions: Sequence[PartitionStatus]) -> list[str]:
        """What the configuration names and is not read."""
        if not pipeline.reached:
            return []
        there = {partition.partition.stream for partition in partitions}
        return [
            f"{text(name)} is not read: it is not there, or we are not allowed to (tracecar check says which)"
            for name in dict.fromkeys(pipeline.broker.named_streams)
            if name not in there
        ]

    async def _partitions(self, pipeline: Pipeline) -> tuple[list[PartitionStatus], str | None]:
        now = time.monotonic()
        asked = self._asked.get(pipeline.broker.system)
        if asked is None or now - asked[0] > FRESH_SECONDS:
            try:
                asked = (now, await pipeline.broker.status(), None)
            except TracecarError as error:
                asked = (now, asked[1] if asked else [], str(error))
            self._asked[pipeline.broker.system] = asked
        return asked[1], asked[2]

    def _streams(self, pipeline: Pipeline, partitions: Sequence[PartitionStatus]) -> list[models.StreamStatusModel]:
        system = pipeline.broker.system
        names = {one.partition.stream for one in partitions}
        names |= {stream for other, stream in self._parts.counters.streams() if other == system}
        leased = [lease.partition for lease in pipeline.leases()]
        found = []
        for name in sorted(names):
            of_stream = [one for one in partitions if one.partition.stream == name]
            lags = [one.lag for one in of_stream]
            pending = [one.pending for one in of_stream if one.pending is not None]
            counter = self._parts.counters.of(system, name)
            found.append(
                models.StreamStatusModel(
                    stream=text(name),
                    partitions=len(of_stream),
                    settled_here=sum(partition.stream == name for partition in leased),
                    lag=None if None in lags or not lags else sum(lag for lag in lags if lag is not None),
                    events=counter.events,
                    rejected=counter.rejected,
                    rate=round(counter.rate, 1),
                    held=self._held(pipeline, name),
                    system=system,
                    group=pipeline.group,
                    pending=sum(pending) if pending else None,
                    gaps=counter.times_lost,
                    behind=_behind(of_stream),
                )
            )
        return found

    @staticmethod
    def _held(pipeline: Pipeline, stream: str) -> models.HoldModel | None:
        held = pipeline.held(stream)
        if held is None:
            return None
        return models.HoldModel(
            since=format_rfc3339(held.hold.since),
            reason=held.hold.reason,
            partitions=[str(partition) for partition in held.partitions],
        )


def _behind(partitions: Sequence[PartitionStatus]) -> list[models.PartitionLagModel]:
    """Those with a lag, the one with most first."""
    behind = [(partition.lag, partition) for partition in partitions if partition.lag]
    behind.sort(key=lambda one: (-one[0], one[1].partition.number))
    return [
        models.PartitionLagModel(partition=one.partition.number, lag=lag, settled_here=one.ours)
        for lag, one in behind[:MOST_BEHIND]
    ]


def _bound(config: Config) -> int:
    """How many events the index holds at most."""
    memory, shared = config.index.memory, config.index.redis
    if shared is not None:
        return shared.max_events
    return 200_000 if memory is None else memory.max_events


def _lost(latest: Gap, times: int) -> str:
    """What a gap means to a person. The end of one is the first offset that was read again."""
    partition = latest.partition
    more = "" if times == 1 else f" (the latest of {times} times since the start)"
    return (
        f"{text(partition.stream)}: records were gone before they were read, from {partition.at(latest.wanted)} "
        f"to before {partition.at(latest.resumed)}: {latest.reason}{more}"
    )
