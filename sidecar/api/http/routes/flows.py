"""Flows: events of one trace, with their causes."""

from __future__ import annotations

from collections.abc import Sequence

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from sidecar.api import models
from sidecar.api.http.middleware import id_of
from sidecar.api.http.routes.parameters import Cursor, Limit
from sidecar.api.services.flows import FlowService


def routes(flows: FlowService) -> Sequence[HTTPRouteHandler]:
    """Build the routes of `/v1/flows`."""

    @get("/v1/flows", summary="List flows", description="Flows without their events, newest first.")
    async def list_flows(limit: Limit = 100, cursor: Cursor = None) -> models.FlowPageModel:
        return await flows.flows(limit, cursor)

    @get(
        "/v1/flows/{id:str}",
        summary="Get a flow",
        description="The flow of a trace, event, aggregate or correlation id, or of a position; the latest of several.",
    )
    async def get_flow(id: FromPath[str]) -> models.FlowModel:
        return await flows.flow(id_of(id))

    return list_flows, get_flow
