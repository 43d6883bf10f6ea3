"""Batches that grow: a few letters first, and more only while nothing that was sent comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import structlog

from sidecar.domain.model import DeadLetter
from sidecar.domain.position import Partition, Position
from sidecar.replay.job_progress import JobProgress
from sidecar.replay.job_store import PART
from sidecar.replay.models import ReplayJob
from sidecar.replay.outcome_watcher import readers
from sidecar.replay.recurrence_detector import MOST_LETTERS, RecurrenceDetector
from sidecar.replay.runner_context import RunnerContext
from sidecar.replay.step_planner import ReplayItem

log = structlog.get_logger()

GROWTH = (1, 2, 5)
"""Batches grow by these, times ten, times a hundred, and so on."""
LOOK_SECONDS = 0.3
MOST_WARNINGS = 20
"""Warnings of a job, beyond which nothing is added to them."""


class RampUp:
    """The batches of one job. `look` finds what failed again since the last look, and gives it to `take`."""

    def __init__(
        self, kit: RunnerContext, keeping: JobProgress, look: Callable[[], Awaitable[Sequence[DeadLetter]]]
    ) -> None:
        self._kit, self._keeping, self._look = kit, keeping, look
        self._ends: dict[Partition, Position] | None = None
        """The last positions of what was sent in this batch; None where that is not known, because another runner, or
        an act whose answer was lost, sent some of it."""
        self._recurring: RecurrenceDetector | None = None
        """What failed again; None before the first look."""

    @property
    def _job(self) -> ReplayJob:
        return self._keeping.job

    def take(self, letters: Sequence[DeadLetter]) -> None:
        """They failed again."""
        if self._recurring is not None:
            self._recurring.take(letters)

    async def look_back(self) -> None:
        """What came back before we began to run the job counts where it is of the current batch: somebody saw the rest,
        and resumed all the same. Looked for once."""
        if self._recurring is not None:
            return
        job = self._job
        end = min(job.selected, job.judged + (job.batch or next_batch(0)))
        batch: set[str] = set()
        for at in range(job.judged, end, PART):
            for ref in await self._kit.jobs.refs(job, at, min(end, at + PART)):
                batch.update(ref.ids)
        found = await self._look()
        self._recurring = RecurrenceDetector(self._kit.source, self._kit.jobs)
        self._recurring.knows(one for one in found if one.replay_of not in batch)
        self._recurring.take([one for one in found if one.replay_of in batch])

    @property
    def ended(self) -> bool:
        """The current batch is sent, and nothing was decided about it."""
        job = self._job
        return job.at > job.judged and job.at >= min(job.selected, job.judged + job.batch)

    def room(self) -> int:
        """How many letters more the current batch has; a new one is begun where the last was judged."""
        job = self._job
        if job.at == job.judged:
            job.batch, self._ends = job.batch or next_batch(0), {}
        return job.judged + job.batch - job.at

    def sent(self, items: Sequence[ReplayItem]) -> None:
        """Remember where the batch lies."""
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

    async def verdict(self) -> None:
        """Wait until everybody has passed this batch; pause where a cause came back with it, or nobody gets on."""
        kit, recurring = self._kit, self._recurring
        assert recurring is not None
        since, before = time.monotonic(), None
        while True:
            found = None if self._ends is None else await readers(kit.source, list(self._ends.values()))
            await self._look()
            behind = found.behind if found is not None else {}
            if behind != before:
                since, before = time.monotonic(), behind
            patience = kit.verdict_seconds if found is None or behind else kit.unseen_seconds
            waited = time.monotonic() - since > patience
            came_back = await recurring.found(self._job)
            if came_back:
                self._pause(self._told(came_back))
            elif behind and waited:
                self._pause(
                    f"the last batch of {self._job.batch} was not passed by {', '.join(sorted(behind)[:3])}, and for "
                    f"{patience:.0f} seconds nothing moved: whether it fails again is not known"
                )
            if came_back or waited or (found is not None and found.known and not behind):
                if self._job.state == "running":
                    self._job.note = None
                self._warn(recurring.reset())
                self._job.judged = self._job.at
                if self._job.at < self._job.selected:
                    self._job.batch = next_batch(self._job.batch)
                await self._keeping.save()
                return
            self._job.note = f"waiting for {', '.join(sorted(behind)[:3]) or 'whoever reads it'} to pass this batch"
            if self._keeping.due:
                await self._keeping.save()
            await asyncio.sleep(LOOK_SECONDS)

    def _warn(self, others: Sequence[DeadLetter]) -> None:
        """Of what failed again, and did not stop the replay."""
        for other in others:
            if len(self._job.warnings) < MOST_WARNINGS:
                said = f"{other.replay_of} failed again, otherwise than before: {self._why(other)}"
                self._job.warnings = [*self._job.warnings, said]

    def _told(self, came_back: Sequence[DeadLetter]) -> str:
        causes = ", ".join(sorted({self._why(one) for one in came_back})[:3])
        more = " or more" if len(came_back) == MOST_LETTERS else ""
        return f"{len(came_back)}{more} of the last batch of {self._job.batch} failed again: {causes}"

    def _why(self, letter: DeadLetter) -> str:
        return f"{letter.code} ({self._kit.shown(letter)[:200]})"

    def _pause(self, why: str) -> None:
        job = self._job
        job.state, job.note = "paused", f"{why}. Resume to go on all the same, or cancel"
        log.warning("replay.paused", replay=job.id, reason=job.note)


def next_batch(size: int) -> int:
    """1, 2, 5, 10, 20, 50, 100 and so on."""
    scale = 1
    while True:
        for one in GROWTH:
            if one * scale > size:
                return one * scale
        scale *= 10
