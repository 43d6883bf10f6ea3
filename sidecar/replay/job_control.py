"""Replays of all brokers: their list, and the decisions of operators about them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Literal, Protocol

import structlog
from msgspec.structs import replace

from sidecar.dead_letters import reader
from sidecar.dead_letters.ledger_entries import Actor
from sidecar.domain.errors import NotFoundError, Outage, Refused, TracecarError
from sidecar.domain.model import DeadLetter
from sidecar.domain.position import Position
from sidecar.pipeline.consumer_groups.tracker import ConsumerGroupTracker
from sidecar.replay.job_store import JobStore, StoredJob
from sidecar.replay.models import BodyEdit, JobState, OperatorDecision, ReplayJob
from sidecar.replay.range_runner import Fits, RangeRunner
from sidecar.replay.record_builder import InSight
from sidecar.replay.runner import LetterRunner
from sidecar.replay.runner_context import RunnerContext
from sidecar.replay.step_planner import BodyEditor
from sidecar.replay.supervisor import JobRunner, JobSupervisor, runner_name

log = structlog.get_logger()

MAX_TRIES = 5
"""Attempts to change a job while its runner saves its progress."""
ALLOWED_TRANSITIONS: dict[str, tuple[JobState, ...]] = {
    "paused": ("running",),
    "running": ("paused", "failed"),
    "cancelled": ("running", "paused", "failed"),
}
"""States from which an operator may bring a job to this state."""
ACTION_NAMES: dict[str, Literal["paused", "resumed", "cancelled"]] = {
    "paused": "paused",
    "running": "resumed",
    "cancelled": "cancelled",
}
MAX_EMPTY_JOBS = 100
"""Replays without anything to send that are remembered."""
MAX_DECISIONS = 20
"""Decisions that a job stores."""


class ReplaySource(reader.LetterSource, Protocol):
    """A broker, its stream names, and the sidecars' group on it."""

    @property
    def group(self) -> str: ...


class BrokerReplay:
    """Replays of one broker: its jobs, and the supervisor that runs them."""

    def __init__(self, source: ReplaySource, context: RunnerContext, fits: Fits) -> None:
        self.source, self.context, self._fits = source, context, fits
        self.jobs = context.jobs
        self.supervisor = JobSupervisor(context.jobs, source.group, context.runner_id, self._runner)

    def _runner(self, held: StoredJob) -> JobRunner:
        return (
            LetterRunner(self.context, held)
            if held.job.request.range is None
            else RangeRunner(self.context, held, self._fits)
        )


def build_broker_replays(
    sources: Sequence[ReplaySource],
    tracker: ConsumerGroupTracker,
    editor: BodyEditor,
    in_sight: InSight,
    fits: Fits,
    *,
    clock: Callable[[], int] = lambda: time.time_ns() // 1_000,
    hide_edit: Callable[[BodyEdit], BodyEdit] = lambda edit: edit,
    redact_message: Callable[[DeadLetter], str] = lambda letter: letter.message,
) -> list[BrokerReplay]:
    """Build the replays of some brokers, to be run by this process.

    `hide_edit` masks the values of an edit that may not be stored. See `RunnerContext` for the other arguments.
    """
    me = runner_name()
    return [
        BrokerReplay(
            source,
            RunnerContext(
                source,
                JobStore(source.broker.ledger, hide_edit),
                tracker,
                editor,
                in_sight,
                me,
                clock,
                redact_message,
            ),
            fits,
        )
        for source in sources
    ]


def waits_in_replay(broker_replays: Sequence[BrokerReplay], position: Position) -> bool:
    """Check whether the letter at a position is selected by a job that has not processed it yet."""
    return any(broker_replay.supervisor.waits(position) for broker_replay in broker_replays)


class JobController:
    """Finds jobs, and changes their state."""

    def __init__(self, broker_replays: Sequence[BrokerReplay]) -> None:
        self._broker_replays = broker_replays
        self._empty: dict[str, ReplayJob] = {}
        """The latest replays that had nothing to send, so that a caller can still ask for their state."""

    def keep_empty(self, job: ReplayJob) -> None:
        """Remember a replay that has nothing to send."""
        self._empty[job.id] = job
        if len(self._empty) > MAX_EMPTY_JOBS:
            del self._empty[next(iter(self._empty))]

    async def jobs(self, limit: int = 100) -> list[ReplayJob]:
        """List the newest jobs. Those of an unreachable broker are left out while another can be reached."""
        jobs: list[ReplayJob] = []
        outages: list[Outage] = []
        for broker_replay in self._broker_replays:
            try:
                jobs += [
                    broker_replay.supervisor.current(held.job) for held in (await broker_replay.jobs.all()).values()
                ]
            except Outage as error:
                log.warning("replays.not_listed", system=broker_replay.source.broker.system, reason=str(error))
                outages.append(error)
        if len(outages) == len(self._broker_replays) > 0:
            raise outages[0]
        jobs.sort(key=lambda job: (job.started_at, job.id), reverse=True)
        return jobs[: limit or None]

    async def job(self, id: str) -> ReplayJob:
        if id in self._empty:
            return self._empty[id]
        broker_replay, held = await self._job(id)
        return broker_replay.supervisor.current(held.job)

    async def _job(self, id: str) -> tuple[BrokerReplay, StoredJob]:
        outage: Outage | None = None
        for broker_replay in self._broker_replays:
            try:
                held = await broker_replay.jobs.get(id)
            except Outage as error:
                outage = outage or error
                continue
            if held is not None:
                return broker_replay, held
        if outage is not None:
            raise outage
        raise NotFoundError(f"there is no replay {id!r} in the ledger (tracecar replays lists them)")

    async def change(self, id: str, state: JobState, who: Actor) -> ReplayJob:
        """Pause, resume or cancel a job. Raises NotFoundError, Outage, and Refused if its state does not allow it."""
        if id in self._empty:
            raise Refused(f"replay {id} is done: there was nothing to send")
        for _ in range(MAX_TRIES):
            broker_replay, held = await self._job(id)
            before = held.job
            if before.state == state:
                return before
            if before.state not in ALLOWED_TRANSITIONS[state]:
                raise Refused(f"replay {id} is {before.state}: it cannot be {state} any more")
            now = broker_replay.context.clock()
            after = replace(before, state=state, changed_at=now, changed_by=who.name, heartbeat=before.heartbeat + 1)
            decision = OperatorDecision(act=ACTION_NAMES[state], at=now, by=who.name, address=who.address)
            after.decisions = [*before.decisions, decision][-MAX_DECISIONS:]
            ours = before.group == broker_replay.source.group
            if state == "running":
                after.runner, after.note, after.ended_at = broker_replay.context.runner_id if ours else "", None, None
                if not ours:
                    after.note = f"waiting for a sidecar of the group {before.group}, which owns these letters"
            elif state == "cancelled":
                after.ended_at, after.note = now, f"cancelled by {who.name}: letters that were not sent stay open"
            else:
                after.note = f"paused by {who.name}"
            changed = await broker_replay.jobs.change(held, after)
            if changed is None:
                continue
            log.info(f"replay.{state}", replay=id, by=who.name, address=who.address)
            if state == "running" and ours:
                broker_replay.supervisor.run(changed)
            elif state == "cancelled":
                with suppress(TracecarError):  # it looks again by itself
                    await broker_replay.supervisor.look()  # its letters are shown as open from now on
            return broker_replay.supervisor.current(changed.job)
        raise Outage(f"replay {id}: its runner keeps saving its progress: try again")
