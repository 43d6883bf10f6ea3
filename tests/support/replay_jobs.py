"""Helpers for tests of replay jobs: the job in the ledger, the supervisor, and failures of the ledger."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pytest

from sidecar.domain.errors import Outage
from sidecar.replay.job_store import JobStore
from sidecar.replay.models import ReplayJob
from tests.support.replay import Shop, Sidecar


def supervisor(sidecar: Sidecar) -> Any:
    """Return the supervisor of the sidecar's only broker."""
    return sidecar._broker_replays[0].supervisor


def kill_runners(sidecar: Sidecar) -> None:
    """End all runners like a crash: no job is handed over."""
    for task in list(supervisor(sidecar)._tasks.values()):
        task.cancel()


def ledger_job(one: Shop, id: str) -> ReplayJob:
    """Return a job as the ledger has it."""
    return msgspec.json.decode(one.log.ledger[None, f"job:{id}"], type=ReplayJob)


def cut_when(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    """Let the first three writes of a job in this state fail with an outage."""
    change, cut = JobStore.change, [3]

    async def failing(self: JobStore, held: Any, job: ReplayJob) -> Any:
        if job.state == state and cut[0]:
            cut[0] -= 1
            raise Outage("cut", 0.01)
        return await change(self, held, job)

    monkeypatch.setattr(JobStore, "change", failing)


def replace_context(sidecar: Sidecar, **changes: Any) -> Any:
    """Return the runners' context with these attributes changed."""
    return dataclasses.replace(sidecar._broker_replays[0].context, **changes)
