"""The way of a batch: broker → lane (decode, check, index, show) → commit, for one broker."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from sidecar.config.schema import Config
from sidecar.decoding.decoder import EventDecoder
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.domain.errors import Disconnected, Outage, Refused, TracecarError
from sidecar.domain.ports.broker import Broker, Lease
from sidecar.domain.position import Partition
from sidecar.pipeline.circuit_breaker import CircuitBreaker
from sidecar.pipeline.half_open_probe import would_trip_again
from sidecar.pipeline.index_backfill import IndexBackfill
from sidecar.pipeline.output_router import OutputRouter
from sidecar.pipeline.partition_worker import PartitionWorker, PipelineContext, WorkerHold
from sidecar.pipeline.rewind_deduplicator import EventSink, RewindDeduplicator
from sidecar.pipeline.stream_counters import StreamCounters

log = structlog.get_logger()

SETTLE_EVERY, SETTLE_EVERY_PER_LANE = 0.05, 0.01
"""Seconds between two settlings of one lane: a floor, and what each further lane adds, so that a hundred partitions
do not ask a hundred times as much of the broker."""
DRAIN_SECONDS = 10.0
TURNS = 4
"""Turns of the event loop between two batches."""


def micros() -> int:
    return time.time_ns() // 1000


@dataclass(frozen=True)
class StreamHold:
    """A stream of which at least one partition is held."""

    partitions: tuple[Partition, ...]
    hold: WorkerHold


class Pipeline:
    """Runs one broker's batches through their lanes."""

    def __init__(
        self,
        broker: Broker,
        judge: EventDecoder,
        catalog: SchemaCache,
        sink: EventSink,
        outlet: OutputRouter,
        counters: StreamCounters,
        filler: IndexBackfill,
        config: Config,
        group: str,
    ) -> None:
        self.broker, self.group = broker, group
        self._counters, self._filler, self._config = counters, filler, config
        self._lanes: dict[Partition, PartitionWorker] = {}
        self._tallies: dict[Partition, RewindDeduplicator] = {}
        """Of the lanes whose leases are over."""
        self._breakers: dict[str, CircuitBreaker] = {}
        self._crash: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._probes: dict[str, asyncio.Task[None]] = {}
        self._judge, self._catalog = judge, catalog
        self.reached = False
        """Whether the broker answered and its group was joined."""
        self.unreached: str | None = None
        """Why it was not, when it was last tried."""
        self._way = PipelineContext(
            broker=broker,
            judge=judge,
            catalog=catalog,
            sink=sink,
            outlet=outlet,
            hold_on_outage=config.registry.on_outage == "hold",
            pace=lambda: max(SETTLE_EVERY, SETTLE_EVERY_PER_LANE * len(self._lanes)),
            clock=micros,
            crashed=self._crashed,
        )

    async def run(self) -> None:
        """Runs until cancelled. Reconnects for ever after an outage; raises Refused where the broker says no."""
        wait = 0.2
        while True:
            try:
                await self.broker.start()
                self.reached, self.unreached, wait = True, None, 0.2
                await self._read()
            except Outage as error:
                self.reached, self.unreached = False, str(error)
                log.warning("the broker cannot be reached", system=self.broker.system, reason=str(error))
                await self._forget_lanes()
                with contextlib.suppress(TracecarError):
                    await self.broker.close()
                await asyncio.sleep(error.retry_after or wait)
                wait = min(wait * 2, 10.0)

    async def _read(self) -> None:
        reading = asyncio.ensure_future(self._route())
        try:
            await asyncio.wait((reading, self._crash), return_when=asyncio.FIRST_COMPLETED)
        finally:
            while not reading.done():
                # More than once if need be: a client library may swallow a cancellation that comes at a bad moment.
                reading.cancel()
                await asyncio.wait((reading,), timeout=1)
        if self._crash.done():
            self._crash.result()
        if not reading.cancelled():
            reading.result()
        raise Disconnected("the stream of batches ended")

    async def _route(self) -> None:
        async for batch in self.broker.batches():
            lane = self._lanes.get(batch.lease.partition)
            if lane is None or lane.lease is not batch.lease:
                lane = await self._new_lane(batch.lease, lane)
            lane.take(batch)
            # A batch is a few milliseconds of work; then everybody else gets their turns. Several, for a question to
            # the API takes some steps from its first byte to its answer, and must not wait a batch for each.
            for _ in range(TURNS):
                await asyncio.sleep(0)

    async def _new_lane(self, lease: Lease, old: PartitionWorker | None) -> PartitionWorker:
        if old is not None:
            await self._close(old)
        partition = lease.partition
        counter = self._counters.of(partition.system, partition.stream)
        lane = self._lanes[partition] = PartitionWorker(
            self._way, lease, counter, self._breaker(partition.stream), self._tallies.pop(partition, None)
        )
        self._filler.begin(self.broker, lease)
        for gone in [p for p, other in self._lanes.items() if other.lease.lost]:
            self._filler.forget(gone)
            await self._close(self._lanes.pop(gone))
        return lane

    async def _close(self, lane: PartitionWorker) -> None:
        await lane.close()
        self._tallies[lane.lease.partition] = lane.tally

    async def _forget_lanes(self) -> None:
        lanes, self._lanes = self._lanes, {}
        for lane in lanes.values():
            await self._close(lane)

    def _crashed(self, error: BaseException) -> None:
        if not self._crash.done():
            self._crash.set_exception(error)

    # --- held streams

    def _breaker(self, stream: str) -> CircuitBreaker:
        breaker = self._breakers.get(stream)
        if breaker is None:
            breaker = self._breakers[stream] = CircuitBreaker(self._config.dead_letters.breaker)
            breaker.on_open = self._prober(stream)
        return breaker

    def _prober(self, stream: str) -> Callable[[], None]:
        def begin() -> None:
            if stream not in self._probes:
                self._probes[stream] = task = asyncio.ensure_future(self._probe(stream))
                task.add_done_callback(lambda done: self._probes.pop(stream, None))

        return begin

    async def _probe(self, stream: str) -> None:
        """While the breaker is open, judge now and then what would come next, without committing it: when it no longer
        would open the breaker, go on."""
        breaker = self._breakers[stream]
        wait = breaker.cooldown
        while breaker.open:
            await asyncio.sleep(wait)
            wait = min(wait * 2, 10 * breaker.cooldown)
            held = [lane for lane in self._of(stream) if lane.hold is not None and lane.hold.by == "breaker"]
            try:
                if not await would_trip_again(self._way, breaker, held):
                    await self.resume(stream)
            except (Outage, Refused) as error:
                log.debug("the breaker's try failed", stream=stream, reason=str(error))

    def _of(self, stream: str) -> list[PartitionWorker]:
        return [lane for partition, lane in self._lanes.items() if partition.stream == stream and not lane.lease.lost]

    def held(self, stream: str) -> StreamHold | None:
        lanes = [lane for lane in self._of(stream) if lane.hold is not None]
        holds = [lane.hold for lane in lanes if lane.hold is not None]
        if not holds:
            return None
        return StreamHold(tuple(lane.lease.partition for lane in lanes), min(holds, key=lambda hold: hold.since))

    async def resume(self, stream: str) -> int:
        """Try again what is held of a stream. Returns how many partitions were held. Raises Outage or Refused."""
        return await self._go_on(stream, lambda lane: lane.resume())

    async def skip(self, stream: str) -> int:
        """Go on past what holds a stream (`PartitionWorker.skip`). Returns how many partitions were held."""
        return await self._go_on(stream, lambda lane: lane.skip())

    async def _go_on(self, stream: str, how: Callable[[PartitionWorker], Awaitable[None]]) -> int:
        lanes = [lane for lane in self._of(stream) if lane.hold is not None]
        self._breaker(stream).close()
        for lane in lanes:
            await how(lane)
        return len(lanes)

    # --- ending

    async def drain(self) -> None:
        """Commit what is judged, within a few seconds. Call it after `run` was cancelled."""
        for probe in list(self._probes.values()):
            probe.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                await asyncio.gather(*(lane.drain() for lane in self._lanes.values() if not lane.lease.lost))
        await self._forget_lanes()

    async def committed(self) -> None:
        """Returns once everything judged so far is committed."""
        await asyncio.gather(*(lane.drain() for lane in self._lanes.values() if not lane.lease.lost))

    def leases(self) -> list[Lease]:
        return [lane.lease for lane in self._lanes.values() if not lane.lease.lost]
