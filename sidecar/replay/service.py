"""Everything that is done with dead letters, put together (`sidecar.replay.ports.DeadLetterOperations`)."""

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
from sidecar.domain.model import DeadLetter, Record
from sidecar.domain.ports.ledger import Ledger
from sidecar.domain.position import Position
from sidecar.pipeline.consumer_groups.tracker import ConsumerGroupTracker
from sidecar.replay.audit import Audit, audit
from sidecar.replay.discard import What, set_aside
from sidecar.replay.dry_run import (
    ReplayChain,
    Verdicts,
    fewer_partitions,
    not_there,
    plan,
    plan_range,
    refuse_target,
)
from sidecar.replay.export_import import LetterTransfer
from sidecar.replay.failure_reports import FailureReports
from sidecar.replay.job_control import BrokerReplay, JobController, ReplaySource
from sidecar.replay.job_store import JobStore, LetterRef
from sidecar.replay.models import (
    DiscardResult,
    EventRange,
    LetterOutcome,
    ReplayJob,
    ReplayPlan,
    ReplayRequest,
    ReportResult,
)
from sidecar.replay.outcome_watcher import ends
from sidecar.replay.ports import ExportedLetter, ReportedFailure
from sidecar.replay.range_runner import count, spans
from sidecar.replay.range_runner import ends as ends_of
from sidecar.replay.runner_context import RunnerContext
from sidecar.replay.selected_letters import SelectedLetters
from sidecar.replay.selection import FORCED, OPEN, UNDECIDED, ReplaySelection, select
from sidecar.replay.step_planner import BodyEditor, StepPlanner
from sidecar.replay.supervisor import runner_name

log = structlog.get_logger()

DISCARDED_AT_ONCE = 10_000
"""Letters that one call discards at most."""
LONGEST_COMMENT, MOST_IDS = 4_000, 2_000


class LetterQueries(Protocol):
    """Understands queries of dead letters."""

    def wanted(self, query: str) -> DeadLetterFilter:
        """What the desk is to look for. Raises QueryError."""

    async def fits(self, records: Sequence[Record], query: str) -> Sequence[bool]:
        """Which records, as events, match. Raises QueryError."""

    async def in_sight(self, system: str, stream: str) -> bool:
        """Whether this stream is ours to read. Raises Outage, Refused."""


