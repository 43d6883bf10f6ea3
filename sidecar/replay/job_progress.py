"""Progress of a job while its runner works: saved about once a second, with the decisions of operators applied."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

import structlog
from msgspec.structs import replace

from sidecar.domain.errors import Outage, Refused
from sidecar.replay.job_store import JobStore, StoredJob
from sidecar.replay.models import ReplayJob

log = structlog.get_logger()

SAVE_INTERVAL_S = 1.0
MAX_CREDIT_S = 1.0
"""Longest unused sending time that may be made up for, so that an outage is not followed by a burst above the rate."""


class JobStopped(Exception):  # nothing went wrong
    """The job no longer belongs to this runner: it was paused or canceled, or another sidecar took it over."""


class JobProgress:
    """Progress of one job while this process runs it.

    `me` is the runner's id; `clock` returns microseconds since 1970, for display.
    """

    def __init__(self, jobs: JobStore, held: StoredJob, me: str, clock: Callable[[], int]) -> None:
        self._jobs, self._held, self._me, self._clock = jobs, held, me, clock
        self.job: ReplayJob = replace(held.job)
        self._saved = self._next_slot = time.monotonic()
        self._ended = False
        """True once the ledger says that the job no longer runs."""
        self.left: Callable[[], str] = lambda: (
            "Letters that were not sent stay open: fix the problem, then resume the replay"
        )
        """Function that describes the state of a failed job, and how to continue it."""

    async def until_ended(self, step: Callable[[], Awaitable[None]]) -> None:
        """Run steps until the job ends, and wait during outages. Raises JobStopped."""
        pause = 0.2
        while not self._ended:
            try:
                if self.job.state == "running":
                    await step()
                else:  # what was decided could not be written down yet
                    await self.save()
                pause = 0.2
            except Outage as outage:
                log.warning("replay.waiting", replay=self.job.id, reason=str(outage))
                if self.job.state == "running":
                    self.job.note = f"waiting: {outage}"
                    if self.due:  # it may be something else than the ledger, and who waits is not dead
                        with contextlib.suppress(Outage, Refused):
                            await self.save()
                await asyncio.sleep(outage.retry_after or pause)
                pause = min(5.0, pause * 2)
            except Refused as refused:
                if self.job.state != "running":  # it is the ledger itself that refuses
                    log.warning("replay.waiting", replay=self.job.id, reason=str(refused))
                    await asyncio.sleep(pause)
                    pause = min(5.0, pause * 2)
                else:
                    self._fail(str(refused))

    async def done(self) -> None:
        job = self.job
        job.state, job.ended_at, job.note = "done", self._clock(), None
        await self.save()
        log.info("replay.done", replay=job.id, published=job.published, failed=job.failed, skipped=job.skipped)

    def _fail(self, why: str) -> None:
        why = why.rstrip(".")
        log.error("replay.failed", replay=self.job.id, reason=why)
        self.job.state, self.job.note = "failed", f"{why}. {self.left()}"

    # --- pace

    def charge(self, count: int) -> None:
        rate = self.job.request.rate
        if rate is not None:
            self._next_slot = max(self._next_slot, time.monotonic() - MAX_CREDIT_S) + count / rate

    async def throttle(self, size: int) -> int:
        """Wait until letters may be sent at the job's rate.

        Returns the number that may be sent now, at most the requested one.
        """
        rate = self.job.request.rate
        if rate is None:
            return size
        size = min(size, max(1, int(rate / 2)))
        due = max(self._next_slot, time.monotonic() - MAX_CREDIT_S) + size / rate
        while (wait := due - time.monotonic()) > 0:
            await asyncio.sleep(min(wait, SAVE_INTERVAL_S))
            if wait > SAVE_INTERVAL_S:
                await self.save()
        return size

    # --- in the ledger

    @property
    def due(self) -> bool:
        """True if it is time to save."""
        return time.monotonic() - self._saved >= SAVE_INTERVAL_S

    async def look(self) -> None:
        """Apply the decisions of operators. Raises JobStopped if the job no longer belongs to this runner."""
        now = await self._jobs.get(self.job.id)
        if now is None:
            raise Refused(
                "the replay is missing in the ledger: its entry or the whole ledger was deleted; start another one"
            )
        if now.stands != self._held.stands:
            await self._merge(now)

    async def save(self) -> None:
        """Save the progress. Raises JobStopped if another actor changed the job's state meanwhile."""
        while True:
            self.job.heartbeat += 1
            held = await self._jobs.change(self._held, self.job)
            if held is None:
                now = await self._jobs.get(self.job.id)
                if now is not None:
                    await self._merge(now)
                    continue
                # Deleted: we are the only ones who know what became of it.
                held = await self._jobs.put_back(self.job)
                if held is None:
                    continue
            self._held, self._saved = held, time.monotonic()
            self._ended = self.job.state != "running"
            return

    async def _merge(self, now: StoredJob) -> None:
        """Merge a change that another actor made to the job.

        Raises JobStopped if the job is no longer ours to run. Progress made until then is saved after the decision, so
        that the next runner does not count it twice.
        """
        while True:
            theirs = now.job
            if theirs.runner != self._me:
                self.job = theirs
                raise JobStopped
            self._held = now
            self.job.decisions = theirs.decisions
            self.job.heartbeat = max(self.job.heartbeat, theirs.heartbeat) + 1
            if theirs.state == "running" or self.job.state == "done":
                return
            self.job.state, self.job.note, self.job.ended_at = theirs.state, theirs.note, theirs.ended_at
            self.job.changed_at, self.job.changed_by = theirs.changed_at, theirs.changed_by
            if await self._jobs.change(now, self.job) is not None:
                raise JobStopped
            stored = await self._jobs.get(self.job.id)
            if stored is None:
                raise JobStopped
            now = stored
