"""Answers about aggregates and of SQL, for a client without a sidecar. States are built by the product's own merge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sidecar.api import models
from sidecar.api.client.client import BadRequest, NotFound
from sidecar.api.services.aggregates.reducers import build_local_reducers
from sidecar.domain.aggregate_fold import AggregateFold, ReducerEvent
from sidecar.domain.json_diff import flatten_origins
from tests.support.dashboard_times import coverage


def answer_state(
    id: str, events: Sequence[models.EventModel], bodies: Mapping[str, Any], at: str, coverage: models.CoverageModel
) -> models.AggregateModel:
    """Return the state after the event at a position, or after all of them, with steps."""
    positions = [event.position for event in events]
    until = events[: positions.index(at) + 1] if at in positions else events
    fold = AggregateFold(build_local_reducers([])["merge"].reduce)
    steps, notes = [], []
    for event in until:
        body = bodies.get(event.position, {})
        if event.status in ("rejected", "duplicate"):
            message = f"{event.status}, so it does not change the state"
            notes.append(models.AggregateNoteModel(kind=event.status, position=event.position, message=message))
        elif isinstance(body, dict):
            step = fold.apply(ReducerEvent(event.position, {"body": body, "headers": []}))
            changes = [
                models.ChangeModel(path=change.path, before=change.before, after=change.after, what=change.what)
                for change in step.changes
            ]
            steps.append(models.AggregateStepModel(position=event.position, changes=changes))
        else:
            message = "not applied: its body is no object"
            notes.append(models.AggregateNoteModel(kind="unread", position=event.position, message=message))
    return models.AggregateModel(
        aggregate_id=id,
        aggregate_type=None,
        events=list(until),
        coverage=coverage,
        at=at,
        applied=len(steps),
        state=fold.state.value,
        origins=dict(flatten_origins(fold.state.origins)),
        reducer="merge",
        order="appended",
        notes=notes,
        steps=steps,
    )


SQL_ANSWER = models.SqlAnswerModel(
    columns=[models.SqlColumnModel(name="type", type="VARCHAR"), models.SqlColumnModel(name="events", type="BIGINT")],
    rows=[["OrderPlaced", 12], [None, 3]],
    truncated=False,
    elapsed_ms=12.0,
    files=3,
)


class AggregateAnswers:
    """The part of a client that answers about aggregates, and SQL."""

    the_events: list[models.EventModel]
    bodies: dict[str, Any]
    sql_answer: models.SqlAnswerModel

    def _note(self, *what: Any) -> None:
        raise NotImplementedError

    async def aggregate(
        self,
        id: str,
        *,
        limit: int = 0,
        at: str | None = None,
        diff: str | None = None,
        reducer: str | None = None,
        steps: bool = False,
    ) -> models.AggregateModel:
        self._note("aggregate", id, at)
        events = [one for one in self.the_events if one.aggregate_id == id]
        if not events:
            raise NotFound(f"no aggregate has the id {id}")
        if at == "noon":
            raise BadRequest("'noon' is not a moment", at, 0)
        if at is None:
            listed = events[-limit or None :]
            return models.AggregateModel(aggregate_id=id, aggregate_type=None, events=listed, coverage=coverage())
        answer = answer_state(id, events, self.bodies, at, coverage())
        answer.events = answer.events[-limit or None :]
        return answer

    async def sql(self, request: models.SqlRequestModel) -> models.SqlAnswerModel:
        self._note("sql", request.statement)
        return self.sql_answer
