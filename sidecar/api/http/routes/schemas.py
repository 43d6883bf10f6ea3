"""Schemas: registered subjects and the versions that events used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody, QueryParameter

from sidecar.api import models
from sidecar.api.http.middleware import id_of
from sidecar.api.services.schema_check import SchemaCheckService
from sidecar.api.services.schemas import SchemaService

MAX_SCHEMA_BYTES = 4 << 20


def routes(schemas: SchemaService, checks: SchemaCheckService) -> Sequence[HTTPRouteHandler]:
    """Build the routes of `/v1/schemas`."""

    @get(
        "/v1/schemas",
        summary="List subjects",
        description="Registered subjects, and the versions that the latest events used.",
    )
    async def list_subjects() -> models.SubjectPage:
        return await schemas.subjects()

    @get(
        "/v1/schemas/{subject:str}",
        summary="Get a subject",
        description="One subject with the text of its latest schema, or of the requested version.",
    )
    async def get_subject(
        subject: FromPath[str],
        version: Annotated[
            int | None, QueryParameter(ge=1, le=1 << 31, description="A version. Absent: the latest one.")
        ] = None,
    ) -> models.SubjectPage:
        return await schemas.subject(id_of(subject), version)

    @post(
        "/v1/schema-checks",
        role="read",
        status_code=200,
        request_max_body_size=MAX_SCHEMA_BYTES,
        summary="Check a schema version",
        description="Whether the newest events of a subject, and the consumers of the versions that they use, would "
        "survive a version that is not registered yet. Nothing is registered.",
    )
    async def check_schema(data: JSONBody[models.SchemaCheckRequest]) -> models.SchemaCheckResult:
        return await checks.check(data)

    return list_subjects, get_subject, check_schema
