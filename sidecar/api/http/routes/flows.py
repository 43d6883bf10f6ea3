"""Flows: events of one trace with their causes, as JSON and as documents."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Literal

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, QueryParameter

from sidecar.api import models
from sidecar.api.documents.formats import FORMATS, negotiate_format
from sidecar.api.documents.page import POLICY
from sidecar.api.documents.sequence import DEFAULT_WIDTH, MAX_WIDTH, MIN_WIDTH, write_sequence
from sidecar.api.http.middleware import id_of
from sidecar.api.http.routes.parameters import AnyRequest, Cursor, Limit
from sidecar.api.services.flows import FlowService

FormatName = Literal["json", "html", "markdown", "mermaid", "otlp", "sequence"]
Format = Annotated[
    FormatName | None,
    QueryParameter(
        description="Format of the answer. Absent: the one that the `Accept` header names, by default JSON. `html` is "
        "a page to read and print, `otlp` a trace as OTLP JSON, `sequence` a diagram of plain text."
    ),
]
Width = Annotated[
    int,
    QueryParameter(ge=MIN_WIDTH, le=MAX_WIDTH, description="Only for `sequence`: width of the diagram in characters."),
]


def routes(flows: FlowService) -> Sequence[HTTPRouteHandler]:
    """Build the routes of `/v1/flows`."""

    @get("/v1/flows", summary="List flows", description="Flows without their events, newest first.")
    async def list_flows(limit: Limit = 100, cursor: Cursor = None) -> models.FlowPageModel:
        return await flows.flows(limit, cursor)

    @get(
        "/v1/flows/{id:str}",
        summary="Get a flow",
        description="The flow of a trace, event, aggregate or correlation id, of a position, or of a dead letter; "
        "the latest of several. As JSON, as a page for people, or as a document for other tools.",
    )
    async def get_flow(
        id: FromPath[str], request: AnyRequest, format: Format = None, width: Width = DEFAULT_WIDTH
    ) -> Response[models.FlowModel] | Response[bytes]:
        name = format or negotiate_format(request.headers.get("accept"))
        flow = await flows.flow(id_of(id))
        headers = {"Vary": "Accept"}
        if name is None or name == "json":
            return Response(flow, headers=headers)
        # A large flow takes a while to write.
        if name == "sequence":
            text = await asyncio.to_thread(write_sequence, flow, width)
        else:
            text = await asyncio.to_thread(FORMATS[name].write, flow)
        if name == "html":
            headers["Content-Security-Policy"] = POLICY
        return Response(text.encode("utf-8", "replace"), media_type=FORMATS[name].media_type, headers=headers)

    return list_flows, get_flow
