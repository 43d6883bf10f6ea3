"""Acting: what changes something, and is audited."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar import Request, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from sidecar.api import models
from sidecar.api.http.middleware import id_of
from sidecar.api.http.routes.parameters import who
from sidecar.api.services.answers import ReadService


def routes(answers: ReadService) -> Sequence[HTTPRouteHandler]:
    @post("/v1/streams/{stream:str}/resume", status_code=200, summary="Try again what is held of a stream")
    async def resume(stream: FromPath[str], request: Request[Any, Any, Any]) -> models.ReleaseResult:
        return await answers.resume(id_of(stream), who(request))

    @post("/v1/streams/{stream:str}/skip", status_code=200, summary="Go on past what holds a stream")
    async def skip(stream: FromPath[str], request: Request[Any, Any, Any]) -> models.ReleaseResult:
        return await answers.skip(id_of(stream), who(request))

    return resume, skip
