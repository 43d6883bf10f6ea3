"""Events in the index."""

from __future__ import annotations

from collections.abc import Sequence

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from sidecar.api import models
from sidecar.api.http.middleware import id_of
from sidecar.api.http.routes.parameters import Cursor, Full, Limit, QueryText
from sidecar.api.services.events import EventService


def routes(events: EventService) -> Sequence[HTTPRouteHandler]:
    """Build the routes of `/v1/events`."""

    @get("/v1/events", summary="List events", description="Events that match a query, newest first.")
    async def list_events(
        search: QueryText = "", limit: Limit = 100, cursor: Cursor = None, full: Full = False
    ) -> models.EventPage:
        return await events.events(search, limit, cursor, full=full)

    @get(
        "/v1/events/{position:str}",
        summary="Get an event",
        description="One event with headers and body, by its position (percent-encoded or as it is) or its event id.",
    )
    async def get_event(position: FromPath[str]) -> models.EventModel:
        return await events.event(id_of(position))

    return list_events, get_event
