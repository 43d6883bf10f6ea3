"""Service for all actions on dead letters. Implements `sidecar.replay.ports.DeadLetterOperations`."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from typing import Protocol

import structlog
from msgspec import UNSET
from msgspec.structs import replace

from sidecar.dead_letters.ledger_entries import Actor
from sidecar.dead_letters.store import DeadLetterFilter, DeadLetterStore
from sidecar.domain.dead_letter_id import unknown_id_error
from sidecar.domain.errors import NotFoundError, Outage, Refused
from sidecar.domain.model import Record
from sidecar.domain.ports.ledger import Ledger
from sidecar.domain.position import Position
from sidecar.pipeline.consumer_groups.tracker import ConsumerGroupTracker
from sidecar.replay.audit import Audit, audit
from sidecar.replay.discard import DiscardAction, change_letters
from sidecar.replay.dry_run import (
    AggregateIndex,
    RecordCheck,
    describe_missing,
    plan_letters,
    plan_range,
    refuse_target,
    warn_of_fewer_partitions,
)
from sidecar.replay.export_import import LetterTransfer
from sidecar.replay.failure_reports import FailureReports
from sidecar.replay.job_control import BrokerReplay, JobController, waits_in_replay
from sidecar.replay.job_store import LetterRef
from sidecar.replay.models import (
    DiscardResult,
    EventRange,
    LetterOutcome,
    ReplayJob,
    ReplayPlan,
    ReplayRequest,
    ReportResult,
)
from sidecar.replay.outcome_watcher import list_end_positions
from sidecar.replay.ports import ExportedLetter, ReportedFailure
from sidecar.replay.range_runner import count_records, find_spans
from sidecar.replay.range_runner import span_ends as ends_of
from sidecar.replay.selection import FORCED_STATES, OPEN_STATES, UNDECIDED_STATES, ReplaySelection, select
from sidecar.replay.step_planner import BodyEditor, StepPlanner

log = structlog.get_logger()

MAX_DISCARDED_LETTERS = 10_000
"""Letters that one call discards at most."""
MAX_COMMENT_CHARACTERS, MAX_IDS = 4_000, 2_000


class LetterQueries(Protocol):
    """Compiles queries of dead letters."""

    def build_filter(self, query: str) -> DeadLetterFilter:
        """Build the filter of a query. Raises QueryError."""

    async def fits(self, records: Sequence[Record], query: str) -> Sequence[bool]:
        """Return a function that tells for each record whether it matches as an event. Raises QueryError."""

    async def in_sight(self, system: str, stream: str) -> bool:
        """Check whether this sidecar may read the stream. Raises Outage, Refused."""


class ReplayService:
    """Operations on the dead letters of some brokers.

    `check_records` returns the check for a broker's system; `names`: True if warnings may contain aggregate ids;
    `selection`: maximum number of letters in one replay.
    """

    def __init__(
        self,
        broker_replays: Sequence[BrokerReplay],
        *,
        store: DeadLetterStore,
        queries: LetterQueries,
        tracker: ConsumerGroupTracker,
        index: AggregateIndex,
        editor: BodyEditor,
        check_records: Callable[[str], RecordCheck],
        exporting: LetterTransfer,
        reporting: FailureReports,
        selection: int,
        names: bool = True,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000,
    ) -> None:
        self._store, self._queries, self._tracker, self._index = store, queries, tracker, index
        self._editor, self._check_records = editor, check_records
        self._exporting, self._reporting = exporting, reporting
        self._most, self._names, self._clock = selection, names, clock
        self._broker_replays = broker_replays
        self._controller = JobController(broker_replays)

    def start(self) -> None:
        """Supervise jobs in the background, until `close`."""
        for broker_replay in self._broker_replays:
            broker_replay.supervisor.start()

    async def close(self) -> None:
        for broker_replay in self._broker_replays:
            await broker_replay.supervisor.close()

    def trouble(self) -> list[str]:
        """Sentences about jobs that cannot be supervised."""
        return [
            f"replays on {broker_replay.source.broker.system} are not supervised: {trouble}"
            for broker_replay in self._broker_replays
            if (trouble := broker_replay.supervisor.trouble) is not None and broker_replay.supervisor.looked
        ]

    def waits(self, position: Position) -> bool:
        """Check whether the letter at a position is selected by a job that has not processed it yet."""
        return waits_in_replay(self._broker_replays, position)

    # --- replays

    async def plan(self, request: ReplayRequest) -> ReplayPlan:
        _check(request)
        if request.range is not None:
            broker_replay, where, total = await self._resolve_range(request, request.range)
            planned = await plan_range(broker_replay.source, request, total, self._tracker)
            planned.range = replace(request.range, ends=ends_of(where))
            return planned
        broker_replay, selection = await self._select(request)
        job = ReplayJob(
            id="dry-run",
            request=request,
            by="",
            system=broker_replay.source.broker.system,
            group=broker_replay.source.group,
        )
        planner = StepPlanner(broker_replay.source, self._tracker, self._editor, self._queries.in_sight, job)
        return await plan_letters(
            broker_replay.source,
            selection,
            request,
            planner,
            self._tracker,
            self._check_records(broker_replay.source.broker.system),
            self._index,
            names=self._names,
        )

    async def replay(self, request: ReplayRequest, who: Actor) -> ReplayJob:
        _check(request)
        if request.range is not None:
            broker_replay, where, total = await self._resolve_range(request, request.range)
            if request.to == request.range.stream and request.range.confirmed is None:
                raise Refused(f"{total} events would be published into {request.to} again: confirm this number first")
            request = replace(request, range=replace(request.range, ends=()))  # its spans say so
            return await self._begin(
                broker_replay, replace(await self._new(broker_replay, request, who), spans=where, selected=total), ()
            )
        broker_replay, selection = await self._select(request)
        job = await self._new(broker_replay, request, who)
        job.reasons, job.skipped = dict(selection.left_out), sum(selection.left_out.values())
        job.warnings, job.selected = (
            [*selection.list_notes(force=request.force), *describe_missing(selection)],
            len(selection.candidates),
        )
        job.warnings += await warn_of_fewer_partitions(broker_replay.source, selection.candidates, request)
        return await self._begin(broker_replay, job, [candidate.ref for candidate in selection.candidates])

    async def _new(self, broker_replay: BrokerReplay, request: ReplayRequest, who: Actor) -> ReplayJob:
        now = self._clock()
        return ReplayJob(
            id=f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now / 1_000_000))}-{secrets.token_hex(3)}",
            request=request,
            by=who.name,
            address=who.address,
            started_at=now,
            runner=broker_replay.context.runner_id,
            marks=await list_end_positions(broker_replay.source),
            system=broker_replay.source.broker.system,
            group=broker_replay.source.group,
        )

    async def _begin(self, broker_replay: BrokerReplay, job: ReplayJob, refs: Sequence[LetterRef]) -> ReplayJob:
        if not job.selected:
            job.state, job.ended_at = "done", job.started_at
            self._controller.keep_empty(job)
            return job
        held = await broker_replay.jobs.make(job, refs)
        log.info("replay.started", replay=job.id, by=job.by, address=job.address, selected=job.selected)
        broker_replay.supervisor.run(held)
        return held.job

    async def _select(self, request: ReplayRequest) -> tuple[BrokerReplay, ReplaySelection]:
        wanted = self._queries.build_filter(request.query)
        selection = await select(
            self._store, wanted, request.ids, takes=FORCED_STATES if request.force else OPEN_STATES, most=self._most
        )
        if request.ids and len(selection.missing) == len(set(request.ids)):
            others = ", nor the others" if len(selection.missing) > 1 else ""
            raise unknown_id_error(
                selection.missing[0],
                f"no dead-letter stream has a letter with the id {selection.missing[0]!r}{others} (tracecar dlq list)",
            )
        if len(selection.systems) > 1:
            raise Refused(
                f"these letters are on {' and '.join(selection.systems)}: replay one after the other, for example with "
                "stream:NAME or position:kafka*"
            )
        broker_replay = self._broker_replays[0]
        if selection.systems:
            broker_replay = next(
                work for work in self._broker_replays if work.source.broker.system == selection.systems[0]
            )
        why = refuse_target(request.to, broker_replay.source.naming)
        if why is not None:
            raise Refused(why)
        self._check_edit(request, selection)
        await self._tracker.poll()
        return broker_replay, selection

    async def _resolve_range(
        self, request: ReplayRequest, range: EventRange
    ) -> tuple[BrokerReplay, list[tuple[str, int]], int]:
        """Return the broker of a range, its spans there, and the number of its records."""
        if request.ids or request.edit or request.growth:
            raise Refused("a range is published unchanged: ids, edits and growing batches are for dead letters")
        if request.to is None:
            raise Refused("no target stream: choose one with --to-stream")
        broker_replay = await self._having(range.stream)
        system = broker_replay.source.broker.system
        if not await self._queries.in_sight(system, range.stream):
            raise NotFoundError(f"no watched stream has the name {range.stream}; tracecar streams lists them")
        why = refuse_target(request.to, broker_replay.source.naming) or refuse_target(
            range.stream, broker_replay.source.naming
        )
        if why is not None:
            raise Refused(why)
        if request.to == range.stream and not range.into_itself:
            raise Refused(
                f"{request.to} is the source itself: every group would receive these events again; to confirm, add "
                "--into-itself"
            )
        where = await find_spans(broker_replay.source.broker, range)
        total = await count_records(broker_replay.source.broker, request, where, self._queries.fits)
        if request.to == range.stream and range.confirmed is not None and range.confirmed != total:
            raise Refused(
                f"{range.confirmed} events were confirmed, but there are {total} now: repeat the dry run; if events "
                "keep arriving, choose a range in the past (--from, --to)"
            )
        return broker_replay, where, total

    async def _having(self, stream: str) -> BrokerReplay:
        """Return the broker that has a stream; the first one if none has."""
        outage: Outage | None = None
        for broker_replay in self._broker_replays:
            try:
                if await broker_replay.source.broker.partitions(stream):
                    return broker_replay
            except Outage as error:
                outage = outage or error
        if outage is not None:
            raise outage
        return self._broker_replays[0]

    @staticmethod
    def _check_edit(request: ReplayRequest, selection: ReplaySelection) -> None:
        if request.edit and not request.ids and not request.query:
            raise Refused("an edit needs a query or ids: without them it would change every open dead letter")
        if request.edit.body is not UNSET and len(selection.candidates) > 1:
            raise Refused(f"a whole new body is for one letter: {len(selection.candidates)} are selected")

    async def jobs(self, limit: int = 100) -> list[ReplayJob]:
        return await self._controller.jobs(limit)

    async def job(self, id: str) -> ReplayJob:
        return await self._controller.job(id)

    async def pause(self, id: str, who: Actor) -> ReplayJob:
        return await self._controller.change(id, "paused", who)

    async def resume(self, id: str, who: Actor) -> ReplayJob:
        return await self._controller.change(id, "running", who)

    async def cancel(self, id: str, who: Actor) -> ReplayJob:
        return await self._controller.change(id, "cancelled", who)

    # --- letters

    async def discard(self, ids: Sequence[str], reason: str, who: Actor) -> list[LetterOutcome]:
        return await self._change_letters(ids, "discarded", reason, who)

    async def discard_found(self, query: str, reason: str, who: Actor) -> DiscardResult:
        most = min(MAX_DISCARDED_LETTERS, self._most)
        selection = await select(self._store, self._queries.build_filter(query), (), takes=UNDECIDED_STATES, most=most)
        ids = [candidate.letter.id for candidate in selection.candidates]
        outcomes = await self._change_letters(ids, "discarded", reason, who) if ids else []
        return DiscardResult(
            outcomes=outcomes, more=selection.more and any(outcome.done for outcome in outcomes), notes=selection.notes
        )

    async def restore(self, ids: Sequence[str], who: Actor) -> list[LetterOutcome]:
        return await self._change_letters(ids, "restored", None, who)

    async def _change_letters(
        self, ids: Sequence[str], what: DiscardAction, reason: str | None, who: Actor
    ) -> list[LetterOutcome]:
        outcomes = [
            outcome
            async for outcome in change_letters(self._store, self._ledger, ids, what, reason, who, self._clock())
        ]
        done = sum(outcome.done for outcome in outcomes)
        log.info(f"dead_letters.{what}", by=who.name, address=who.address, letters=done, asked=len(ids), why=reason)
        return outcomes

    def _ledger(self, system: str) -> Ledger:
        return next(
            broker_replay.source.broker.ledger
            for broker_replay in self._broker_replays
            if broker_replay.source.broker.system == system
        )

    async def report(self, failure: ReportedFailure, who: Actor) -> ReportResult:
        reported = await self._reporting.report(failure, who)
        if reported.created:
            log.info("dead_letters.reported", by=who.name, address=who.address, letter=reported.id)
        return reported

    async def audit(self, limit: int = 100) -> Audit:
        return await audit(self._store, await self.jobs(0), limit)

    def export(self, query: str = "", limit: int = 0) -> AsyncIterator[ExportedLetter]:
        return self._exporting.export(self._queries.build_filter(query), limit)

    async def import_letters(self, letters: AsyncIterable[ExportedLetter], who: Actor) -> AsyncIterator[LetterOutcome]:
        taken = asked = 0
        async for outcome in self._exporting.import_letters(letters, who):
            asked, taken = asked + 1, taken + outcome.done
            yield outcome
        log.info("dead_letters.imported", by=who.name, address=who.address, letters=taken, asked=asked)


def _check(request: ReplayRequest) -> None:
    """Refuse values that are too long for the entries of jobs and letters."""
    if request.comment is not None and len(request.comment) > MAX_COMMENT_CHARACTERS:
        raise Refused(f"comment: expected at most {MAX_COMMENT_CHARACTERS} characters, found {len(request.comment)}")
    if len(request.ids) > MAX_IDS:
        raise Refused(f"expected at most {MAX_IDS} ids, found {len(request.ids)}: select the letters by a query")
    if request.rate is not None and not 0 < request.rate < math.inf:
        raise Refused(f"rate: expected records a second, more than 0, found {request.rate:g}")
