"""Pipeline of one broker's batches: broker → partition worker (decode, index, show) → commit."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass

import structlog

from sidecar.config.schema import Config
from sidecar.decoding.decoder import EventDecoder
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.domain.errors import Disconnected, Outage, Refused, TracecarError
from sidecar.domain.ports.broker import Broker, Lease
from sidecar.domain.position import Partition, Position
from sidecar.pipeline.circuit_breaker import CircuitBreaker
from sidecar.pipeline.half_open_probe import would_trip_again
from sidecar.pipeline.history_filler import HistoryFiller
from sidecar.pipeline.history_recorder import HistoryRecorder
from sidecar.pipeline.holds import WorkerHold
from sidecar.pipeline.index_backfill import IndexBackfill
from sidecar.pipeline.output_router import OutputRouter
from sidecar.pipeline.partition_worker import PartitionWorker, PipelineContext
from sidecar.pipeline.rewind_deduplicator import EventSink, RewindDeduplicator
from sidecar.pipeline.stream_counters import StreamCounters

log = structlog.get_logger()

MIN_COMMIT_INTERVAL_S, COMMIT_INTERVAL_PER_PARTITION_S = 0.05, 0.01
"""Time between two commits of one partition: the minimum, and the addition for each partition, so that a hundred
partitions do not send a hundred times as many requests."""
DRAIN_TIMEOUT_S = 10.0
RECONNECT_MIN_S, RECONNECT_MAX_S = 0.2, 10.0
YIELDS_PER_BATCH = 4


def now_micros() -> int:
    """Return the time in microseconds since 1970."""
    return time.time_ns() // 1000


@dataclass(frozen=True)
class StreamHold:
    """A stream with at least one held partition."""

    partitions: tuple[Partition, ...]
    hold: WorkerHold
    """The earliest hold."""


@dataclass(frozen=True)
class SkipOutcome:
    """Result of skipping the records that hold a stream."""

    partitions: int
    """Number of partitions that were held."""
    lost: tuple[Position, ...] = ()
    """Records that are committed although the broker refused both to pass them on and to dead-letter them."""


@dataclass(frozen=True)
class HistoryFeed:
    """The parts of the history that a pipeline feeds."""

    recorder: HistoryRecorder
    filler: HistoryFiller


class Pipeline:
    """Runs one broker's batches through a worker for each partition."""

    def __init__(
        self,
        broker: Broker,
        decoder: EventDecoder,
        catalog: SchemaCache,
        sink: EventSink,
        router: OutputRouter,
        counters: StreamCounters,
        backfill: IndexBackfill,
        config: Config,
        group: str,
        history: HistoryFeed | None = None,
    ) -> None:
        self.broker, self.group = broker, group
        self._counters, self._backfill, self._config, self._history = counters, backfill, config, history
        self._workers: dict[Partition, PartitionWorker] = {}
        self._deduplicators: dict[Partition, RewindDeduplicator] = {}
        """Deduplicators of partitions whose leases have ended."""
        self._breakers: dict[str, CircuitBreaker] = {}
        self._crash: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._probes: dict[str, asyncio.Task[None]] = {}
        self.reached = False
        """True if the broker replied and the consumer group was joined."""
        self.unreached: str | None = None
        """Reason why the last attempt to reach the broker failed; None if it succeeded."""
        self._context = PipelineContext(
            broker=broker,
            decoder=decoder,
            catalog=catalog,
            sink=sink,
            router=router,
            hold_on_outage=config.registry.on_outage == "hold",
            commit_interval=lambda: max(MIN_COMMIT_INTERVAL_S, COMMIT_INTERVAL_PER_PARTITION_S * len(self._workers)),
            clock=now_micros,
            recorder=None if history is None else history.recorder,
            on_crash=self._on_crash,
        )

    async def run(self) -> None:
        """Run until canceled, and reconnect after every outage. Raises Refused if the broker refuses for good."""
        backoff = RECONNECT_MIN_S
        while True:
            try:
                await self.broker.start()
                self.reached, self.unreached, backoff = True, None, RECONNECT_MIN_S
                await self._read()
            except Outage as error:
                self.reached, self.unreached = False, str(error)
                log.warning("cannot reach the broker", system=self.broker.system, reason=str(error))
                await self._drop_workers()
                with contextlib.suppress(TracecarError):
                    await self.broker.close()
                await asyncio.sleep(error.retry_after or backoff)
                backoff = min(backoff * 2, RECONNECT_MAX_S)

    async def _read(self) -> None:
        reading = asyncio.ensure_future(self._dispatch())
        try:
            await asyncio.wait((reading, self._crash), return_when=asyncio.FIRST_COMPLETED)
        finally:
            while not reading.done():
                # Repeatedly, because a client library may swallow a cancellation.
                reading.cancel()
                await asyncio.wait((reading,), timeout=1)
        if self._crash.done():
            self._crash.result()
        if not reading.cancelled():
            reading.result()
        raise Disconnected("the stream of batches ended")

    async def _dispatch(self) -> None:
        async for batch in self.broker.batches():
            worker = self._workers.get(batch.lease.partition)
            if worker is None or worker.lease is not batch.lease:
                worker = await self._new_worker(batch.lease, worker)
            worker.process(batch)
            # Yield several times after each batch: an API request needs several event-loop iterations to complete and
            # must not wait for a full batch at each of them.
            for _ in range(YIELDS_PER_BATCH):
                await asyncio.sleep(0)

    async def _new_worker(self, lease: Lease, previous: PartitionWorker | None) -> PartitionWorker:
        if previous is not None:
            await self._close(previous)
        partition = lease.partition
        counter = self._counters.of(partition.system, partition.stream)
        worker = self._workers[partition] = PartitionWorker(
            self._context, lease, counter, self._breaker(partition.stream), self._deduplicators.pop(partition, None)
        )
        self._backfill.begin(self.broker, lease)
        if self._history is not None:
            self._history.filler.begin(self.broker, lease)
        for lost in [partition for partition, other in self._workers.items() if other.lease.lost]:
            self._backfill.forget(lost)
            await self._close(self._workers.pop(lost))
        return worker

    async def _close(self, worker: PartitionWorker) -> None:
        await worker.close()
        self._deduplicators[worker.lease.partition] = worker.deduplicator

    async def _drop_workers(self) -> None:
        workers, self._workers = self._workers, {}
        for worker in workers.values():
            await self._close(worker)

    def _on_crash(self, error: BaseException) -> None:
        if not self._crash.done():
            self._crash.set_exception(error)

    # --- held streams

    def _breaker(self, stream: str) -> CircuitBreaker:
        breaker = self._breakers.get(stream)
        if breaker is None:
            breaker = self._breakers[stream] = CircuitBreaker(
                self._config.dead_letters.breaker, on_open=lambda: self._start_probe(stream)
            )
        return breaker

    def _start_probe(self, stream: str) -> None:
        if stream not in self._probes:
            self._probes[stream] = task = asyncio.ensure_future(self._probe(stream))
            task.add_done_callback(lambda done: self._probes.pop(stream, None))

    async def _probe(self, stream: str) -> None:
        """Probe a stream while its breaker is open: decode the next records now and then, without committing them.

        Resumes the stream once these records would no longer open the breaker.
        """
        breaker = self._breakers[stream]
        pause = breaker.cooldown
        while breaker.open:
            await asyncio.sleep(pause)
            pause = min(pause * 2, 10 * breaker.cooldown)
            held = [
                worker for worker in self._workers_of(stream) if worker.hold is not None and worker.hold.by == "breaker"
            ]
            try:
                if not await would_trip_again(self._context, breaker, held):
                    await self.resume(stream)
            except (Outage, Refused) as error:
                log.debug("half-open probe failed", stream=stream, reason=str(error))

    def _workers_of(self, stream: str) -> list[PartitionWorker]:
        return [
            worker
            for partition, worker in self._workers.items()
            if partition.stream == stream and not worker.lease.lost
        ]

    def find_hold(self, stream: str) -> StreamHold | None:
        """Return the hold of a stream; None if it is not held."""
        held = [(worker.hold, worker) for worker in self._workers_of(stream) if worker.hold is not None]
        if not held:
            return None
        earliest = min((hold for hold, _ in held), key=lambda hold: hold.since)
        return StreamHold(tuple(worker.lease.partition for _, worker in held), earliest)

    async def resume(self, stream: str) -> int:
        """Retry the records that hold a stream. Returns the number of partitions that were held.

        Raises Outage or Refused.
        """
        workers = self._take_held(stream)
        for worker in workers:
            await worker.resume()
        return len(workers)

    async def skip(self, stream: str) -> SkipOutcome:
        """Skip the records that hold a stream (see `PartitionWorker.skip`)."""
        workers = self._take_held(stream)
        lost = [position for worker in workers for position in await worker.skip()]
        return SkipOutcome(len(workers), tuple(lost))

    def _take_held(self, stream: str) -> list[PartitionWorker]:
        self._breaker(stream).close()
        return [worker for worker in self._workers_of(stream) if worker.hold is not None]

    # --- stopping

    async def drain(self) -> None:
        """Commit everything that is decoded, within `DRAIN_TIMEOUT_S`. Call it after `run` was canceled."""
        for probe in list(self._probes.values()):
            probe.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_TIMEOUT_S):
                await self.wait_until_committed()
        await self._drop_workers()

    async def wait_until_committed(self) -> None:
        """Wait until everything decoded so far is committed."""
        await asyncio.gather(*(worker.drain() for worker in self._workers.values() if not worker.lease.lost))

    def leases(self) -> list[Lease]:
        """Return the leases that are held now."""
        return [worker.lease for worker in self._workers.values() if not worker.lease.lost]