class ReplayService:
    """Acts on the dead letters of some brokers. `verdicts` gives the check of a broker's system; `names`: aggregates
    may be named in warnings; `selection`: letters that one replay takes at most."""

    def __init__(
        self,
        sources: Sequence[ReplaySource],
        *,
        desk: DeadLetterStore,
        queries: LetterQueries,
        follower: ConsumerGroupTracker,
        index: ReplayChain,
        editor: BodyEditor,
        verdicts: Callable[[str], Verdicts],
        exporting: LetterTransfer,
        reporting: FailureReports,
        selection: int,
        selected: SelectedLetters | None = None,
        names: bool = True,
        veil: Callable[[ReplayRequest], ReplayRequest] = lambda wish: wish,
        shown: Callable[[DeadLetter], str] = lambda letter: letter.message,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000,
    ) -> None:
        self._desk, self._queries, self._follower, self._index = desk, queries, follower, index
        self._editor, self._verdicts = editor, verdicts
        self._exporting, self._reporting = exporting, reporting
        self._most, self._names, self._clock = selection, names, clock
        self.me = runner_name()
        self._works = [
            BrokerReplay(
                source,
                RunnerContext(
                    source,
                    JobStore(source.broker.ledger),
                    follower,
                    editor,
                    queries.in_sight,
                    self.me,
                    clock,
                    veil,
                    shown,
                ),
                queries.fits,
            )
            for source in sources
        ]
        if selected is not None:
            selected.add_source(self.waits)
        self._decisions = JobController(self._works)

    def start(self) -> None:
        """Look after jobs in the background, until `close`."""
        for works in self._works:
            works.supervisor.start()

    async def close(self) -> None:
        for works in self._works:
            await works.supervisor.close()

    def trouble(self) -> list[str]:
        """Sentences: why replays are not looked after."""
        return [
            f"replays on {works.source.broker.system} are not looked after: {trouble}"
            for works in self._works
            if (trouble := works.supervisor.trouble) is not None and works.supervisor.looked
        ]

    def waits(self, position: Position) -> bool:
        """Whether the letter at a position is selected by a job that has not come to it yet."""
        return any(works.supervisor.waits(position) for works in self._works)

    # --- replays

    async def plan(self, wish: ReplayRequest) -> ReplayPlan:
        _check(wish)
        if wish.range is not None:
            works, where, found = await self._ranged(wish, wish.range)
            planned = await plan_range(works.source, wish, found, self._follower)
            planned.range = replace(wish.range, ends=ends_of(where))
            return planned
        works, selection = await self._selected(wish)
        job = ReplayJob(id="dry-run", wish=wish, by="", system=works.source.broker.system, group=works.source.group)
        preparing = StepPlanner(works.source, self._follower, self._editor, self._queries.in_sight, job)
        return await plan(
            works.source,
            selection,
            wish,
            preparing,
            self._follower,
            self._verdicts(works.source.broker.system),
            self._index,
            names=self._names,
        )

    async def replay(self, wish: ReplayRequest, who: Actor) -> ReplayJob:
        _check(wish)
        if wish.range is not None:
            works, where, found = await self._ranged(wish, wish.range)
            if wish.to == wish.range.stream and wish.range.confirmed is None:
                raise Refused(f"{found} events would go into {wish.to} again: confirm this count first")
            wish = replace(wish, range=replace(wish.range, ends=()))  # its spans say so
            return await self._begin(works, replace(await self._new(works, wish, who), spans=where, selected=found), ())
        works, selection = await self._selected(wish)
        job = await self._new(works, wish, who)
        job.reasons, job.skipped = dict(selection.left_out), sum(selection.left_out.values())
        job.warnings, job.selected = (
            [*selection.noted(force=wish.force), *not_there(selection)],
            len(selection.candidates),
        )
        job.warnings += await fewer_partitions(works.source, selection.candidates, wish)
        return await self._begin(works, job, [candidate.ref for candidate in selection.candidates])

    async def _new(self, works: BrokerReplay, wish: ReplayRequest, who: Actor) -> ReplayJob:
        now = self._clock()
        return ReplayJob(
            id=f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now / 1_000_000))}-{secrets.token_hex(3)}",
            wish=wish,
            by=who.name,
            address=who.address,
            started_at=now,
            runner=self.me,
            marks=await ends(works.source),
            system=works.source.broker.system,
            group=works.source.group,
        )

    async def _begin(self, works: BrokerReplay, job: ReplayJob, refs: Sequence[LetterRef]) -> ReplayJob:
        if not job.selected:
            job.state, job.ended_at, job.wish = "done", job.started_at, works.kit.veil(job.wish)
            self._decisions.keep_empty(job)
            return job
        held = await works.jobs.make(job, refs)
        log.info("replay.started", replay=job.id, by=job.by, address=job.address, selected=job.selected)
        works.supervisor.run(held)
        return held.job

    async def _selected(self, wish: ReplayRequest) -> tuple[BrokerReplay, ReplaySelection]:
        wanted = self._queries.wanted(wish.query)
        selection = await select(self._desk, wanted, wish.ids, takes=FORCED if wish.force else OPEN, most=self._most)
        if wish.ids and len(selection.missing) == len(set(wish.ids)):
            others = ", nor the others" if len(selection.missing) > 1 else ""
            raise unknown_id_error(
                selection.missing[0],
                f"no dead-letter stream holds a letter with the id {selection.missing[0]!r}{others} "
                "(tracecar dlq list)",
            )
        if len(selection.systems) > 1:
            raise Refused(
                f"these letters lie on {' and '.join(selection.systems)}: replay one after the other, for example with "
                "stream:NAME or position:kafka*"
            )
        works = self._works[0]
        if selection.systems:
            works = next(work for work in self._works if work.source.broker.system == selection.systems[0])
        why = refuse_target(wish.to, works.source.naming)
        if why is not None:
            raise Refused(why)
        self._check_edit(wish, selection)
        await self._follower.poll()
        return works, selection

    async def _ranged(self, wish: ReplayRequest, range: EventRange) -> tuple[BrokerReplay, list[tuple[str, int]], int]:
        """The broker, where the range lies in it, and how many records that is."""
        if wish.ids or wish.edit or wish.growth:
            raise Refused("a range is published as it is: ids, edits and growing batches are for dead letters")
        if wish.to is None:
            raise Refused("say which stream the events shall go to (--to-stream)")
        works = await self._having(range.stream)
        system = works.source.broker.system
        if not await self._queries.in_sight(system, range.stream):
            raise NotFoundError(f"no watched stream is called {range.stream}")
        why = refuse_target(wish.to, works.source.naming) or refuse_target(range.stream, works.source.naming)
        if why is not None:
            raise Refused(why)
        if wish.to == range.stream and not range.into_itself:
            raise Refused(
                f"{wish.to} is the stream that is read: every group would receive these events again; if that is "
                "meant, say --into-itself"
            )
        where = await spans(works.source.broker, range)
        found = await count(works.source.broker, wish, where, self._queries.fits)
        if wish.to == range.stream and range.confirmed is not None and range.confirmed != found:
            raise Refused(
                f"{range.confirmed} events were confirmed, and it would be {found} now: look again, and where events "
                "go on coming, name a beginning and an end that are past (--from, --to)"
            )
        return works, where, found

    async def _having(self, stream: str) -> BrokerReplay:
        """The broker that has a stream; the first where none has."""
        outage: Outage | None = None
        for works in self._works:
            try:
                if await works.source.broker.partitions(stream):
                    return works
            except Outage as error:
                outage = outage or error
        if outage is not None:
            raise outage
        return self._works[0]

    @staticmethod
    def _check_edit(wish: ReplayRequest, selection: ReplaySelection) -> None:
        if wish.edit and not wish.ids and not wish.query:
            raise Refused("an edit needs a query or ids: it would change every dead letter that is open")
        if wish.edit.body is not UNSET and len(selection.candidates) > 1:
            raise Refused(f"a whole new body is for one letter: {len(selection.candidates)} are selected")

    async def jobs(self, limit: int = 100) -> list[ReplayJob]:
        return await self._decisions.jobs(limit)

    async def job(self, id: str) -> ReplayJob:
        return await self._decisions.job(id)

    async def pause(self, id: str, who: Actor) -> ReplayJob:
        return await self._decisions.change(id, "paused", who)

    async def resume(self, id: str, who: Actor) -> ReplayJob:
        return await self._decisions.change(id, "running", who)

    async def cancel(self, id: str, who: Actor) -> ReplayJob:
        return await self._decisions.change(id, "cancelled", who)

    # --- letters

    async def discard(self, ids: Sequence[str], reason: str, who: Actor) -> list[LetterOutcome]:
        return await self._set_aside(ids, "discarded", reason, who)

    async def discard_found(self, query: str, reason: str, who: Actor) -> DiscardResult:
        most = min(DISCARDED_AT_ONCE, self._most)
        found = await select(self._desk, self._queries.wanted(query), (), takes=UNDECIDED, most=most)
        ids = [candidate.letter.id for candidate in found.candidates]
        outcomes = await self._set_aside(ids, "discarded", reason, who) if ids else []
        return DiscardResult(
            outcomes=outcomes, more=found.more and any(outcome.done for outcome in outcomes), notes=found.notes
        )

    async def restore(self, ids: Sequence[str], who: Actor) -> list[LetterOutcome]:
        return await self._set_aside(ids, "restored", None, who)

    async def _set_aside(self, ids: Sequence[str], what: What, reason: str | None, who: Actor) -> list[LetterOutcome]:
        found = [
            outcome async for outcome in set_aside(self._desk, self._ledger, ids, what, reason, who, self._clock())
        ]
        done = sum(one.done for one in found)
        log.info(f"dead_letters.{what}", by=who.name, address=who.address, letters=done, asked=len(ids), why=reason)
        return found

    def _ledger(self, system: str) -> Ledger:
        return next(works.source.broker.ledger for works in self._works if works.source.broker.system == system)

    async def report(self, failure: ReportedFailure, who: Actor) -> ReportResult:
        reported = await self._reporting.report(failure, who)
        if reported.created:
            log.info("dead_letters.reported", by=who.name, address=who.address, letter=reported.id)
        return reported

    async def audit(self, limit: int = 100) -> Audit:
        return await audit(self._desk, await self.jobs(0), limit)

    def export(self, query: str = "", limit: int = 0) -> AsyncIterator[ExportedLetter]:
        return self._exporting.export(self._queries.wanted(query), limit)

    async def import_letters(self, letters: AsyncIterable[ExportedLetter], who: Actor) -> AsyncIterator[LetterOutcome]:
        taken = asked = 0
        async for outcome in self._exporting.import_letters(letters, who):
            asked, taken = asked + 1, taken + outcome.done
            yield outcome
        log.info("dead_letters.imported", by=who.name, address=who.address, letters=taken, asked=asked)


def _check(wish: ReplayRequest) -> None:
    """What every job and every letter's entry would carry on is bounded."""
    if wish.comment is not None and len(wish.comment) > LONGEST_COMMENT:
        raise Refused(
            f"comment: {len(wish.comment)} characters, and at most {LONGEST_COMMENT} are kept: say it shorter"
        )
    if len(wish.ids) > MOST_IDS:
        raise Refused(f"{len(wish.ids)} ids, and at most {MOST_IDS} are taken: name the letters by a query")
    if wish.rate is not None and not 0 < wish.rate < math.inf:
        raise Refused(f"rate: expected records a second, more than 0, found {wish.rate:g}")
