"""Consumer groups that read the watched streams."""

from __future__ import annotations

from collections.abc import Sequence

from litestar import get
from litestar.handlers import HTTPRouteHandler

from sidecar.api import models
from sidecar.api.services.streams import StreamService


def routes(streams: StreamService) -> Sequence[HTTPRouteHandler]:
    """Build the route of `/v1/groups`."""

    @get(
        "/v1/groups",
        summary="List consumer groups",
        description="Other consumer groups that read watched streams: their lag, and the events at which one stopped.",
    )
    async def list_groups() -> models.GroupPage:
        return await streams.groups()

    return (list_groups,)
