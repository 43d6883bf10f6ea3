"""Status of the sidecar, for `tracecar status` and `/readyz`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Protocol

from sidecar.api import models
from sidecar.api.mappers.events import coverage
from sidecar.config.schema import Config, MemoryIndexConfig
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.domain.errors import TracecarError
from sidecar.domain.json_safe import to_text
from sidecar.domain.ports.broker import Gap, PartitionStatus
from sidecar.domain.ports.exporter import Destination
from sidecar.domain.ports.index import Index
from sidecar.domain.timestamps import format_rfc3339
from sidecar.pipeline.live_stream import LiveStream
from sidecar.pipeline.pipeline import Pipeline
from sidecar.pipeline.stream_counters import StreamCounters

BROKER_STATUS_TTL_S = 1.0
"""Time for which a broker's status is reused, because many callers may request it at once."""
MAX_LAGGING_PARTITIONS = 100
"""Partitions of a stream to list with their lag."""


@dataclass(frozen=True)
class StatusSources:
    """Objects whose state the status reports."""

    config: Config
    counters: StreamCounters
    catalog: SchemaCache
    live: LiveStream
    index: Index
    exporters: Sequence[Destination]
    pipelines: Sequence[Pipeline]


class MemberList(Protocol):
    """The members that share the index."""

    def rows(self) -> list[models.MemberModel]:
        """Return all members, this one included."""

    def trouble(self) -> list[str]:
        """Describe problems of the shared index, in sentences."""


