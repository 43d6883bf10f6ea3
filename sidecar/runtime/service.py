"""Start and stop of a sidecar.

Downstream starts first (API, telemetry, index, then the brokers), so that no event arrives before its destination
exists. Upstream stops first: no new batches, then decoded ones are committed, then the rest is closed. A crash at any
moment is safe: uncommitted records are delivered again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sidecar.api.http.server import ApiServer
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.domain.ports.history import History
from sidecar.domain.ports.index import Index
from sidecar.domain.position import Partition
from sidecar.pipeline.consumer_groups.tracker import ConsumerGroupTracker
from sidecar.pipeline.index_backfill import IndexBackfill
from sidecar.pipeline.live_relay import LiveRelay
from sidecar.pipeline.pending_entry_reaper import PendingEntryReaper
from sidecar.pipeline.pipeline import Pipeline
from sidecar.pipeline.stream_counters import StreamCounters
from sidecar.pipeline.unowned_partition_reader import UnownedPartitionReader
from sidecar.replay.service import ReplayService
from sidecar.runtime.history_wiring import HistoryRecording
from sidecar.runtime.memory_trimmer import MemoryTrimmer
from sidecar.runtime.status import StatusReporter


class RunningTelemetry(Protocol):
    """Exports traces, metrics and logs in the background."""

    def start(self) -> None: ...

    async def close(self) -> None: ...


class SharedIndexSession(Protocol):
    """An index that several sidecars share, while this one is a member."""

    def start(
        self,
        *,
        heartbeat: Callable[[], Awaitable[bytes]],
        on_loss: Callable[[int | None], None],
        on_gap: Callable[[Partition, int, int], None],
    ) -> None: ...

    async def stop(self) -> None: ...

    async def close(self) -> None: ...


@dataclass(frozen=True)
class Membership:
    """The membership of this sidecar in a group that shares an index."""

    index: SharedIndexSession
    relay: LiveRelay
    heartbeat: Callable[[], Awaitable[bytes]]


class InsightMonitor(Protocol):
    """A part that finds something out as long as the sidecar runs."""

    def start(self) -> None: ...

    async def close(self) -> None: ...


@dataclass(frozen=True)
class SidecarService:
    """One sidecar, built by `sidecar.runtime.wiring.build_service`."""

    server: ApiServer
    status: StatusReporter
    counters: StreamCounters
    index: Index
    history: History | None
    """None if none is configured."""
    recording: HistoryRecording | None
    """None without a history."""
    catalog: SchemaCache
    telemetry: RunningTelemetry
    membership: Membership | None
    """None without a shared index."""
    backfill: IndexBackfill
    pipelines: Sequence[Pipeline]
    groups: ConsumerGroupTracker
    unowned_reader: UnownedPartitionReader | None
    replays: ReplayService
    reapers: Sequence[PendingEntryReaper]
    monitors: Sequence[InsightMonitor]
    trimmer: MemoryTrimmer

    async def run(self) -> None:
        """Run until canceled, then drain and commit. Raises Refused if a server refuses for good."""
        await self.server.start()
        self.telemetry.start()
        if self.membership is not None:
            self.membership.index.start(
                heartbeat=self.membership.heartbeat,
                on_loss=self.backfill.backfill_all,
                on_gap=self.backfill.backfill_range,
            )
            self.membership.relay.start()
        if self.recording is not None:
            self.recording.start()
        reading = [asyncio.ensure_future(pipeline.run()) for pipeline in self.pipelines]
        self.groups.start()
        if self.unowned_reader is not None:
            self.unowned_reader.start()
        self.replays.start()
        for reaper in self.reapers:
            reaper.start()
        for monitor in self.monitors:
            monitor.start()
        self.trimmer.start()
        try:
            await asyncio.wait(reading, return_when=asyncio.FIRST_EXCEPTION)
            for task in reading:
                if task.done():
                    task.result()
        finally:
            await self._stop(reading)

    async def _stop(self, reading: Sequence[asyncio.Task[None]]) -> None:
        await self.trimmer.close()
        for monitor in self.monitors:
            await monitor.close()
        for reaper in self.reapers:
            await reaper.close()
        await self.replays.close()
        await self.groups.close()
        if self.unowned_reader is not None:
            await self.unowned_reader.close()
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        await self.backfill.close()
        await asyncio.gather(*(pipeline.wait_until_committed() for pipeline in self.pipelines), return_exceptions=True)
        if self.membership is not None:
            await self.membership.relay.close()
            await self.membership.index.stop()
        if self.recording is not None:
            await self.recording.close()
        for pipeline in self.pipelines:
            await pipeline.broker.close()
        await self.telemetry.close()
        await self.server.stop()
        if self.membership is not None:
            await self.membership.index.close()
        if self.history is not None:
            await self.history.close()
        await self.catalog.close()

    async def wait_until_committed(self) -> None:
        """Wait until everything decoded so far is committed."""
        await asyncio.gather(*(pipeline.wait_until_committed() for pipeline in self.pipelines))
