"""Watched streams, and the release of held ones."""

from __future__ import annotations

from collections.abc import Sequence

from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from sidecar.api import models
from sidecar.api.http.middleware import id_of
from sidecar.api.http.routes.parameters import AnyRequest, actor_of
from sidecar.api.services.streams import StreamService


def routes(streams: StreamService) -> Sequence[HTTPRouteHandler]:
    """Build the routes of `/v1/streams`."""

    @get("/v1/streams", summary="List streams", description="The watched streams, and the reasons why some are held.")
    async def list_streams() -> models.StreamPage:
        return await streams.streams()

    @post(
        "/v1/streams/{stream:str}/resume",
        status_code=200,
        summary="Resume a held stream",
        description="Retries the records that hold a stream. Returns the number of partitions that were held.",
    )
    async def resume_stream(stream: FromPath[str], request: AnyRequest) -> models.ReleaseResult:
        return await streams.resume(id_of(stream), actor_of(request))

    @post(
        "/v1/streams/{stream:str}/skip",
        status_code=200,
        summary="Skip the records that hold a stream",
        description="Skips the records that hold a stream. Returns the number of partitions that were held.",
    )
    async def skip_stream(stream: FromPath[str], request: AnyRequest) -> models.ReleaseResult:
        return await streams.skip(id_of(stream), actor_of(request))

    return list_streams, resume_stream, skip_stream
