"""Runner of the replay of a range of events of an ordinary stream into another one (or, if confirmed, the same).

The start freezes the first and the last offset of each partition. A step reads on from the progress, filters the
records, and sends them together with the new progress in one transaction: the entry `range:ID` beside the target holds
the next offset. A runner that continues after a crash, or beside a runner that was considered dead, starts at that
entry; a transaction that expects an older entry is not carried out. The range itself is not stored, however long it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import msgspec
import structlog
from msgspec import Struct

from sidecar.dead_letters.dialects import tracecar
from sidecar.domain.errors import Refused, TooLarge
from sidecar.domain.model import DeadLetter, Outgoing, Record
from sidecar.domain.ports.broker import Broker, Retention
from sidecar.domain.ports.ledger import LedgerTransaction, LedgerWrite
from sidecar.domain.position import Partition, Position
from sidecar.replay.job_progress import JobProgress, JobStopped
from sidecar.replay.job_store import RANGE, StoredJob
from sidecar.replay.models import EventRange, ReplayJob, ReplayRequest, SendFailure
from sidecar.replay.outcome_watcher import OutcomeWatcher
from sidecar.replay.record_builder import choose_timestamp
from sidecar.replay.runner import MAX_FAILURES, watch_after_end
from sidecar.replay.runner_context import RunnerContext

log = structlog.get_logger()

MAX_RECORDS_PER_STEP, STEP_BYTES = 500, 4 << 20
"""Maximum number of records in one transaction, and their approximate bytes."""
GONE = "they were deleted since by retention or a trim, or no longer match"
Fits = Callable[[Sequence[Record], str], Awaitable[Sequence[bool]]]
"""Function that returns for each record whether it matches a query."""


class RangeProgress(Struct, frozen=True, omit_defaults=True):
    """Progress of a range, as stored in the ledger beside the target."""

    at: int = 0
    """Index into the job's spans."""
    next: int | None = None
    """Next offset of that partition; None: the start of its span."""
    published: int = 0
    skipped: int = 0
    failed: int = 0


_decode = msgspec.json.Decoder(RangeProgress).decode
_encode = msgspec.json.Encoder().encode


async def find_spans(broker: Broker, range: EventRange) -> list[tuple[str, int]]:
    """Find the start position and the end offset of the range in each partition.

    Raises Refused if the stream does not exist, Outage.
    """
    spans: list[tuple[str, int]] = []
    partitions = await broker.partitions(range.stream)
    if not partitions:
        raise Refused(f"there is no stream {range.stream}; tracecar streams lists them")
    span_ends = {at.log: at.offset for at in map(Position.parse, range.ends)}
    for partition in partitions:
        first, end = await broker.bounds(partition)
        if span_ends:
            end = min(end, span_ends.get(partition, first))
        if range.since is not None:
            first = await _find_first(broker, partition, range.since, end)
        # Later records have later offsets, even with earlier timestamps: the range is what exists now.
        if first < end:
            spans.append((str(partition.at(first)), end))
    return spans


def span_ends(where: Sequence[tuple[str, int]]) -> tuple[str, ...]:
    """Return the end positions of a range, as `EventRange.ends`. Empty partitions have none."""
    return tuple([str(Position.parse(start).log.at(end)) for start, end in where])


async def _find_first(broker: Broker, partition: Partition, since: int, end: int) -> int:
    async for page in broker.scan(partition, since=since, until=end):
        return page[0].position.offset
    return end


async def count_records(broker: Broker, request: ReplayRequest, where: Sequence[tuple[str, int]], fits: Fits) -> int:
    """Count the records of the range that would be sent. Raises Outage, Refused."""
    total = 0
    for start, end in where:
        at = Position.parse(start)
        async for page in broker.scan(at.log, start=at.offset, until=end):
            total += sum(await match_range(page, request, fits))
            await asyncio.sleep(0)
    return total


async def match_range(records: Sequence[Record], request: ReplayRequest, fits: Fits) -> list[bool]:
    """Return for each record of a page whether it belongs to the range."""
    range = request.range
    assert range is not None
    matches = [
        record.defect is None  # it could only be sent without its value
        and (range.since is None or record.timestamp >= range.since)
        and (range.until is None or record.timestamp < range.until)
        for record in records
    ]
    if request.query and any(matches):
        within = [record for record, is_in_range in zip(records, matches, strict=True) if is_in_range]
        matched = iter(await fits(within, request.query))
        matches = [is_in_range and next(matched) for is_in_range in matches]
    return matches


