"""Looking: events, flows, aggregates, dead letters, schemas, status."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, QueryParameter

from sidecar.api import models
from sidecar.api.http.middleware import id_of
from sidecar.api.http.routes.parameters import Cursor, Full, Limit, QueryText
from sidecar.api.services.answers import ReadService


def routes(answers: ReadService) -> Sequence[HTTPRouteHandler]:
    @get("/v1/events", summary="Events, newest first")
    async def events(
        search: QueryText = "", limit: Limit = 100, cursor: Cursor = None, full: Full = False
    ) -> models.EventPage:
        return await answers.events(search, limit, cursor, full=full)

    @get("/v1/events/{position:str}", summary="One event with headers and body, by position or event id")
    async def event(position: FromPath[str]) -> models.EventModel:
        return await answers.event(id_of(position))

    @get("/v1/flows", summary="Flows without their events, newest first")
    async def flows(limit: Limit = 100, cursor: Cursor = None) -> models.FlowPageModel:
        return await answers.flows(limit, cursor)

    @get("/v1/flows/{id:str}", summary="The flow of a trace, event, aggregate or correlation id, or of a position")
    async def flow(id: FromPath[str]) -> models.FlowModel:
        return await answers.flow(id_of(id))

    @get("/v1/aggregates/{id:str}", summary="The events of an aggregate, in order")
    async def aggregate(id: FromPath[str], limit: Limit = 0) -> models.AggregateModel:
        return await answers.aggregate(id_of(id), limit)

    @get("/v1/dead-letters", summary="Dead letters, newest first")
    async def dead_letters(search: QueryText = "", limit: Limit = 100, cursor: Cursor = None) -> models.DeadLetterPage:
        return await answers.dead_letters(search, limit, cursor)

    @get("/v1/dead-letters/groups", summary="The causes of dead letters, those with the most letters first")
    async def causes(search: QueryText = "", limit: Limit = 100) -> models.CausePage:
        return await answers.causes(search, limit)

    @get("/v1/dead-letters/{id:str}", summary="One dead letter, with the record that it stands for")
    async def dead_letter(id: FromPath[str]) -> models.DeadLetterModel:
        return await answers.dead_letter(id_of(id))

    @get("/v1/schemas", summary="What is registered, and what was seen of it")
    async def schemas() -> models.SubjectPage:
        return await answers.schemas()

    @get("/v1/schemas/{subject:str}", summary="One subject, with its latest schema or that of a version")
    async def schema(
        subject: FromPath[str],
        version: Annotated[int | None, QueryParameter(ge=1, le=1 << 31, description="Else the latest")] = None,
    ) -> models.SubjectPage:
        return await answers.schemas(id_of(subject), version)

    @get("/v1/streams", summary="The watched streams")
    async def streams() -> models.StreamPage:
        return await answers.streams()

    @get("/v1/groups", summary="The other consumer groups that read watched streams, and where one has stopped")
    async def groups() -> models.GroupPage:
        return await answers.groups()

    @get("/v1/status", summary="How the sidecar is")
    async def status() -> models.ServiceStatus:
        return await answers.status()

    return (
        events,
        event,
        flows,
        flow,
        aggregate,
        dead_letters,
        causes,
        dead_letter,
        schemas,
        schema,
        streams,
        groups,
        status,
    )
