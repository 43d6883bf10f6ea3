"""Runner of one replay, step by step, so that a crash at any moment neither duplicates nor skips a letter.

A step reads some letters again, looks up their ledger entries, and sends those that still must be sent. Each letter's
record and its ledger entry become durable in one transaction (`sidecar.domain.ports.ledger.Ledger.act`). The progress
of the job is saved later, about once a second.

**The process dies**

- before the transaction: nothing was sent; the next runner repeats the step.
- during it: the ledger knows which transactions were carried out, each completely or not at all. The next runner starts
  at the last saved progress, finds entries that name this job, and counts them as sent.
- between the transaction and the progress: the same.
- after the last transaction, before the job is `done`: the next runner finds that everything was sent, and ends the
  job.

**Two runners of one job** (the first was slow, and was considered dead): both may do the same step. Each transaction
compares the entry that it read; the second finds it changed by this same job, and counts it as sent. Progress is
written by compare-and-set on the job: a runner that finds another runner's name there stops.

**Two jobs with the same letters**: the entry names the other job, and the letter is skipped.

**The reply to a transaction comes late or never**: the same transactions are tried again; those that were carried out
are recognized by their entries.

**The clock** is not compared with other clocks: times are stored for display only.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence

import structlog

from sidecar.dead_letters.ledger_entries import current_entry
from sidecar.domain.errors import Outage, Refused, TooLarge
from sidecar.domain.model import DeadLetter
from sidecar.domain.ports.ledger import LedgerOutcome
from sidecar.replay.job_progress import SAVE_INTERVAL_S, JobProgress, JobStopped
from sidecar.replay.job_store import StoredJob
from sidecar.replay.models import ReplayJob, SendFailure
from sidecar.replay.outcome_watcher import OutcomeWatcher
from sidecar.replay.ramp_up import RampUp
from sidecar.replay.runner_context import RunnerContext
from sidecar.replay.selection import SKIP_REASONS
from sidecar.replay.step_planner import CHANGED, ReplayItem, ReplayStep, StepPlanner, was_sent_by

log = structlog.get_logger()

FIRST_STEP_LETTERS, MAX_LETTERS_PER_STEP = 50, 2_000
"""Number of letters in the first step, and in a step at most."""
MAX_FAILURES = 20
LOST_EDIT = (
    "the edit has redacted values, which only the sidecar that began the replay had in memory: cancel the replay and "
    "start another one with the edit"
)
"""Failures that a job lists."""


class ReadAhead:
    """Items of the next step, read while the current step is being sent. Their ledger entries are not read yet."""

    def __init__(self, items: Coroutine[None, None, tuple[list[ReplayItem], int]], at: int) -> None:
        self.at = at
        self.task = asyncio.create_task(items)

    def drop(self) -> None:
        """Cancel the read."""
        self.task.cancel()
        self.task.add_done_callback(lambda done: done.cancelled() or done.exception())


class LetterRunner:
    """Runs one job of dead letters, from its current state."""

    def __init__(self, context: RunnerContext, held: StoredJob) -> None:
        self._context = context
        self._job_progress = JobProgress(context.jobs, held, context.runner_id, context.clock)
        self._planner = StepPlanner(
            context.source, context.tracker, context.editor, context.in_sight, self.job, wait_for_groups=True
        )
        self._watch = OutcomeWatcher(context.source, self.job.id, self.job.marks)
        self._step_size = FIRST_STEP_LETTERS
        self._ahead: ReadAhead | None = None
        self._ramp_up = RampUp(context, self._job_progress, self._look) if self.job.request.growth else None

    @property
    def job(self) -> ReplayJob:
        return self._job_progress.job

    async def run(self) -> None:
        """Run until the job ends, is paused, or is taken over."""
        try:
            await self._job_progress.until_ended(self._step)
            await watch_after_end(self._context, self._job_progress, self._look)
        except JobStopped:
            log.info("replay.left", replay=self.job.id, state=self.job.state)
        finally:
            if self._ahead is not None:
                self._ahead.drop()

    # --- a step

    async def _step(self) -> None:
        job, ramp_up = self.job, self._ramp_up
        if not self._context.jobs.has_edit(job):
            raise Refused(LOST_EDIT)
        if ramp_up is not None:
            await ramp_up.look_back()
            if ramp_up.ended:
                await self._job_progress.look()
                await ramp_up.evaluate_batch()
                return
        if job.at >= job.selected:
            await self._look()
            await self._job_progress.done()
            return
        size = await self._job_progress.throttle(self._size())
        began = time.monotonic()
        await self._job_progress.look()
        items, asked = await self._prepare_items(job.at, size)
        step = ReplayStep(items, job)
        await step.read(self._context.source.broker.ledger, self._context.clock())
        if ramp_up is None and job.request.rate is None:
            self._ahead = ReadAhead(self._items(job.at + len(items), self._size()), job.at + len(items))
        await self._carry_out(step)
        self._count(items)
        job.at += len(items)
        job.note = None
        if ramp_up is not None:
            ramp_up.note_sent(items)
        self._grow(len(items), asked, time.monotonic() - began)
        if self._job_progress.due:
            await self._look()
            await self._job_progress.save()

    async def _prepare_items(self, at: int, size: int) -> tuple[list[ReplayItem], int]:
        """Return the items from an index of the selection on, and how many were requested.

        Items that were read while the last step was sent are used if they begin at this index.
        """
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead.at == at:
            return await ahead.task
        if ahead is not None:
            ahead.drop()
        return await self._items(at, size)

    async def _items(self, at: int, size: int) -> tuple[list[ReplayItem], int]:
        refs = await self._context.jobs.refs(self.job, at, min(self.job.selected, at + size))
        return await self._planner.items(refs), len(refs)

    def _size(self) -> int:
        return self._step_size if self._ramp_up is None else min(self._step_size, self._ramp_up.room())

    def _grow(self, done: int, asked: int, took: float) -> None:
        """Adjust the size of steps, so that progress is saved often and a pause or a cancellation takes effect soon."""
        if took > SAVE_INTERVAL_S or done < asked:
            self._step_size = max(1, min(self._step_size, done) // 2)
        else:
            self._step_size = min(MAX_LETTERS_PER_STEP, 2 * self._step_size)

    async def _carry_out(self, step: ReplayStep) -> None:
        """Send a step.

        A letter that is too large, or whose stream cannot be written while others can, fails alone. Raises Outage;
        Refused if no part of the step can be sent.
        """
        while step.acts:
            try:
                done = await self._context.source.broker.ledger.act(step.acts)
            except TooLarge as error:
                step.leave_out(error.index, str(error))
                continue
            except Refused:
                if len(step.streams) < 2:
                    raise
                await self._one_by_one(step)
                return
            for index, outcome in enumerate(done):
                _note_outcome(step.item(index), outcome, self.job.id)
            return

    async def _one_by_one(self, step: ReplayStep) -> None:
        refusals: list[tuple[ReplayStep, Refused]] = []
        for stream in step.streams:
            part = step.of_stream(stream)
            try:
                await self._carry_out(part)
            except Refused as refused:
                refusals.append((part, refused))
        if len(refusals) == len(step.streams):
            raise refusals[0][1]
        for part, why in refusals:
            while part.acts:
                part.leave_out(0, str(why))

    def _count(self, items: list[ReplayItem]) -> None:
        job = self.job
        for item in items:
            if item.sent:
                job.published += 1
                if item.warning is not None:
                    count = job.letter_warnings.get(item.warning, 0) + 1
                    job.letter_warnings = {**job.letter_warnings, item.warning: count}
                self._job_progress.charge(1)
            elif item.fail is not None:
                job.failed += 1
                if len(job.failures) < MAX_FAILURES:
                    job.failures = [*job.failures, SendFailure(id=item.ref.ids[-1], why=item.fail)]
            else:
                why = item.skip or CHANGED
                job.skipped += 1
                job.reasons = {**job.reasons, why: job.reasons.get(why, 0) + 1}

    async def _look(self) -> list[DeadLetter]:
        """Return the letters that failed again since the last look."""
        letters = await self._watch.look()
        self.job.returned = max(self.job.returned, self._watch.returned)
        if self._ramp_up is not None:
            self._ramp_up.take(letters)
        return letters


async def watch_after_end(
    context: RunnerContext, job_progress: JobProgress, look: Callable[[], Awaitable[Sequence[DeadLetter]]]
) -> None:
    """Count letters that fail again for some time after the end of the job. Raises JobStopped."""
    deadline = time.monotonic() + context.watch_after_end_s
    while job_progress.job.state == "done" and job_progress.job.published and time.monotonic() < deadline:
        await asyncio.sleep(SAVE_INTERVAL_S)
        try:
            if await look():
                await job_progress.save()
        except (Outage, Refused) as error:
            log.debug("replay.not_followed", replay=job_progress.job.id, reason=str(error))


def _note_outcome(item: ReplayItem, done: LedgerOutcome, replay: str) -> None:
    entry = current_entry(done.stands)
    if done.carried_out or was_sent_by(replay, entry):  # by us, or by another runner of the same job
        item.sent = True
        item.position = done.positions[0] if done.positions else None
        return
    item.skip = CHANGED if entry is None else SKIP_REASONS.get(entry.state, CHANGED)
