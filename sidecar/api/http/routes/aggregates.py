"""Aggregates: all events of one entity, and its state at a moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, QueryParameter

from sidecar.api import models
from sidecar.api.http.middleware import id_of
from sidecar.api.http.routes.parameters import Limit
from sidecar.api.services.aggregates.time_travel import AggregateTimeTravel
from sidecar.api.services.flows import FlowService

MAX_MOMENT_CHARS = 2_000
_FORMS = "a time, a duration before now such as `10m` or `10 minutes ago`, `now`, or a position"
At = Annotated[
    str | None,
    QueryParameter(max_length=MAX_MOMENT_CHARS, description=f"Also return the state at this moment: {_FORMS}."),
]
Diff = Annotated[
    str | None,
    QueryParameter(
        max_length=MAX_MOMENT_CHARS,
        description="Also return the differences between `at` (default: now) and this moment, from the earlier to the "
        "later one.",
    ),
]
ReducerName = Annotated[
    str | None,
    QueryParameter(
        max_length=200,
        description="`auto`, `merge`, `merge-patch`, `after-image`, or a reducer of the configuration. Default: as "
        "configured.",
    ),
]
Steps = Annotated[bool, QueryParameter(description="Also return what each listed event changed.")]


def routes(flows: FlowService, time_travel: AggregateTimeTravel) -> Sequence[HTTPRouteHandler]:
    """Build the routes of `/v1/aggregates`."""

    @get(
        "/v1/aggregates/{id:str}",
        summary="Get an aggregate",
        description="The events of an aggregate, by the time at which they occurred. With `at` or `diff`: its state "
        "at a moment, rebuilt from its events, and the differences from another moment.",
    )
    async def get_aggregate(
        id: FromPath[str],
        limit: Limit = 0,
        at: At = None,
        diff: Diff = None,
        reducer: ReducerName = None,
        steps: Steps = False,
    ) -> models.AggregateModel:
        if at or diff or reducer or steps:
            return await time_travel.state(id_of(id), at, diff, reducer=reducer, steps=steps, limit=limit)
        return await flows.aggregate(id_of(id), limit)

    return (get_aggregate,)
