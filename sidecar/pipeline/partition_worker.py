"""A lane: the way of one lease's batches, in order. Judging is here; committing follows behind
(`sidecar.pipeline.committer`).

A lane flows or is held. Held (registry outage, breaker, dead letters that cannot be written), it commits nothing more,
but goes on judging, indexing and showing what comes, for that is when people look. What it judged while it was held is
forgotten, not committed: on release it rewinds to what is committed and goes that way again. The index takes an event
at a position that it has as the same event; what was counted and shown before the rewind is not counted and shown
twice.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import structlog

from sidecar.decoding.decoder import EventDecoder
from sidecar.decoding.schema_cache import SchemaCache, SchemaKey
from sidecar.domain.errors import Outage, Refused
from sidecar.domain.model import Decoded, Outgoing
from sidecar.domain.ports.broker import Batch, Broker, Lease
from sidecar.pipeline.circuit_breaker import CircuitBreaker
from sidecar.pipeline.committer import Committer
from sidecar.pipeline.output_router import OutputRouter
from sidecar.pipeline.rewind_deduplicator import EventSink, RewindDeduplicator
from sidecar.pipeline.stream_counters import StreamCounter

log = structlog.get_logger()

MAX_WAITING_BATCHES = 4
"""Batches that wait behind one whose decoding takes long; beyond that the partition is paused."""
UNSETTLED_RECORDS = 20_000
"""Judged and not committed records that a lane keeps; beyond that its partition waits."""
FIRST_RETRY, LONGEST_RETRY = 0.5, 15.0
"""Seconds between tries to go on."""
PATIENCE = 5_000_000
"""Microseconds of failing settlements after which a lane counts as held."""

HeldBy = Literal["registry", "breaker", "letters", "broker"]


@dataclass(frozen=True)
class WorkerHold:
    """Why a lane commits nothing."""

    by: HeldBy
    reason: str
    since: int
    """Microseconds since 1970."""


@dataclass(frozen=True)
class PipelineContext:
    """What all lanes of a broker share."""

    broker: Broker
    judge: EventDecoder
    catalog: SchemaCache
    sink: EventSink
    outlet: OutputRouter
    hold_on_outage: bool
    pace: Callable[[], float]
    """Seconds between two settlings of one lane."""
    clock: Callable[[], int]
    """Microseconds since 1970."""
    crashed: Callable[[BaseException], None]
    """Hears of a mistake of ours, which ends the process rather than a lane in silence."""


@dataclass
class PendingBatch:
    """A batch on its way through the judge."""

    batch: Batch
    decoded: list[Decoded] = field(default_factory=list)
    unchecked: bool = False
    """Its schemas cannot be had: it is decoded without them."""
    fetching: bool = False
    """A task fetches its schemas and decodes the rest of it."""


class PartitionWorker:
    """The way of one lease's batches."""

    def __init__(
        self,
        way: PipelineContext,
        lease: Lease,
        counter: StreamCounter,
        breaker: CircuitBreaker,
        tally: RewindDeduplicator | None = None,
    ) -> None:
        """`tally`: of the partition's lane before this one. A lease that is had again begins at what is committed."""
        self.lease = lease
        self.hold: WorkerHold | None = None
        self.first_held: int | None = None
        """The first offset that was judged and not committed because the lane is held."""
        self._way, self._counter, self._breaker = way, counter, breaker
        self.tally = tally or RewindDeduplicator(way.sink, counter)
        self.tally.rewound()
        self._settler = Committer(
            way.broker,
            lease,
            shrink=way.outlet.shrink,
            pace=way.pace,
            trouble=self._trouble,
            progress=self._progress,
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._backlog: deque[PendingBatch] = deque()
        self._pauses: set[str] = set()
        self._missing: SchemaKey | None = None
        self._continuation: asyncio.Handle | None = None
        self._failing_since: int | None = None
        self._releasing = asyncio.Lock()
        # Offsets up to which a person said to go on past the breaker, or without schemas.
        self._past_breaker = self._past_registry = -1
        self._spawn(self._settler.run())

    # --- judging

    def take(self, batch: Batch) -> None:
        """Judge a batch and pass its outcome on. Never waits: where something must be waited for, the partition is
        paused and the batch kept."""
        self._backlog.append(PendingBatch(batch))
        if len(self._backlog) == 1:
            self._go_on()

    def _go_on(self) -> None:
        if self._continuation is not None:
            self._continuation.cancel()
            self._continuation = None
        while self._backlog and not self.lease.lost:
            waiting = self._backlog[0]
            if waiting.fetching:
                return
            missing = self._decode(waiting)
            if missing is not None:
                self._pause("schema")
                self._spawn(self._decode_with_schemas(waiting))
                return
            if len(waiting.decoded) < len(waiting.batch.records):
                # The batch takes long: other tasks have their turn first.
                self._continuation = asyncio.get_running_loop().call_soon(self._go_on)
                if len(self._backlog) > MAX_WAITING_BATCHES:
                    self._pause("decoding")
                return
            self._backlog.popleft()
            self._accept(waiting)
        self._unpause("schema")
        self._unpause("decoding")

    def _decode(self, waiting: PendingBatch) -> SchemaKey | None:
        """Decode some more of a batch. Returns the schema that must be fetched first, if one is missing."""
        records = waiting.batch.records
        held = self.hold is not None and self.hold.by == "registry"
        if held or (records and records[0].position.offset <= self._past_registry):
            waiting.unchecked = True
        result = self._way.judge.decode_batch(records, len(waiting.decoded), unchecked=waiting.unchecked)
        waiting.decoded += result.decoded
        return result.missing

    async def _decode_with_schemas(self, waiting: PendingBatch) -> None:
        """Fetch the schemas that a batch needs, and decode the rest of it."""
        records = waiting.batch.records[len(waiting.decoded) :]
        policy = partial(self._on_outage, waiting)
        waiting.fetching = True
        waiting.decoded += await self._way.judge.decode_with_schemas(records, policy)
        waiting.fetching = False
        self._go_on()

    def _on_outage(self, waiting: PendingBatch, missing: SchemaKey, error: Exception) -> None:
        """Hold the stream, where so configured, and decode the batch without the missing schemas."""
        self._missing = missing
        waiting.unchecked = True
        if self._way.hold_on_outage:
            self._hold("registry", f"the schema registry does not answer: {error}")

    def _accept(self, waiting: PendingBatch) -> None:
        batch, decoded = waiting.batch, waiting.decoded
        if batch.gap is not None:
            self._report_gap(batch)
        if batch.records:
            rejected = [one for one in decoded if one.event.rejection is not None]
            self.tally.show(decoded, rejected, unchecked=waiting.unchecked and self.hold is not None)
            self._consult_breaker(batch, len(rejected))
        elif batch.gap is None and batch.next_offset <= self.lease.start:
            return  # it only announced the lease
        else:
            rejected = []
        if self.hold is not None:
            if self.first_held is None and batch.records:
                self.first_held = batch.records[0].position.offset
            return
        self._settler.add(batch, self._way.outlet.write(self.lease.partition.stream, decoded, rejected))
        if self._settler.waiting > UNSETTLED_RECORDS:
            self._pause("committing")

    def _consult_breaker(self, batch: Batch, rejected: int) -> None:
        if self.hold is not None or batch.records[0].position.offset <= self._past_breaker:
            return
        if self._breaker.note(len(batch.records), rejected):
            events, failed = self._breaker.recent
            commonest = ", ".join(code for code, _ in self._counter.codes.most_common(1))
            self._hold("breaker", f"{failed} of the last {events} events were rejected, most often by {commonest}")

    def _report_gap(self, batch: Batch) -> None:
        gap = batch.gap
        assert gap is not None
        self._counter.lost(gap)
        if gap.resumed < gap.wanted:  # created again: what has these offsets now was not judged before
            self.tally.forget()
        log.warning(
            "records are gone before they were read",
            wanted=str(gap.partition.at(gap.wanted)),
            resumed=str(gap.partition.at(gap.resumed)),
            reason=gap.reason,
        )

    # --- held and released

    def _hold(self, by: HeldBy, reason: str) -> None:
        if self.hold is not None:
            return
        self.hold = WorkerHold(by, reason, self._way.clock())
        self.first_held = self._settler.drop_untried()
        self._unpause("committing")
        log.warning("held: nothing is committed", partition=str(self.lease.partition), by=by, reason=reason)
        if by == "registry":
            self._spawn(self._await_registry())

    async def release(self) -> None:
        """Go on from what is committed. Does nothing where the lane flows or its lease is lost. Raises Outage."""
        # One at a time: a person's and the lane's own may meet, and a second rewind, once records flow again, would
        # bring some of them twice into one settlement.
        async with self._releasing:
            if self._nothing_held():
                return
            # A try under way may still come through: reading goes back only when its outcome is known.
            await self._settler.idle()
            if self._nothing_held():
                return
            await self._way.broker.rewind(self.lease)
            self.tally.rewound()
            self.hold, self.first_held = None, None
            self._backlog.clear()
            log.info("goes on", partition=str(self.lease.partition))

    def _nothing_held(self) -> bool:
        return self.hold is None or self.lease.lost

    async def _await_registry(self) -> None:
        wait = FIRST_RETRY
        while self.hold is not None and self.hold.by == "registry" and not self.lease.lost:
            await asyncio.sleep(wait)
            wait = min(wait * 2, LONGEST_RETRY)
            try:
                await self.resume()
            except (Outage, Refused) as error:
                log.debug("still held", partition=str(self.lease.partition), reason=str(error))

    def _trouble(self, sentence: str | None, refused: bool) -> None:
        """What the committer says: None once it goes well again."""
        now = self._way.clock()
        if sentence is None:
            self._failing_since = None
            if self.hold is not None and self.hold.by in ("letters", "broker"):
                self._spawn(self._release_soon())
            return
        self._failing_since = self._failing_since or now
        if refused:
            self._hold("letters", sentence)
        elif now - self._failing_since > PATIENCE:
            self._hold("broker", sentence)
        log.warning("not committed", partition=str(self.lease.partition), reason=sentence)

    async def _release_soon(self) -> None:
        while self.hold is not None and self.hold.by in ("letters", "broker") and not self.lease.lost:
            try:
                await self.release()
            except (Outage, Refused) as error:
                log.warning("cannot go on yet", partition=str(self.lease.partition), reason=str(error))
                await asyncio.sleep(FIRST_RETRY)

    async def resume(self) -> None:
        """Try again what holds this lane. Raises Outage or Refused where it still does."""
        hold = self.hold
        if hold is None:
            return
        if hold.by in ("letters", "broker"):
            self._settler.retry_now()
            return
        if hold.by == "registry" and self._missing is not None:
            await self._way.catalog.fetch(self._missing)
        await self.release()

    async def skip(self) -> None:
        """Go on past what holds this lane: what the breaker held goes to the dead letters, however many; events whose
        schema cannot be had go by unchecked. Raises Refused where dead letters cannot be written: going on would lose
        them."""
        hold = self.hold
        if hold is None:
            return
        if hold.by in ("letters", "broker"):
            raise Refused(f"{self.lease.partition}: {hold.reason}. Going on would lose dead letters: mend this first")
        if hold.by == "breaker":
            self._past_breaker = self.tally.high
        else:
            self._past_registry = self.tally.high
        await self.release()

    # --- pausing, ending

    def _progress(self, published: Sequence[Outgoing]) -> None:
        self._counter.dead_lettered += self._way.outlet.letters(self.lease.partition.stream, published)
        if self._settler.waiting < UNSETTLED_RECORDS // 2:
            self._unpause("committing")

    def _pause(self, why: str) -> None:
        if not self._pauses:
            self._way.broker.hold(self.lease)
        self._pauses.add(why)

    def _unpause(self, why: str) -> None:
        if why in self._pauses:
            self._pauses.discard(why)
            if not self._pauses:
                self._way.broker.release(self.lease)

    async def drain(self) -> None:
        """Returns once all that was judged and is not held is committed."""
        await self._settler.idle()

    async def close(self) -> None:
        """Stop at once. What is not committed comes again to whoever reads next."""
        if self._continuation is not None:
            self._continuation.cancel()
            self._continuation = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._way.crashed(error)
