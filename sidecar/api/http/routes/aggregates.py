"""Aggregates: all events of one entity."""

from __future__ import annotations

from collections.abc import Sequence

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from sidecar.api import models
from sidecar.api.http.middleware import id_of
from sidecar.api.http.routes.parameters import Limit
from sidecar.api.services.flows import FlowService


def routes(flows: FlowService) -> Sequence[HTTPRouteHandler]:
    """Build the routes of `/v1/aggregates`."""

    @get(
        "/v1/aggregates/{id:str}",
        summary="Get an aggregate",
        description="The held events of an aggregate, by the time at which they occurred.",
    )
    async def get_aggregate(id: FromPath[str], limit: Limit = 0) -> models.AggregateModel:
        return await flows.aggregate(id_of(id), limit)

    return (get_aggregate,)
