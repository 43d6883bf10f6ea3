"""Everything that is done with dead letters, put together (`sidecar.replaying.acting.Acting`)."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Literal, Protocol

import structlog
from msgspec import UNSET
from msgspec.structs import replace

from sidecar.dead_letters import reading
from sidecar.dead_letters.desk import Desk
from sidecar.dead_letters.desk import Wish as Wanted
from sidecar.dead_letters.entries import Who
from sidecar.dead_letters.ids import unknown
from sidecar.delivery import Follower
from sidecar.errors import Outage, Refused, TracecarError, Unknown
from sidecar.model import DeadLetter, Position, Record
from sidecar.ports import Ledger
from sidecar.replaying.acting import ExportedLetter, ReportedFailure
from sidecar.replaying.auditing import Audit, audit
from sidecar.replaying.exporting import Exporting
from sidecar.replaying.jobs import Held, Jobs, Ref
from sidecar.replaying.kit import Kit
from sidecar.replaying.planning import History, Verdicts, fewer_partitions, not_there, plan, plan_range, refuse_target
from sidecar.replaying.preparing import Editor, Preparing
from sidecar.replaying.ranges import Fits, RangeRunner, count, spans
from sidecar.replaying.ranges import ends as ends_of
from sidecar.replaying.reporting import Reporting
from sidecar.replaying.running import Runner
from sidecar.replaying.selecting import FORCED, OPEN, UNDECIDED, Selection, select
from sidecar.replaying.setting_aside import What, set_aside
from sidecar.replaying.supervising import Running, Supervisor, runner_name
from sidecar.replaying.watching import ends
from sidecar.replaying.wishes import Decision, Discarded, Job, JobState, Outcome, Plan, Range, Reported, Wish

log = structlog.get_logger()

TRIES = 5
"""How often a change of a job is tried while its runner writes its progress."""
MAY: dict[str, tuple[JobState, ...]] = {
    "paused": ("running",),
    "running": ("paused", "failed"),
    "cancelled": ("running", "paused", "failed"),
}
"""From which states a person may bring a job to this one."""
DECIDED: dict[str, Literal["paused", "resumed", "cancelled"]] = {
    "paused": "paused",
    "running": "resumed",
    "cancelled": "cancelled",
}
DISCARDED_AT_ONCE = 10_000
"""Letters that one call discards at most."""
LONGEST_COMMENT, MOST_IDS = 4_000, 2_000
MOST_EMPTY = 100
MOST_DECISIONS = 20
"""Decisions that a job remembers."""


class Source(reading.Source, Protocol):
    """A broker, the names that go with it, and the sidecars' group on it."""

    @property
    def group(self) -> str: ...


class Reading(Protocol):
    """Understands queries of dead letters."""

    def wanted(self, query: str) -> Wanted:
        """What the desk is to look for. Raises QueryError."""

    async def fits(self, records: Sequence[Record], query: str) -> Sequence[bool]:
        """Which records, as events, match. Raises QueryError."""

    async def in_sight(self, system: str, stream: str) -> bool:
        """Whether this stream is ours to read. Raises Outage, Refused."""


class _Works:
    """What works on one broker."""

    def __init__(self, source: Source, kit: Kit, fits: Fits) -> None:
        self.source, self.kit, self._fits = source, kit, fits
        self.jobs = kit.jobs
        self.supervisor = Supervisor(kit.jobs, source.group, kit.me, self._runner)

    def _runner(self, held: Held) -> Running:
        return Runner(self.kit, held) if held.job.wish.range is None else RangeRunner(self.kit, held, self._fits)


