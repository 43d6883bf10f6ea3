"""The audit log of actions by operators and services."""

from __future__ import annotations

from collections.abc import Sequence

from litestar import get
from litestar.handlers import HTTPRouteHandler

from sidecar.api.http.routes.parameters import Limit
from sidecar.api.mappers import replays as mapper
from sidecar.api.models import replays as models
from sidecar.domain.redaction import Redactor
from sidecar.replay.ports import DeadLetterOperations


def routes(operations: DeadLetterOperations, redactor: Redactor) -> Sequence[HTTPRouteHandler]:
    """Build the route of `/v1/audit`."""

    @get(
        "/v1/audit",
        summary="List audited actions",
        description="Replays, discards, restores, reports and imports, with the name of the token, latest first.",
    )
    async def list_actions(limit: Limit = 100) -> models.AuditPage:
        result = await operations.audit(limit or 1_000)
        return models.AuditPage(
            items=[mapper.audit_line(line, redactor) for line in result.lines], note=" ".join(result.notes) or None
        )

    return (list_actions,)
