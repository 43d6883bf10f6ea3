"""The sidecar as a whole: what starts first, what stops last, and how it is.

Downstream starts first (index, exporters, API, then the brokers), so that nothing arrives before there is somewhere for
it to go. Upstream stops first: no more batches, then what is judged is committed, then the rest is closed. Dying at any
moment instead is safe: what was not committed comes again.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, cast

import structlog

from sidecar.adapters.index.memory.index import MemoryIndex
from sidecar.api.http.server import ApiServer
from sidecar.api.services.answers import ReadService
from sidecar.config.schema import Config
from sidecar.dead_letters.store import DeadLetterStore
from sidecar.dead_letters.writer import DeadLetterWriter
from sidecar.decoding.decoder import EventDecoder
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.domain.json_safe import text
from sidecar.domain.model import Decoded, Event
from sidecar.domain.ports.exporter import Destination, Exporter
from sidecar.domain.ports.index import Index
from sidecar.pipeline.consumer_groups.tracker import ConsumerGroupTracker
from sidecar.pipeline.index_backfill import IndexBackfill
from sidecar.pipeline.live_relay import LiveRelay, read_at
from sidecar.pipeline.live_stream import LiveStream
from sidecar.pipeline.output_router import OutputRouter
from sidecar.pipeline.pending_entry_reaper import PendingEntryBroker, PendingEntryReaper
from sidecar.pipeline.pipeline import Pipeline, micros
from sidecar.pipeline.stream_counters import StreamCounters
from sidecar.pipeline.unowned_partition_reader import UnownedPartitionReader
from sidecar.replay.job_control import ReplaySource
from sidecar.replay.service import ReplayService
from sidecar.runtime import wiring
from sidecar.runtime.cluster_members import ClusterMembers
from sidecar.runtime.gc_tuning import tune_gc
from sidecar.runtime.metrics import (
    ConsumerGroupMetrics,
    DeadLetterMetrics,
    ExporterMetrics,
    MembershipMetrics,
    StatusMetrics,
)
from sidecar.runtime.replay_wiring import build_replay_service
from sidecar.runtime.status import StatusReporter

if TYPE_CHECKING:
    from sidecar.adapters.index.redis.index import RedisIndex

log = structlog.get_logger()


class EventFanOut:
    """Where judged records are shown (`sidecar.pipeline.rewind_deduplicator.EventSink`)."""

    def __init__(
        self,
        index: Index,
        live: LiveStream,
        exporters: Sequence[Exporter],
        answers: ReadService,
        relaying: LiveRelay | None,
    ) -> None:
        self._index, self._live, self._exporters, self._answers = index, live, exporters, answers
        self._relaying = relaying

    def show(self, decoded: Sequence[Decoded], *, again: bool) -> None:
        events = [one.event for one in decoded]
        self._index.add(events)
        if again:
            return
        self._answers.keep(decoded)
        self._live.publish(decoded)
        if self._relaying is not None:
            self._relaying.offer(decoded)
        for exporter in self._exporters:
            exporter.offer(decoded)


class SidecarService:
    """One sidecar. Make it within a running event loop."""

    operations: ReplayService

    def __init__(self, config: Config) -> None:
        self.config = config
        self.counters = StreamCounters()
        self._sources = wiring.sources(config)
        self.index = wiring.index(config)
        self.catalog = SchemaCache(wiring.registry(config), wiring.schema_formats(), require=config.registry.require)
        self._judge = EventDecoder(self.catalog, config.envelope)
        self.live = LiveStream()
        self.telemetry = wiring.telemetry(config, self._sources)
        self.exporters: Sequence[Destination] = self.telemetry.destinations
        self._filler = IndexBackfill(
            self.index,
            self._judge,
            lookback=float(config.index.lookback),
            max_events=self.index.max_events,
            remember=self.telemetry.remember,
        )
        self.status = StatusReporter(self, self.telemetry.metrics)
        self._shared = None if isinstance(self.index, MemoryIndex) else self.index
        self._relaying: LiveRelay | None = None
        if self._shared is not None:
            self._relaying = self._joined(self._shared)
        self._follower = ConsumerGroupTracker([source.broker for source in self._sources])
        self._desk = DeadLetterStore(
            self._sources, config.dead_letters.replay.attempts, lambda position: self.operations.waits(position)
        )
        self.answers = ReadService(
            index=self.index,
            brokers=[source.broker for source in self._sources],
            judge=self._judge,
            catalog=self.catalog,
            desk=self._desk,
            facts=self.status,
            holds=self,
            redact=config.redact,
            redact_messages=config.redact_messages,
            envelope=config.envelope,
            follower=self._follower,
        )
        if self._shared is not None and config.redact:
            self._shared.hide = self.answers.redactor.rejection
        self._exhausting = [
            PendingEntryReaper(
                cast("PendingEntryBroker", source.broker),
                source.exhausted,
                self.answers.payloads,
                self._writer(source),
                self._dead_lettered,
            )
            for source in self._sources
            if source.exhausted and config.dead_letters.enabled
        ]
        self.operations = build_replay_service(
            self._sources,
            answers=self.answers,
            desk=self._desk,
            catalog=self.catalog,
            follower=self._follower,
            index=self.index,
            writer=self._writer,
            selection=config.dead_letters.replay.selection,
            dead_lettered=self._dead_lettered,
        )
        self.status.besides = self._besides
        self.telemetry.measure(
            [
                StatusMetrics(self.status.status),
                DeadLetterMetrics(self.counters),
                ExporterMetrics(self.exporters, self.telemetry.tracing),
                ConsumerGroupMetrics(self._follower, self.index, self.telemetry.record_delivery),
                MembershipMetrics(
                    self._shared, lambda: self.status.members.rows() if self.status.members is not None else []
                ),
            ]
        )
        showing = EventFanOut(self.index, self.live, [self.telemetry], self.answers, self._relaying)
        self._watcher: UnownedPartitionReader | None = None
        if config.index.memory is not None and config.index.memory.scope == "all":
            brokers = [source.broker for source in self._sources]
            lookback = float(config.index.lookback)
            self._watcher = UnownedPartitionReader(
                brokers, self.index, self._filler.judged, self._show_others, lookback=lookback
            )
        self.pipelines = [
            Pipeline(
                source.broker,
                self._judge,
                self.catalog,
                showing,
                self._outlet(source),
                self.counters,
                self._filler,
                config,
                source.group,
            )
            for source in self._sources
        ]
        self.serving = ApiServer(self.answers, self.live, self.operations, config)
        self.started = time.monotonic()

    def _joined(self, index: RedisIndex) -> LiveRelay:
        """Be a member of those who share this index."""
        index.losing(self._filler.backfill_all, self._filler.gap)
        members = ClusterMembers(
            index,
            self.counters,
            self.status.ours,
            service=self.config.service,
            groups=[source.group for source in self._sources],
            listening=lambda: self.live.subscribers > 0,
        )
        self.status.members = members
        brokers = {source.broker.system: source.broker for source in self._sources}
        return LiveRelay(
            index.relay,
            self.live,
            members.others_listen,
            self._filler.judged,
            self._pass_others,
            partial(read_at, brokers),
            secret=bool(self.config.redact),
        )

    def _outlet(self, source: wiring.BrokerSource) -> OutputRouter:
        letter = self._writer(source).write if self.config.dead_letters.enabled else None
        return OutputRouter(letter, source.naming, source.gate)

    def _writer(self, source: ReplaySource) -> DeadLetterWriter:
        dialects = self.config.dead_letters.dialects
        return DeadLetterWriter(source.naming, source.group, self.config.service, micros, dialects)

    def _dead_lettered(self, event: Event, group: str, id: str) -> None:
        """A dead letter is durable that no committing wrote: of a report, or of what a group gave up."""
        self.counters.letter(event.position.system, event.position.stream)
        self.telemetry.dead_lettered(event, group, id)

    async def run(self) -> None:
        """Runs until cancelled, then drains and commits. Raises Refused where a server says no for good."""
        await self.serving.start()
        self.telemetry.start()
        if self._shared is not None and self._relaying is not None:
            self._shared.start()
            self._relaying.start()
        reading = [asyncio.ensure_future(pipeline.run()) for pipeline in self.pipelines]
        self._follower.start()
        if self._watcher is not None:
            self._watcher.start()
        self.operations.start()
        for exhausting in self._exhausting:
            exhausting.start()
        try:
            await asyncio.wait(reading, return_when=asyncio.FIRST_EXCEPTION)
            for done in reading:
                if done.done():
                    done.result()
        finally:
            await self._stop(reading)

    async def _stop(self, reading: Sequence[asyncio.Task[None]]) -> None:
        for exhausting in self._exhausting:
            await exhausting.close()
        await self.operations.close()
        await self._follower.close()
        if self._watcher is not None:
            await self._watcher.close()
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        await self._filler.close()
        await asyncio.gather(*(pipeline.drain() for pipeline in self.pipelines), return_exceptions=True)
        if self._shared is not None and self._relaying is not None:
            await self._relaying.close()
            await self._shared.stop()
        for pipeline in self.pipelines:
            await pipeline.broker.close()
        await self.telemetry.close()
        await self.serving.stop()
        if self._shared is not None:
            await self._shared.close()
        await self.catalog.close()

    def _show_others(self, decoded: Sequence[Decoded], of_before: bool) -> None:
        """Show events that another member commits: its telemetry is the other's."""
        self.index.add([one.event for one in decoded])
        if not of_before:
            self._pass_others(decoded)

    def _pass_others(self, decoded: Sequence[Decoded]) -> None:
        """Events that just passed at another member."""
        self.answers.keep(decoded)
        self.live.publish(decoded)

    def _besides(self) -> Iterable[str]:
        for exhausting in self._exhausting:
            if exhausting.trouble is not None:
                yield f"entries that groups cannot process (sources.redis.exhausted) stay: {exhausting.trouble}"
        yield from self.operations.trouble()

    async def committed(self) -> None:
        """Returns once everything judged so far is committed."""
        await asyncio.gather(*(pipeline.committed() for pipeline in self.pipelines))

    # --- what the API asks for (`sidecar.api.services.answers.HeldStreams`)

    async def resume(self, stream: str) -> int:
        """Try again what is held of a stream; returns how many partitions were."""
        return sum([await pipeline.resume(_raw(pipeline, stream)) for pipeline in self.pipelines])

    async def skip(self, stream: str) -> int:
        """Go on past what holds a stream; returns how many partitions were held."""
        return sum([await pipeline.skip(_raw(pipeline, stream)) for pipeline in self.pipelines])


def _raw(pipeline: Pipeline, shown: str) -> str:
    """The name of the stream that is shown as this: bytes that are not UTF-8 are shown as escapes."""
    names = (lease.partition.stream for lease in pipeline.leases())
    return next((name for name in names if text(name) == text(shown)), shown)


def run(config: Config) -> None:
    """`tracecar run`: until SIGTERM or SIGINT, then drain and commit. Raises Refused, ConfigError."""
    import uvloop

    tune_gc()
    uvloop.run(_until_signalled(config))


async def _until_signalled(config: Config) -> None:
    loop = asyncio.get_running_loop()
    running = asyncio.ensure_future(SidecarService(config).run())
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, running.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await running
