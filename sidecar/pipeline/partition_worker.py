"""Worker that processes the batches of one lease in order. It decodes them; `sidecar.pipeline.committer` commits them.

A worker runs or is held. While it is held (registry outage, open breaker, dead letters that cannot be written), it
commits nothing, but still decodes, indexes and shows new records, because that is when people look. Batches that it
decodes while it is held are dropped, not committed: on release the worker rewinds to the committed offset and processes
their records again. To the index, an event at a known position is the same event. Records that were counted and shown
before the rewind are not counted and shown again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from sidecar.decoding.decoder import DecodeResult, EventDecoder
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.decoding.schema_lookup import SchemaKey
from sidecar.domain.errors import Outage, RecordRefused, Refused, TooLarge
from sidecar.domain.model import Outgoing, Rejection
from sidecar.domain.ports.broker import Batch, Broker, Lease
from sidecar.domain.position import Position
from sidecar.pipeline import holds
from sidecar.pipeline.circuit_breaker import CircuitBreaker
from sidecar.pipeline.committer import Committer
from sidecar.pipeline.history_recorder import HistoryRecorder
from sidecar.pipeline.holds import HeldBy, WorkerHold
from sidecar.pipeline.output_router import OutputRouter, restore_passed
from sidecar.pipeline.pending_batch import PendingBatch
from sidecar.pipeline.rewind_deduplicator import EventSink, RewindDeduplicator
from sidecar.pipeline.stream_counters import StreamCounter

log = structlog.get_logger()

MAX_UNCOMMITTED_RECORDS = 20_000
"""Decoded and uncommitted records of a worker, above which its partition is paused."""
MAX_UNCOMMITTED_BYTES = 64 << 20
"""Memory of what their commits publish, above which the partition is paused."""
MAX_WAITING_BATCHES = 4
"""Batches that wait behind one whose decoding takes long, above which the partition is paused."""
REFUSED_SCHEMA_TIMEOUT_S = 3.0
"""Time to fetch the schema of a record that a gate was not able to pass on, for its dead letter."""
RESUME_RETRY_MIN_S, RESUME_RETRY_MAX_S = 0.5, 15.0
"""Backoff between attempts to resume."""
COMMIT_FAILURE_HOLD_US = 5_000_000
"""Microseconds of failing commits after which a worker counts as held."""


@dataclass(frozen=True)
class PipelineContext:
    """Dependencies that all workers of a broker share."""

    broker: Broker
    decoder: EventDecoder
    catalog: SchemaCache
    sink: EventSink
    router: OutputRouter
    hold_on_outage: bool
    commit_interval: Callable[[], float]
    """Seconds between two commits of one worker."""
    clock: Callable[[], int]
    """Microseconds since 1970."""
    recorder: HistoryRecorder | None
    """Records batches for the history; None if no history is kept."""
    on_crash: Callable[[BaseException], None]
    """Called with an unexpected exception, which ends the process rather than one worker in silence."""


class PartitionWorker:
    """Processes the batches of one lease."""

    def __init__(
        self,
        context: PipelineContext,
        lease: Lease,
        counter: StreamCounter,
        breaker: CircuitBreaker,
        deduplicator: RewindDeduplicator | None = None,
    ) -> None:
        """Create a worker and start its committer.

        Args:
            context: Dependencies.
            lease: The lease to process.
            counter: Counter of the lease's stream.
            breaker: Breaker of the lease's stream.
            deduplicator: Deduplicator of the partition's previous worker, because a new lease starts at the committed
                offset.
        """
        self.lease = lease
        self.hold: WorkerHold | None = None
        self.first_held: int | None = None
        """First offset that was decoded and not committed because the worker is held."""
        self._context, self._counter, self._breaker = context, counter, breaker
        self.deduplicator = deduplicator or RewindDeduplicator(context.sink, counter)
        self.deduplicator.rewound()
        self._committer = Committer(
            context.broker,
            lease,
            replace=self._replace_refused,
            interval=context.commit_interval,
            on_trouble=self._on_commit_trouble,
            on_commit=self._on_commit,
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._backlog: deque[PendingBatch] = deque()
        self._pauses: set[str] = set()
        self._missing: SchemaKey | None = None
        self._continuation: asyncio.Handle | None = None
        self._failing_since: int | None = None
        self._releasing = asyncio.Lock()
        # Offsets up to which an operator skipped the breaker, or schemas that are not available.
        self._skip_breaker_until = self._skip_registry_until = -1
        self._spawn(self._committer.run())

    # --- decoding

    def process(self, batch: Batch) -> None:
        """Decode a batch and queue its commit, without waiting.

        If a schema is missing, the partition is paused and the batch kept.
        """
        self._backlog.append(PendingBatch(batch))
        if len(self._backlog) == 1:
            self._process_backlog()
        elif len(self._backlog) > MAX_WAITING_BATCHES:
            self._pause("decoding")

    def _process_backlog(self) -> None:
        self._cancel_continuation()
        while self._backlog and not self.lease.lost:
            pending = self._backlog[0]
            if pending.waiting:
                return
            result = self._decode(pending)
            if result.missing is not None or result.is_large:
                if result.missing is not None:
                    self._pause("schema")
                self._spawn(self._decode_rest(pending))
                return
            if len(pending.decoded) < len(pending.batch.records):  # let other tasks run first
                self._continuation = asyncio.get_running_loop().call_soon(self._process_backlog)
                return
            self._backlog.popleft()
            self._accept(pending)
        self._unpause("schema")
        self._unpause("decoding")

    def _cancel_continuation(self) -> None:
        if self._continuation is not None:
            self._continuation.cancel()
            self._continuation = None

    def _decode(self, pending: PendingBatch) -> DecodeResult:
        """Decode a part of a batch."""
        records = pending.batch.records
        held = self.hold is not None and self.hold.by == "registry"
        if held or (records and records[0].position.offset <= self._skip_registry_until):
            pending.unchecked = True
        result = self._context.decoder.decode_batch(records, len(pending.decoded), unchecked=pending.unchecked)
        pending.decoded += result.decoded
        return result

    async def _decode_rest(self, pending: PendingBatch) -> None:
        """Fetch the schemas that a batch needs, and decode the rest of it, large records in a thread."""
        records, on_outage = pending.batch.records[len(pending.decoded) :], partial(self._on_outage, pending)
        pending.waiting = True
        decode = self._context.decoder.decode_with_schemas
        pending.decoded += await decode(records, on_outage, unchecked=pending.unchecked)
        pending.waiting = False
        self._process_backlog()

    def _on_outage(self, pending: PendingBatch, missing: SchemaKey, error: Exception) -> None:
        """Hold the stream, if so configured, and decode the batch without the missing schemas."""
        self._missing = missing
        pending.unchecked = True
        if self._context.hold_on_outage:
            self._hold("registry", holds.explain_registry(self.lease.partition.stream, error))

    def _accept(self, pending: PendingBatch) -> None:
        batch, decoded = pending.batch, pending.decoded
        if batch.gap is not None:
            self._report_gap(batch)
        if self._context.recorder is not None:
            self._context.recorder.record(batch, decoded)
        if batch.records:
            rejected = [each for each in decoded if each.event.rejection is not None]
            self.deduplicator.publish(decoded, rejected, unchecked=pending.unchecked and self.hold is not None)
            self._consult_breaker(batch, len(rejected))
        elif batch.gap is None and batch.next_offset <= self.lease.start:
            return  # it only announced the lease
        else:
            rejected = []
        if self.hold is not None:
            if self.first_held is None and batch.records:
                self.first_held = batch.records[0].position.offset
            return
        self._committer.add(batch, self._context.router.route(self.lease.partition.stream, decoded, rejected))
        if self._committer.waiting > MAX_UNCOMMITTED_RECORDS or self._committer.waiting_bytes > MAX_UNCOMMITTED_BYTES:
            self._pause("committing")

    def _consult_breaker(self, batch: Batch, rejected: int) -> None:
        if self.hold is not None or batch.records[0].position.offset <= self._skip_breaker_until:
            return
        if self._breaker.record(len(batch.records), rejected):
            events, failed = self._breaker.recent
            commonest = ", ".join(code for code, _ in self._counter.codes.most_common(1))
            reason = holds.explain_breaker(self.lease.partition.stream, events, failed, commonest)
            self._hold("breaker", reason)

    def _report_gap(self, batch: Batch) -> None:
        gap = batch.gap
        assert gap is not None
        self._counter.add_gap(gap)
        if gap.recreated or gap.resumed < gap.wanted:  # these offsets are new records
            self.deduplicator.reset()
        if gap.recreated:
            self._context.sink.discard(gap.partition, gap.known_since or self._context.clock())
        log.warning(
            "records were deleted before they were read",
            wanted=str(gap.partition.at(gap.wanted)),
            resumed=str(gap.partition.at(gap.resumed)),
            reason=gap.reason,
        )

    # --- held and released

    def _hold(self, by: HeldBy, reason: str) -> None:
        if self.hold is not None:
            return
        self.hold = WorkerHold(by, reason, self._context.clock())
        self.first_held = self._committer.drop_queued()
        self._unpause("committing")
        log.warning("partition held: nothing is committed", partition=str(self.lease.partition), by=by, reason=reason)
        if by == "registry":
            self._spawn(self._await_registry())

    async def release(self) -> None:
        """Continue from the committed offset. Does nothing if the worker is not held or its lease is lost.

        Raises Outage.
        """
        # One at a time: an operator's release and the worker's own may meet, and a second rewind, once records flow
        # again, would put some of them twice into one commit.
        async with self._releasing:
            if self._nothing_held():
                return
            # A running commit may still succeed: rewind only when its outcome is known.
            await self._committer.idle()
            if self._nothing_held():
                return
            await self._context.broker.rewind(self.lease)
            self.deduplicator.rewound()
            self.hold, self.first_held = None, None
            self._backlog.clear()
            log.info("partition resumed", partition=str(self.lease.partition))

    def _nothing_held(self) -> bool:
        return self.hold is None or self.lease.lost

    async def _await_registry(self) -> None:
        backoff = RESUME_RETRY_MIN_S
        while self.hold is not None and self.hold.by == "registry" and not self.lease.lost:
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, RESUME_RETRY_MAX_S)
            try:
                await self.resume()
            except (Outage, Refused) as error:
                log.debug("partition still held", partition=str(self.lease.partition), reason=str(error))

    def _on_commit_trouble(self, sentence: str | None, refused: bool) -> None:
        """Hold the worker after a failed commit; `sentence` is None once commits succeed again."""
        now = self._context.clock()
        if sentence is None:
            self._failing_since = None
            if self.hold is not None and self.hold.by in ("letters", "broker"):
                self._spawn(self._release_soon())
            return
        self._failing_since = self._failing_since or now
        if refused:
            self._hold("letters", holds.explain_refusal(self.lease.partition.stream, sentence))
        elif now - self._failing_since > COMMIT_FAILURE_HOLD_US:
            self._hold("broker", holds.explain_outage(sentence))
        log.warning("not committed", partition=str(self.lease.partition), reason=sentence)

    async def _release_soon(self) -> None:
        while self.hold is not None and self.hold.by in ("letters", "broker") and not self.lease.lost:
            try:
                await self.release()
            except (Outage, Refused) as error:
                log.warning("cannot resume partition yet", partition=str(self.lease.partition), reason=str(error))
                await asyncio.sleep(RESUME_RETRY_MIN_S)

    async def resume(self) -> None:
        """Retry the records that hold this worker. Raises Outage or Refused if they still cannot be committed."""
        hold = self.hold
        if hold is None:
            return
        if hold.by in ("letters", "broker"):
            self._committer.retry_now()
            return
        if hold.by == "registry" and self._missing is not None:
            await self._context.catalog.fetch(self._missing)
        await self.release()

    async def skip(self) -> list[Position]:
        """Skip the records that hold this worker, and continue after them.

        An open breaker's records are dead-lettered, however many; events without an available schema pass unchecked. If
        the broker refuses the dead letter of a record, or its copy for the stream behind a gate, the record is lost.
        Returns the positions of lost records. Raises Outage if the broker does not reply, because then nothing can be
        committed.
        """
        hold = self.hold
        if hold is None:
            return []
        if hold.by == "broker":
            raise Outage(
                f"{self.lease.partition}: {hold.reason}. Nothing can be skipped until the broker answers again"
            )
        if hold.by == "letters":
            lost = await self._committer.skip()
            await self.release()
            return lost
        if hold.by == "breaker":
            self._skip_breaker_until = self.deduplicator.high
        else:
            self._skip_registry_until = self.deduplicator.high
        await self.release()
        return []

    async def _replace_refused(self, refused: Outgoing, error: RecordRefused) -> Outgoing | None:
        """Return a lighter dead letter, or the dead letter of a record that the stream behind a gate refuses."""
        router = self._context.router
        if router.is_letter(refused):
            return router.shrink(refused) if isinstance(error, TooLarge) else None
        record = restore_passed(refused)
        if record is None:
            return None
        (decoded,) = await self._context.decoder.decode_with_schemas([record], timeout_s=REFUSED_SCHEMA_TIMEOUT_S)
        decoded.event.rejection = Rejection("delivery.refused", f"{refused.stream} does not accept the record: {error}")
        letter = router.write_letter(decoded)
        if letter is not None:
            # It was exported as a valid event before: the index, and with it every view, shows the rejection.
            self._context.sink.publish([decoded], is_redelivery=True)
            self._counter.add_rejections(["delivery.refused"])
        return letter

    # --- pausing and closing

    def _on_commit(self, published: Sequence[Outgoing]) -> None:
        letters = self._context.router.count_letters(self.lease.partition.stream, published)
        self._counter.dead_lettered += letters
        if letters and self._context.recorder is not None:
            self._context.recorder.dead_lettered(published, self._context.clock())
        records, size = self._committer.waiting, self._committer.waiting_bytes
        if records < MAX_UNCOMMITTED_RECORDS // 2 and size < MAX_UNCOMMITTED_BYTES // 2:
            self._unpause("committing")

    def _pause(self, reason: str) -> None:
        if not self._pauses:
            self._context.broker.hold(self.lease)
        self._pauses.add(reason)

    def _unpause(self, reason: str) -> None:
        if reason in self._pauses:
            self._pauses.discard(reason)
            if not self._pauses:
                self._context.broker.release(self.lease)

    async def drain(self) -> None:
        """Wait until everything that is decoded and not held is committed."""
        await self._committer.idle()

    async def close(self) -> None:
        """Stop at once. Uncommitted records are delivered again to the next reader."""
        self._cancel_continuation()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_end)

    def _on_task_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._context.on_crash(error)
