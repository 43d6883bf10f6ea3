"""Lint: what is wrong with the events themselves."""

from __future__ import annotations

from collections.abc import Sequence

from litestar import get
from litestar.handlers import HTTPRouteHandler

from sidecar.api import models
from sidecar.api.http.routes.parameters import QueryText
from sidecar.api.services.lint import LintService, explain_rules


def routes(lint: LintService) -> Sequence[HTTPRouteHandler]:
    """Build the routes of `/v1/lint`."""

    @get(
        "/v1/lint",
        summary="Lint events",
        description="Problems in the newest events that match a query, each with sample events, the most serious "
        "first. The query has no conditions on headers and bodies.",
    )
    async def list_findings(search: QueryText = "") -> models.LintPage:
        return await lint.findings(search)

    @get("/v1/lint/rules", summary="List lint rules", description="Every rule of the linter, explained.")
    async def list_rules() -> list[models.LintRuleModel]:
        return explain_rules()

    return list_findings, list_rules
