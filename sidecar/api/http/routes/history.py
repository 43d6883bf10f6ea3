"""The history's own state."""

from __future__ import annotations

from collections.abc import Sequence

from litestar import get
from litestar.handlers import HTTPRouteHandler

from sidecar.api import models
from sidecar.api.services.history import HistoryService


def routes(history: HistoryService) -> Sequence[HTTPRouteHandler]:
    """Build the route `/v1/history`."""

    @get(
        "/v1/history",
        role="read",
        summary="Show what the history holds",
        description="Extent, size, covered offsets and holes of the history, files that cannot be used, and what the "
        "next compaction does.",
    )
    async def show_history() -> models.HistoryModel:
        return await history.describe()

    return (show_history,)
