"""Answers of a dashboard's sidecar about sagas and lint."""

from __future__ import annotations

import functools
from typing import Any

import msgspec

from sidecar.api import models
from sidecar.api.client.client import NotFound
from tests.support.dashboard_times import TRACE, at, coverage


def saga(number: int, state: models.SagaStateName) -> models.SagaModel:
    """A saga of three steps that waits for the second one, unless it has ended."""
    is_stuck, is_whole = state == "stuck", state == "completed"
    step = functools.partial(models.SagaStepModel, optional=False, expected_from=None)
    steps = [
        step(name="OrderPlaced", event="kafka://orders/0/1", at=at(0), count=1),
        step(
            name="dispatch", event="kafka://shipping/0/3" if is_whole else None, at=at(40) if is_whole else None,
            count=int(is_whole), expected_from="shipping",
        ),
        step(name="gift", event=None, at=None, count=0, optional=True),
    ]  # fmt: skip
    obstacle = models.SagaObstacleModel(
        step="dispatch", expected_from="shipping", before="kafka://orders/0/1", consumed=True, rejected=[],
        dead_letters=[], message="dispatch is missing; shipping should have produced it",
    )  # fmt: skip
    return models.SagaModel(
        id=f"order@kafka://orders/0/{number}", name="order", state=state, started_at=at(0),
        ended_at=at(50) if is_whole else None, deadline_at=at(900), overdue_since=at(900) if is_stuck else None,
        trace_id=TRACE, aggregate_id=f"order-{number}", steps=steps, missing=[] if is_whole else ["dispatch"],
        obstacle=obstacle if is_stuck else None,
    )  # fmt: skip


class InsightAnswers:
    """The part of the shop's client that answers about sagas and lint."""

    the_sagas: list[models.SagaModel] | None = None
    """None: none are declared."""
    the_findings: list[models.LintFindingModel] = []

    def _note(self, *what: Any) -> None:
        raise NotImplementedError

    async def sagas(self, query: str = "", *, limit: int = 100, cursor: str | None = None) -> models.SagaPage:
        self._note("sagas", query)
        if self.the_sagas is None:
            raise NotFound("no sagas are declared")
        items = [saga for saga in self.the_sagas if "state:stuck" not in query or saga.state == "stuck"]
        states = {
            name: sum(saga.state == name for saga in self.the_sagas)
            for name in ("running", "completed", "compensated", "failed", "stuck")
        }
        return models.SagaPage(items=items, states=states, evicted=0, coverage=coverage())

    async def saga(self, id: str) -> models.SagaModel:
        self._note("saga", id)
        found = next((saga for saga in self.the_sagas or () if saga.id == id), None)
        if found is None:
            raise NotFound(f"no saga has the id {id}")
        if found.obstacle is None:
            return found
        obstacle = msgspec.structs.replace(found.obstacle, dead_letters=["tracecar.shop@kafka://shipping/0/3"])
        return msgspec.structs.replace(found, obstacle=obstacle)

    async def lint(self, query: str = "") -> models.LintPage:
        self._note("lint", query)
        rule = models.LintRuleModel(
            name="missing-id", severity="warning", summary="Events have no id.",
            reason="No consumer can recognize them.",
            remedy="Set the header `event-id`.",
        )  # fmt: skip
        return models.LintPage(
            items=self.the_findings, events=1_234, flows=5, payloads=6, rules=[rule], coverage=coverage()
        )