class StatusReporter:
    """Reports the status of one sidecar (`sidecar.api.services.ports.StatusProvider`)."""

    def __init__(
        self,
        sources: StatusSources,
        *,
        members: MemberList | None = None,
        further_trouble: Sequence[Callable[[], Iterable[str]]] = (),
    ) -> None:
        """Create a reporter.

        Args:
            sources: Objects whose state is reported.
            members: The members that share the index; None if it is not shared.
            further_trouble: Returns sentences about problems of other parts.
        """
        self._sources, self._members, self._further_trouble = sources, members, further_trouble
        self._started = time.monotonic()
        self._answers: dict[str, tuple[float, list[PartitionStatus], str | None]] = {}

    @property
    def ready(self) -> bool:
        """True if every broker is connected."""
        return all(pipeline.reached for pipeline in self._sources.pipelines)

    @property
    def unready_reason(self) -> str:
        """Reason why the sidecar is not ready; None if it is. It contains no addresses, because it needs no token."""
        away = [pipeline.broker.traits for pipeline in self._sources.pipelines if not pipeline.reached]
        return "; ".join(
            f"{traits.scheme} cannot be reached: check {traits.source_path}, and run tracecar check" for traits in away
        )

    async def status(self) -> models.ServiceStatus:
        """Return the whole status. A server that does not reply is listed in `trouble`."""
        sources = self._sources
        streams: list[models.StreamStatusModel] = []
        trouble: list[str] = []
        for pipeline in sources.pipelines:
            partitions, unreachable = await self._partitions(pipeline)
            streams += self._streams(pipeline, partitions)
            if (reason := pipeline.unreached or unreachable) is not None:
                trouble.append(f"{pipeline.broker.system} cannot be reached: {reason}")
            else:
                trouble += self._unread(pipeline, partitions)
                trouble += await _warnings(pipeline)
        held, live = sources.index.coverage(), sources.live
        for stream in streams:
            if stream.held is not None:
                trouble.append(f"{stream.stream} is held: {stream.held.reason}")
        trouble += [_describe_gap(latest, times) for latest, times in sources.counters.gaps()]
        trouble += [f"registry: {problem}" for problem in sources.catalog.problems[:10]]
        for sentences in self._further_trouble:
            trouble += sentences()
        if self._members is not None:
            trouble += self._members.trouble()
        return models.ServiceStatus(
            service=sources.config.service,
            version=version("tracecar"),
            ready=self.ready,
            filling=held.filling,
            streams=streams,
            index=models.IndexStatus(
                events=held.events,
                max_events=_max_events(sources.config),
                evicted=held.evicted,
                coverage=coverage(held),
            ),
            exporters=[
                models.ExporterStatus(name=exporter.name, sent=sent, dropped=dropped, failed=failed)
                for exporter in sources.exporters
                for sent, dropped, failed in [exporter.counts()]
            ],
            registry=models.RegistryStatus(reachable=sources.catalog.reachable, schemas=sources.catalog.schemas),
            uptime_s=round(time.monotonic() - self._started, 3),
            live=models.LiveStatus(subscribers=live.subscribers, dropped=live.dropped),
            trouble=[to_text(sentence) for sentence in trouble],
            members=[] if self._members is None else self._members.rows(),
        )

    async def owned_partitions(self) -> list[tuple[str, PartitionStatus]]:
        """Return the partitions that this sidecar commits, each with its group; empty if the broker does not reply."""
        owned = []
        for pipeline in self._sources.pipelines:
            leased = {lease.partition for lease in pipeline.leases()}
            partitions, _ = await self._partitions(pipeline)
            owned += [(pipeline.group, partition) for partition in partitions if partition.partition in leased]
        return owned

    def _unread(self, pipeline: Pipeline, partitions: Sequence[PartitionStatus]) -> list[str]:
        """Describe configured streams that are not read."""
        if not pipeline.reached:
            return []
        existing = {partition.partition.stream for partition in partitions}
        return [
            f"{to_text(name)} is not read: it does not exist or access is denied; run tracecar check to see which"
            for name in dict.fromkeys(pipeline.broker.named_streams)
            if name not in existing
        ]

    async def _partitions(self, pipeline: Pipeline) -> tuple[list[PartitionStatus], str | None]:
        now = time.monotonic()
        answer = self._answers.get(pipeline.broker.system)
        if answer is None or now - answer[0] > BROKER_STATUS_TTL_S:
            try:
                answer = (now, await pipeline.broker.status(), None)
            except TracecarError as error:
                answer = (now, answer[1] if answer else [], str(error))
            self._answers[pipeline.broker.system] = answer
        return answer[1], answer[2]

    def _streams(self, pipeline: Pipeline, partitions: Sequence[PartitionStatus]) -> list[models.StreamStatusModel]:
        system = pipeline.broker.system
        names = {status.partition.stream for status in partitions}
        names |= {stream for other, stream in self._sources.counters.streams() if other == system}
        leased = [lease.partition for lease in pipeline.leases()]
        streams = []
        for name in sorted(names):
            of_stream = [status for status in partitions if status.partition.stream == name]
            lags = [status.lag for status in of_stream]
            pending = [status.pending for status in of_stream if status.pending is not None]
            counter = self._sources.counters.of(system, name)
            streams.append(
                models.StreamStatusModel(
                    stream=to_text(name),
                    partitions=len(of_stream),
                    settled_here=sum(partition.stream == name for partition in leased),
                    lag=None if None in lags or not lags else sum(lag for lag in lags if lag is not None),
                    events=counter.events,
                    rejected=counter.rejected,
                    rate=round(counter.rate, 1),
                    held=self._read_hold(pipeline, name),
                    system=system,
                    group=pipeline.group,
                    pending=sum(pending) if pending else None,
                    gaps=counter.times_lost,
                    behind=_lagging(of_stream),
                )
            )
        return streams

    @staticmethod
    def _read_hold(pipeline: Pipeline, stream: str) -> models.HoldModel | None:
        held = pipeline.find_hold(stream)
        if held is None:
            return None
        return models.HoldModel(
            since=format_rfc3339(held.hold.since),
            reason=held.hold.reason,
            partitions=[str(partition) for partition in held.partitions],
        )


def _lagging(partitions: Sequence[PartitionStatus]) -> list[models.PartitionLagModel]:
    """Return the partitions with a lag, the largest first."""
    lagging = [(-status.lag, status.partition.number, status.ours) for status in partitions if status.lag]
    return [
        models.PartitionLagModel(partition=number, lag=-negative_lag, settled_here=ours)
        for negative_lag, number, ours in sorted(lagging)[:MAX_LAGGING_PARTITIONS]
    ]


def _max_events(config: Config) -> int:
    """Return how many events the index holds at most."""
    memory, shared = config.index.memory, config.index.redis
    if shared is not None:
        return shared.max_events
    return MemoryIndexConfig().max_events if memory is None else memory.max_events


def _describe_gap(latest: Gap, times: int) -> str:
    """Describe a gap in one sentence. Its end is the first offset that was read again."""
    partition = latest.partition
    more = "" if times == 1 else f" (the latest of {times} times since the start)"
    return (
        f"{to_text(partition.stream)}: records were deleted before they were read, from {partition.at(latest.wanted)} "
        f"to before {partition.at(latest.resumed)}: {latest.reason}{more}"
    )


async def _warnings(pipeline: Pipeline) -> Sequence[str]:
    """Return the broker's warnings; none if it does not answer."""
    try:
        return await pipeline.broker.warnings()
    except TracecarError:
        return ()
