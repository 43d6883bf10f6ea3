"""Supervisor of jobs: starts their runners here, takes over jobs whose runner has died, and sweeps the ledger."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from collections.abc import Mapping
from typing import Protocol

import structlog
from msgspec import Struct
from msgspec.structs import replace

from sidecar.domain.errors import Refused, TracecarError
from sidecar.domain.position import Position
from sidecar.replay.job_store import MAX_LETTERS_PER_PART, JobStore, StoredJob
from sidecar.replay.models import ReplayJob

log = structlog.get_logger()

LOOK_INTERVAL_S = 2.0
RUNNER_LOST_AFTER_S = 6.0
"""Time without a heartbeat after which a running job counts as abandoned."""
MAX_WAITING_KEYS = 500_000
"""Positions of letters that wait in running and paused jobs, some hundred bytes each. Letters of further jobs are shown
as open."""
LOOKS_PER_SWEEP_COUNT = 150
"""Polls between two sweeps."""


def runner_name() -> str:
    """Return a unique id of this process among all that may run a job: host, process id, random part."""
    return f"{socket.gethostname()}{_namespace()}:{os.getpid()}:{secrets.token_hex(4)}"


def _namespace() -> str:
    """Process ids mean nothing outside the namespace that they are of: containers may share the name of their host."""
    try:
        return "/" + os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        return ""


def has_died(runner: str, me: str) -> bool:
    """Check whether a runner is known to be dead: a process of this host that no longer runs.

    Processes of other hosts are unknown. A wrong result lets another runner take the job over too early, which is
    harmless.
    """
    host, _, rest = runner.rpartition(":")[0].rpartition(":")
    ours, _, mine = me.rpartition(":")[0].rpartition(":")
    if host != ours or not (rest.isascii() and rest.isdigit() and len(rest) < 10):
        return False
    if rest == mine:
        return True
    try:
        os.kill(int(rest), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


class JobRunner(Protocol):
    """A runner of one job."""

    @property
    def job(self) -> ReplayJob: ...

    async def run(self) -> None: ...


class JobRunnerFactory(Protocol):
    """Builds the runner of a job that this sidecar runs now."""

    def __call__(self, held: StoredJob) -> JobRunner: ...


class _SeenJob(Struct):
    heartbeat: int
    since: float
    """Monotonic seconds: when this heartbeat was seen first."""


class JobSupervisor:
    """Supervises the jobs of one broker that belong to our group.

    `me`: id of this process among all that may run a job.
    """

    def __init__(self, jobs: JobStore, group: str, me: str, runner: JobRunnerFactory) -> None:
        self._jobs, self._group, self._me, self._runner = jobs, group, me, runner
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._runners: dict[str, JobRunner] = {}
        self._seen: dict[str, _SeenJob] = {}
        self._broken: dict[str, str] = {}
        self._waiting: dict[str, dict[int, int]] = {}
        """Indexes within the selection by the hash of a letter's position, for each job that has not ended."""
        self._known: Mapping[str, StoredJob] = {}
        self._orphans: set[str] = set()
        self._looks = 0
        self._task: asyncio.Task[None] | None = None
        self.trouble: str | None = None
        """Reason why the jobs could not be read."""
        self.looked = False
        """True once the jobs were read. A sidecar without the right to read them reports no trouble."""

    # --- life

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep_looking(), name="looking after replays")

    async def close(self) -> None:
        """Stop, so that other sidecars continue the jobs that run here."""
        running = list(self._runners)
        tasks = [*self._tasks.values(), *([self._task] if self._task is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for id in running:
            try:
                held = await self._jobs.get(id)
                if held is not None and held.job.state == "running" and held.job.runner == self._me:
                    await self._jobs.change(held, replace(held.job, runner=""))
            except TracecarError as error:
                log.debug("replay.not_handed_over", replay=id, reason=str(error))
        self._tasks.clear()
        self._runners.clear()

    def run(self, held: StoredJob) -> None:
        """Run a job here, unless it runs already. Its runner must be this process."""
        task = self._tasks.get(held.job.id)
        if task is not None and not task.done():
            return
        self._broken.pop(held.job.id, None)
        runner = self._runners[held.job.id] = self._runner(held)
        task = self._tasks[held.job.id] = asyncio.create_task(runner.run(), name=f"replay {held.job.id}")
        task.add_done_callback(lambda done: self._on_ended(held.job.id, done))

    def _on_ended(self, id: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(id) is task:
            del self._tasks[id]
            self._runners.pop(id, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("replay.broken", replay=id, exc_info=error)
            self._broken[id] = repr(error)

    def current(self, job: ReplayJob) -> ReplayJob:
        """Return the job in its local runner's state, if that is newer than the ledger."""
        runner = self._runners.get(job.id)
        if runner is None or runner.job.at < job.at:
            return job
        now = runner.job
        if now.state == job.state:
            return now
        # An operator changed the job, and its runner has not seen that yet: what it sent since counts all the same.
        return replace(
            job,
            at=now.at,
            published=now.published,
            skipped=now.skipped,
            failed=now.failed,
            returned=now.returned,
            reasons=now.reasons,
            letter_warnings=now.letter_warnings,
            failures=now.failures,
        )

    # --- which letters wait

    def waits(self, position: Position) -> bool:
        """Check whether the letter at this position is selected by a job that has not processed it yet."""
        if not self._waiting:
            return False
        key = hash(position)
        for id, indexes in self._waiting.items():
            index = indexes.get(key)
            if index is not None:
                held = self._known.get(id)
                return held is None or index >= self.current(held.job).at
        return False

    async def _learn(self, known: Mapping[str, StoredJob]) -> None:
        self._known = known
        active = {id: held for id, held in known.items() if held.job.state in ("running", "paused")}
        for id in list(self._waiting):
            if id not in active:
                del self._waiting[id]
        for id, held in active.items():
            if id not in self._waiting and held.job.request.range is None:
                room = MAX_WAITING_KEYS - sum(map(len, self._waiting.values()))
                self._waiting[id] = await self._indexes(held.job, room)

    async def _indexes(self, job: ReplayJob, room: int) -> dict[int, int]:
        """Empty where the selection is gone or makes no sense: its runner says so."""
        indexes: dict[int, int] = {}
        try:
            for at in range(job.at, job.selected, MAX_LETTERS_PER_PART):
                for index, ref in enumerate(
                    await self._jobs.refs(job, at, min(job.selected, at + MAX_LETTERS_PER_PART)), at
                ):
                    indexes.update((hash(Position.parse(position)), index) for position in ref.positions)
                if len(indexes) > room:
                    log.warning("replay.not_shown_as_replaying", replay=job.id, letters=job.selected)
                    return {}
                await asyncio.sleep(0)
        except (Refused, ValueError):
            return {}
        return indexes

    # --- looking

    async def _keep_looking(self) -> None:
        while True:
            try:
                await self.look()
                self.trouble, self.looked = None, True
            except TracecarError as error:
                if self.trouble is None:
                    log.debug("replays.not_looked_at", reason=str(error))
                self.trouble = str(error)
            except Exception as error:  # without it, no replay of a dead sidecar would ever go on
                log.exception("replays.not_looked_at")
                self.trouble = repr(error)
            await asyncio.sleep(LOOK_INTERVAL_S)

    async def look(self) -> None:
        """Read the jobs once, and take over abandoned ones. Raises Outage, Refused."""
        known = await self._jobs.all()
        now = time.monotonic()
        for held in known.values():
            if held.job.state == "running" and held.job.group == self._group:
                await self._look_at(held, now)
        self._seen = {id: seen for id, seen in self._seen.items() if id in known}
        await self._learn(known)
        self._looks += 1
        if self._looks % LOOKS_PER_SWEEP_COUNT == 1:
            self._orphans = await self._jobs.sweep(dict(known), self._orphans)

    async def _begin(self, held: StoredJob) -> None:
        """Run a job. Marks it as failed if it is invalid: anyone who can write to the ledger can write any job."""
        try:
            self.run(held)
        except ValueError as error:
            note = f"its stored state is invalid: {error}"
            await self._jobs.change(held, replace(held.job, state="failed", note=note))

    async def _look_at(self, held: StoredJob, now: float) -> None:
        job = held.job
        if job.runner == self._me:
            broken = self._broken.pop(job.id, None)
            if broken is None:
                await self._begin(held)
            else:
                await self._jobs.change(held, replace(job, state="failed", note=f"its runner failed: {broken}"))
            return
        seen = self._seen.get(job.id)
        if seen is None or seen.heartbeat != job.heartbeat:
            seen = self._seen[job.id] = _SeenJob(job.heartbeat, now)
        if job.runner and now - seen.since < RUNNER_LOST_AFTER_S and not has_died(job.runner, self._me):
            return
        mine = await self._jobs.change(held, replace(job, runner=self._me, heartbeat=job.heartbeat + 1))
        if mine is not None:
            log.info("replay.taken_over", replay=job.id, runner_before=job.runner)
            await self._begin(mine)
