"""Failures that services report."""

from __future__ import annotations

from collections.abc import Sequence

from litestar import Response, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody

from sidecar.api.http.routes.parameters import AnyRequest, actor_of
from sidecar.api.http.routes.replays import MAX_BODY_BYTES
from sidecar.api.mappers import replays as mapper
from sidecar.api.models import replays as models
from sidecar.replay.ports import DeadLetterOperations


def routes(operations: DeadLetterOperations) -> Sequence[HTTPRouteHandler]:
    """Build the route of `/v1/failures`."""

    @post(
        "/v1/failures",
        role="report",
        request_max_body_size=MAX_BODY_BYTES,
        summary="Report a failure",
        description="Reports an event that a service could not process. Replies once its dead letter is durable: "
        "201 for a new one, 200 if an earlier report of the same event wrote it.",
    )
    async def report_failure(
        data: JSONBody[models.FailureRequest], request: AnyRequest
    ) -> Response[models.FailureAnswer]:
        result = await operations.report(mapper.failure(data), actor_of(request))
        answer = models.FailureAnswer(
            id=result.id,
            position=None if result.position is None else str(result.position),
            created=result.created,
        )
        return Response(answer, status_code=201 if result.created else 200)

    return (report_failure,)
