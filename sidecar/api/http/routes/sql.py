"""SQL over the history."""

from __future__ import annotations

from collections.abc import Sequence

from litestar import post
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody

from sidecar.api import models
from sidecar.api.services.sql import SqlService


def routes(sql: SqlService) -> Sequence[HTTPRouteHandler]:
    """Build the route `/v1/sql`."""

    @post(
        "/v1/sql",
        role="read",
        status_code=200,
        summary="Query the history with SQL",
        description="Runs one SELECT statement over the views `events`, `bodies`, `dead_letters` and `flows` of the "
        "history, within limits of time, memory and rows. It reads nothing else and changes nothing.",
    )
    async def run_sql(data: JSONBody[models.SqlRequestModel]) -> models.SqlAnswerModel:
        return await sql.run(data)

    return (run_sql,)
