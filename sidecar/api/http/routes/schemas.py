"""Schemas: registered subjects and the versions that events used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, QueryParameter

from sidecar.api import models
from sidecar.api.http.middleware import id_of
from sidecar.api.services.schemas import SchemaService


def routes(schemas: SchemaService) -> Sequence[HTTPRouteHandler]:
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

    return list_subjects, get_subject
