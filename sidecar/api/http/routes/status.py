"""Status of the sidecar."""

from __future__ import annotations

from collections.abc import Sequence

from litestar import get
from litestar.handlers import HTTPRouteHandler

from sidecar.api import models
from sidecar.api.services.streams import StreamService


def routes(streams: StreamService) -> Sequence[HTTPRouteHandler]:
    """Build the route of `/v1/status`."""

    @get(
        "/v1/status",
        summary="Sidecar status",
        description="Streams with their lag and rate, the index, exporters, the registry, and what needs attention.",
    )
    async def get_status() -> models.ServiceStatus:
        return await streams.status()

    return (get_status,)
