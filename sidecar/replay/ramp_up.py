"""Ramp-up of a replay in growing batches: a few letters first, and more only while no sent letter fails again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import structlog

from sidecar.domain.model import DeadLetter
from sidecar.domain.position import Partition, Position
from sidecar.replay.job_progress import JobProgress
from sidecar.replay.job_store import MAX_LETTERS_PER_PART
from sidecar.replay.models import ReplayJob
from sidecar.replay.outcome_watcher import find_readers
from sidecar.replay.recurrence_detector import MAX_LETTERS_PER_BATCH, RecurrenceDetector
from sidecar.replay.runner_context import RunnerContext
from sidecar.replay.step_planner import ReplayItem

log = structlog.get_logger()

GROWTH = (1, 2, 5)
"""Sizes of batches: these numbers, then ten times, a hundred times as large, and so on."""
LOOK_INTERVAL_S = 0.3
MAX_WARNINGS = 20
"""Warnings that a job stores at most."""


class RampUp:
    """Batches of one job. `look` finds letters that failed again since the last call, and passes them to `take`."""

    def __init__(
        self, context: RunnerContext, job_progress: JobProgress, look: Callable[[], Awaitable[Sequence[DeadLetter]]]
    ) -> None:
        self._context, self._job_progress, self._look = context, job_progress, look
        self._ends: dict[Partition, Position] | None = None
        """The last positions of what was sent in this batch; None where that is not known, because another runner, or
        an act whose answer was lost, sent some of it."""
        self._recurrences: RecurrenceDetector | None = None
        """The letters that failed again; None before the first look."""

    @property
    def _job(self) -> ReplayJob:
        return self._job_progress.job

    def take(self, letters: Sequence[DeadLetter]) -> None:
        """Record letters that failed again."""
        if self._recurrences is not None:
            self._recurrences.take(letters)

    async def look_back(self) -> None:
        """Record the letters that failed again before this process ran the job, once.

        Only those of the current batch count: an operator has seen the others, and resumed the job.
        """
        if self._recurrences is not None:
            return
        job = self._job
        end = min(job.selected, job.judged + (job.batch or next_batch(0)))
        batch: set[str] = set()
        for at in range(job.judged, end, MAX_LETTERS_PER_PART):
            for ref in await self._context.jobs.refs(job, at, min(end, at + MAX_LETTERS_PER_PART)):
                batch.update(ref.ids)
        letters = await self._look()
        self._recurrences = RecurrenceDetector(self._context.source, self._context.jobs)
        self._recurrences.seed(letter for letter in letters if letter.replay_of not in batch)
        self._recurrences.take([letter for letter in letters if letter.replay_of in batch])

    @property
    def ended(self) -> bool:
        """True if the current batch is sent and not evaluated yet."""
        job = self._job
        return job.at > job.judged and job.at >= min(job.selected, job.judged + job.batch)

    def room(self) -> int:
        """Return the number of letters that the current batch can still take.

        Starts a new batch after the last evaluated one.
        """
        job = self._job
        if job.at == job.judged:
            job.batch, self._ends = job.batch or next_batch(0), {}
        return job.judged + job.batch - job.at

    def note_sent(self, items: Sequence[ReplayItem]) -> None:
        """Remember the positions of the batch."""
        if self._ends is None:
            return
        for item in items:
            if item.position is not None:
                last = self._ends.get(item.position.log)
                if last is None or last.offset < item.position.offset:
                    self._ends[item.position.log] = item.position
            elif item.sent:
                self._ends = None
                return

    async def evaluate_batch(self) -> None:
        """Wait until all readers have consumed the batch.

        Pauses the job if a cause recurs, or if a reader makes no progress.
        """
        context, recurrences = self._context, self._recurrences
        assert recurrences is not None
        since, before = time.monotonic(), None
        while True:
            group_readers = (
                None if self._ends is None else await find_readers(context.source, list(self._ends.values()))
            )
            await self._look()
            behind = group_readers.behind if group_readers is not None else {}
            if behind != before:
                since, before = time.monotonic(), behind
            patience = context.evaluation_timeout_s if group_readers is None or behind else context.unseen_timeout_s
            waited = time.monotonic() - since > patience
            recurred = await recurrences.list_recurring(self._job)
            if recurred:
                self._pause(self._describe_recurrence(recurred))
            elif behind and waited:
                self._pause(
                    f"the last batch of {self._job.batch} was not consumed by {', '.join(sorted(behind)[:3])}, without "
                    f"any progress for {patience:.0f} seconds: its outcome is unknown"
                )
            if recurred or waited or (group_readers is not None and group_readers.known and not behind):
                if self._job.state == "running":
                    self._job.note = None
                self._warn(recurrences.reset())
                self._job.judged = self._job.at
                if self._job.at < self._job.selected:
                    self._job.batch = next_batch(self._job.batch)
                await self._job_progress.save()
                return
            self._job.note = f"waiting for {', '.join(sorted(behind)[:3]) or 'its readers'} to consume this batch"
            if self._job_progress.due:
                await self._job_progress.save()
            await asyncio.sleep(LOOK_INTERVAL_S)

    def _warn(self, others: Sequence[DeadLetter]) -> None:
        """Add warnings about letters that failed again without stopping the replay."""
        for other in others:
            if len(self._job.warnings) < MAX_WARNINGS:
                warning = f"{other.replay_of} failed again, in another way than before: {self._why(other)}"
                self._job.warnings = [*self._job.warnings, warning]

    def _describe_recurrence(self, recurred: Sequence[DeadLetter]) -> str:
        causes = ", ".join(sorted({self._why(letter) for letter in recurred})[:3])
        more = " or more" if len(recurred) == MAX_LETTERS_PER_BATCH else ""
        return f"{len(recurred)}{more} of the last batch of {self._job.batch} failed again: {causes}"

    def _why(self, letter: DeadLetter) -> str:
        return f"{letter.code} ({self._context.redact_message(letter)[:200]})"

    def _pause(self, why: str) -> None:
        job = self._job
        job.state, job.note = "paused", f"{why}. Resume to continue regardless, or cancel"
        log.warning("replay.paused", replay=job.id, reason=job.note)


def next_batch(size: int) -> int:
    """Return the next size in the sequence 1, 2, 5, 10, 20, 50, 100 and so on."""
    scale = 1
    while True:
        for factor in GROWTH:
            if factor * scale > size:
                return factor * scale
        scale *= 10