class Operations:
    """Acts on the dead letters of some brokers. `verdicts` gives the check of a broker's system; `names`: aggregates
    may be named in warnings; `selection`: letters that one replay takes at most."""

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        desk: Desk,
        queries: Reading,
        follower: Follower,
        index: History,
        editor: Editor,
        verdicts: Callable[[str], Verdicts],
        exporting: Exporting,
        reporting: Reporting,
        selection: int,
        names: bool = True,
        veil: Callable[[Wish], Wish] = lambda wish: wish,
        shown: Callable[[DeadLetter], str] = lambda letter: letter.message,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000,
    ) -> None:
        self._desk, self._queries, self._follower, self._index = desk, queries, follower, index
        self._editor, self._verdicts = editor, verdicts
        self._exporting, self._reporting = exporting, reporting
        self._most, self._names, self._clock, self._veil = selection, names, clock, veil
        self.me = runner_name()
        self._empty: dict[str, Job] = {}
        """Replays that had nothing to send, the latest: whoever asked for one may ask how far it is."""
        self._works = [
            _Works(
                source,
                Kit(
                    source, Jobs(source.broker.ledger), follower, editor, queries.in_sight, self.me, clock, veil, shown
                ),
                queries.fits,
            )
            for source in sources
        ]

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

    async def plan(self, wish: Wish) -> Plan:
        _check(wish)
        if wish.range is not None:
            works, where, found = await self._ranged(wish, wish.range)
            planned = await plan_range(works.source, wish, found, self._follower)
            planned.range = replace(wish.range, ends=ends_of(where))
            return planned
        works, selection = await self._selected(wish)
        job = Job(id="dry-run", wish=wish, by="", system=works.source.broker.system, group=works.source.group)
        preparing = Preparing(works.source, self._follower, self._editor, self._queries.in_sight, job)
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

    async def replay(self, wish: Wish, who: Who) -> Job:
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
        return await self._begin(works, job, [one.ref for one in selection.candidates])

    async def _new(self, works: _Works, wish: Wish, who: Who) -> Job:
        now = self._clock()
        return Job(
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

    async def _begin(self, works: _Works, job: Job, refs: Sequence[Ref]) -> Job:
        if not job.selected:
            job.state, job.ended_at, job.wish = "done", job.started_at, self._veil(job.wish)
            self._empty[job.id] = job
            if len(self._empty) > MOST_EMPTY:
                del self._empty[next(iter(self._empty))]
            return job
        held = await works.jobs.make(job, refs)
        log.info("replay.started", replay=job.id, by=job.by, address=job.address, selected=job.selected)
        works.supervisor.run(held)
        return held.job

    async def _selected(self, wish: Wish) -> tuple[_Works, Selection]:
        wanted = self._queries.wanted(wish.query)
        selection = await select(self._desk, wanted, wish.ids, takes=FORCED if wish.force else OPEN, most=self._most)
        if wish.ids and len(selection.missing) == len(set(wish.ids)):
            others = ", nor the others" if len(selection.missing) > 1 else ""
            raise unknown(
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
            works = next(one for one in self._works if one.source.broker.system == selection.systems[0])
        why = refuse_target(wish.to, works.source.naming)
        if why is not None:
            raise Refused(why)
        self._check_edit(wish, selection)
        await self._follower.look()
        return works, selection

    async def _ranged(self, wish: Wish, range: Range) -> tuple[_Works, list[tuple[str, int]], int]:
        """The broker, where the range lies in it, and how many records that is."""
        if wish.ids or wish.edit or wish.growth:
            raise Refused("a range is published as it is: ids, edits and growing batches are for dead letters")
        if wish.to is None:
            raise Refused("say which stream the events shall go to (--to-stream)")
        works = await self._having(range.stream)
        system = works.source.broker.system
        if not await self._queries.in_sight(system, range.stream):
            raise Unknown(f"no watched stream is called {range.stream}")
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

    async def _having(self, stream: str) -> _Works:
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
    def _check_edit(wish: Wish, selection: Selection) -> None:
        if wish.edit and not wish.ids and not wish.query:
            raise Refused("an edit needs a query or ids: it would change every dead letter that is open")
        if wish.edit.body is not UNSET and len(selection.candidates) > 1:
            raise Refused(f"a whole new body is for one letter: {len(selection.candidates)} are selected")

    async def jobs(self, limit: int = 100) -> list[Job]:
        """The newest; those of a broker that cannot be asked are left out while another can."""
        found: list[Job] = []
        outages: list[Outage] = []
        for works in self._works:
            try:
                found += [works.supervisor.current(held.job) for held in (await works.jobs.all()).values()]
            except Outage as error:
                log.warning("replays.not_listed", system=works.source.broker.system, reason=str(error))
                outages.append(error)
        if len(outages) == len(self._works) > 0:
            raise outages[0]
        found.sort(key=lambda job: (job.started_at, job.id), reverse=True)
        return found[: limit or None]

    async def job(self, id: str) -> Job:
        if id in self._empty:
            return self._empty[id]
        works, held = await self._job(id)
        return works.supervisor.current(held.job)

    async def _job(self, id: str) -> tuple[_Works, Held]:
        outage: Outage | None = None
        for works in self._works:
            try:
                held = await works.jobs.get(id)
            except Outage as error:
                outage = outage or error
                continue
            if held is not None:
                return works, held
        if outage is not None:
            raise outage
        raise Unknown(f"there is no replay {id!r} in the ledger (tracecar replays lists them)")

    async def pause(self, id: str, who: Who) -> Job:
        return await self._change(id, "paused", who)

    async def resume(self, id: str, who: Who) -> Job:
        return await self._change(id, "running", who)

    async def cancel(self, id: str, who: Who) -> Job:
        return await self._change(id, "cancelled", who)

    async def _change(self, id: str, state: JobState, who: Who) -> Job:
        if id in self._empty:
            raise Refused(f"replay {id} is done: there was nothing to send")
        for _ in range(TRIES):
            works, held = await self._job(id)
            before = held.job
            if before.state == state:
                return before
            if before.state not in MAY[state]:
                raise Refused(f"replay {id} is {before.state}: it cannot be {state} any more")
            now = self._clock()
            after = replace(before, state=state, changed_at=now, changed_by=who.name, beat=before.beat + 1)
            decision = Decision(act=DECIDED[state], at=now, by=who.name, address=who.address)
            after.decisions = [*before.decisions, decision][-MOST_DECISIONS:]
            ours = before.group == works.source.group
            if state == "running":
                after.runner, after.note, after.ended_at = self.me if ours else "", None, None
                if not ours:
                    after.note = f"waiting for a sidecar of the group {before.group}, whose letters these are"
            elif state == "cancelled":
                after.wish = self._veil(after.wish)
                after.ended_at, after.note = now, f"cancelled by {who.name}: what was not sent is open"
            else:
                after.note = f"paused by {who.name}"
            changed = await works.jobs.change(held, after)
            if changed is None:
                continue
            log.info(f"replay.{state}", replay=id, by=who.name, address=who.address)
            if state == "running" and ours:
                works.supervisor.run(changed)
            elif state == "cancelled":
                with suppress(TracecarError):  # it looks again by itself
                    await works.supervisor.look()  # its letters are open for whoever asks next
            return works.supervisor.current(changed.job)
        raise Outage(f"replay {id}: its runner is writing its progress all the time: try again")

    # --- letters

    async def discard(self, ids: Sequence[str], reason: str, who: Who) -> list[Outcome]:
        return await self._set_aside(ids, "discarded", reason, who)

    async def discard_found(self, query: str, reason: str, who: Who) -> Discarded:
        most = min(DISCARDED_AT_ONCE, self._most)
        found = await select(self._desk, self._queries.wanted(query), (), takes=UNDECIDED, most=most)
        ids = [one.letter.id for one in found.candidates]
        outcomes = await self._set_aside(ids, "discarded", reason, who) if ids else []
        return Discarded(outcomes=outcomes, more=found.more and any(one.done for one in outcomes), notes=found.notes)

    async def restore(self, ids: Sequence[str], who: Who) -> list[Outcome]:
        return await self._set_aside(ids, "restored", None, who)

    async def _set_aside(self, ids: Sequence[str], what: What, reason: str | None, who: Who) -> list[Outcome]:
        found = [
            outcome async for outcome in set_aside(self._desk, self._ledger, ids, what, reason, who, self._clock())
        ]
        done = sum(one.done for one in found)
        log.info(f"dead_letters.{what}", by=who.name, address=who.address, letters=done, asked=len(ids), why=reason)
        return found

    def _ledger(self, system: str) -> Ledger:
        return next(works.source.broker.ledger for works in self._works if works.source.broker.system == system)

    async def report(self, failure: ReportedFailure, who: Who) -> Reported:
        reported = await self._reporting.report(failure, who)
        if reported.created:
            log.info("dead_letters.reported", by=who.name, address=who.address, letter=reported.id)
        return reported

    async def audit(self, limit: int = 100) -> Audit:
        return await audit(self._desk, await self.jobs(0), limit)

    def export(self, query: str = "", limit: int = 0) -> AsyncIterator[ExportedLetter]:
        return self._exporting.export(self._queries.wanted(query), limit)

    async def take_in(self, letters: AsyncIterable[ExportedLetter], who: Who) -> AsyncIterator[Outcome]:
        taken = asked = 0
        async for outcome in self._exporting.take_in(letters, who):
            asked, taken = asked + 1, taken + outcome.done
            yield outcome
        log.info("dead_letters.imported", by=who.name, address=who.address, letters=taken, asked=asked)


def _check(wish: Wish) -> None:
    """What every job and every letter's entry would carry on is bounded."""
    if wish.comment is not None and len(wish.comment) > LONGEST_COMMENT:
        raise Refused(
            f"comment: {len(wish.comment)} characters, and at most {LONGEST_COMMENT} are kept: say it shorter"
        )
    if len(wish.ids) > MOST_IDS:
        raise Refused(f"{len(wish.ids)} ids, and at most {MOST_IDS} are taken: name the letters by a query")
    if wish.rate is not None and not 0 < wish.rate < math.inf:
        raise Refused(f"rate: expected records a second, more than 0, found {wish.rate:g}")