class RangeRunner:
    """Runs one job of a range, from its current state."""

    def __init__(self, context: RunnerContext, held: StoredJob, fits: Fits) -> None:
        self._context, self._fits = context, fits
        self._job_progress = JobProgress(context.jobs, held, context.runner_id, context.clock)
        self._broker = context.source.broker
        self._watch = OutcomeWatcher(context.source, self.job.id, self.job.marks)
        self._retention: Retention | None = None
        self._partitions: tuple[int, int] | None = None
        """Numbers of partitions of the stream and of the target."""
        self._progress = RangeProgress()
        self._job_progress.left = self._left

    @property
    def job(self) -> ReplayJob:
        return self._job_progress.job

    @property
    def target(self) -> str:
        return self.job.request.to or ""

    async def run(self) -> None:
        """Run until the job ends, is paused, or is taken over."""
        try:
            await self._job_progress.until_ended(self._through)
            await watch_after_end(self._context, self._job_progress, self._look)
        except JobStopped:
            log.info("replay.left", replay=self.job.id, state=self.job.state)

    async def _look(self) -> list[DeadLetter]:
        letters = await self._watch.look()
        self.job.returned = max(self.job.returned, self._watch.returned)
        return letters

    async def _through(self) -> None:
        """Go on from where the ledger says, to the end. Raises Outage: to be called again."""
        stands = await self._stands()
        progress = RangeProgress() if stands is None else _decode(stands)
        self._tell(progress)
        await self._prepare()
        while progress.at < len(self.job.spans):
            start, end = self.job.spans[progress.at]
            at = Position.parse(start)
            offset = at.offset if progress.next is None else progress.next
            async for page in self._pages(at.log, offset, end):
                progress, stands = await self._send(page, progress, stands)
            progress = RangeProgress(progress.at + 1, None, progress.published, progress.skipped, progress.failed)
        await self._look()
        self._miss(progress)
        await self._job_progress.done()

    def _miss(self, progress: RangeProgress) -> None:
        """Say what was counted when the job began, and did not come by."""
        job = self.job
        missing = job.selected - progress.published - progress.failed
        if missing > 0:
            job.failed = progress.failed + missing
            why = f"{missing} of the {job.selected} events that were counted at the start were not found again: {GONE}"
            job.failures = [*job.failures[: MAX_FAILURES - 1], SendFailure(id=_range_of(job).stream, why=why)]

    async def _prepare(self) -> None:
        source = len(await self._broker.partitions(_range_of(self.job).stream))
        target = len(await self._broker.partitions(self.target))
        if not target:
            raise Refused(f"there is no stream {self.target}: create it first")
        self._partitions = source, target
        self._retention = await self._broker.retention(self.target)

    async def _pages(self, log: Partition, start: int, end: int) -> AsyncIterator[list[Record]]:
        """Iterate over the records that fit into one transaction each."""
        part: list[Record] = []
        size = 0
        async for page in self._broker.scan(log, start=start, until=end):
            for record in page:
                mine = len(record.value or b"") + len(record.key or b"")
                if part and (len(part) >= self._most or size + mine > STEP_BYTES):
                    yield part
                    part, size = [], 0
                part.append(record)
                size += mine
        if part:
            yield part

    @property
    def _most(self) -> int:
        rate = self.job.request.rate
        return MAX_RECORDS_PER_STEP if rate is None else min(MAX_RECORDS_PER_STEP, max(1, int(rate / 2)))

    async def _send(
        self, page: list[Record], progress: RangeProgress, stands: bytes | None
    ) -> tuple[RangeProgress, bytes | None]:
        """Send one transaction. Raises JobStopped if another runner has moved on."""
        chosen = [
            record
            for record, is_chosen in zip(page, await match_range(page, self.job.request, self._fits), strict=True)
            if is_chosen
        ]
        await self._job_progress.throttle(len(chosen))
        await self._job_progress.look()
        failed = 0
        while True:
            after = RangeProgress(
                progress.at,
                page[-1].position.offset + 1,
                progress.published + len(chosen),
                progress.skipped + len(page) - len(chosen) - failed,
                progress.failed + failed,
            )
            entry = LedgerWrite(RANGE + self.job.id, stands, _encode(after))
            act = LedgerTransaction(self.target, (entry,), tuple([self._outgoing(record) for record in chosen]))
            try:
                (done,) = await self._broker.ledger.act([act])
                break
            except TooLarge as error:
                self._note_failure(chosen.pop(error.index), str(error))
                failed += 1
        if not done.carried_out:
            log.info("replay.overtaken", replay=self.job.id)
            self.job.note = "another sidecar continued it"
            raise JobStopped
        self._job_progress.charge(len(chosen))
        self._tell(after)
        if self._job_progress.due:
            await self._look()
            await self._job_progress.save()
        return after, entry.after

    def _tell(self, progress: RangeProgress) -> None:
        job, self._progress = self.job, progress
        job.published, job.failed = progress.published, progress.failed
        job.at = progress.published + progress.failed

    def _left(self) -> str:
        job, progress = self.job, self._progress
        failed = f", {progress.failed} could not be" if progress.failed else ""
        at = "the end"
        if progress.at < len(job.spans):
            start = Position.parse(job.spans[progress.at][0])
            at = str(start if progress.next is None else start.log.at(progress.next))
        return (
            f"{progress.published} of {job.selected} events were sent to {self.target}{failed}. Fix the problem, then "
            f"run tracecar replays resume {job.id}: it continues at {at} and sends no event twice"
        )

    def _note_failure(self, record: Record, why: str) -> None:
        id = str(record.position)
        if len(self.job.failures) < MAX_FAILURES and all(failure.id != id for failure in self.job.failures):
            self.job.failures = [*self.job.failures, SendFailure(id=id, why=why)]

    def _outgoing(self, record: Record) -> Outgoing:
        assert self._partitions is not None
        assert self._retention is not None
        attempt = tracecar.replay_count(dict(record.headers)) + 1
        own = tracecar.own_headers(record.headers)
        same = self._partitions[0] == self._partitions[1]
        return Outgoing(
            stream=self.target,
            key=record.key,
            value=record.value,
            headers=own
            + tracecar.build_replay_headers(self.job.id, f"@{record.position}", attempt, self.job.request.group),
            partition=record.position.partition if same or record.key is None else None,
            timestamp=choose_timestamp(self._retention, record.timestamp),
            value_at=record.value_at,
        )

    async def _stands(self) -> bytes | None:
        return (await self._broker.ledger.entries(self.target, [RANGE + self.job.id]))[0]


def _range_of(job: ReplayJob) -> EventRange:
    if job.request.range is None:
        raise Refused(f"replay {job.id}: it has no range")
    return job.request.range
