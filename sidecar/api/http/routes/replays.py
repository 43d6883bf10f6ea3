"""Replay jobs."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody

from sidecar.api.http.middleware import id_of
from sidecar.api.http.routes.parameters import AnyRequest, Limit, actor_of, require_role
from sidecar.api.mappers import replays as mapper
from sidecar.api.models import replays as models
from sidecar.domain.json_safe import parse_float
from sidecar.domain.redaction import Redactor
from sidecar.replay.ports import DeadLetterOperations

MAX_BODY_BYTES = 16 << 20
"""Size of a request that carries records."""


def routes(operations: DeadLetterOperations, redactor: Redactor) -> Sequence[HTTPRouteHandler]:
    """Build the routes of `/v1/replays`."""

    @post(
        "/v1/replays",
        role=None,
        request_max_body_size=MAX_BODY_BYTES,
        summary="Start a replay",
        description="Publishes dead letters, or a range of events, again. With `dry_run` it only reports what "
        "would happen; the role `read` suffices.",
    )
    async def start_replay(
        data: JSONBody[models.ReplayRequestModel], request: AnyRequest
    ) -> Response[models.ReplayModel] | Response[models.PlanModel]:
        require_role(request, "read" if data.dry_run and not _edits_hidden(data.edit, redactor) else "operate")
        if data.edit is not None:  # numbers to be written keep all their digits
            data = _decode_exactly(await request.body())
        replay_request = mapper.replay_request(data, redactor)
        if data.dry_run:
            plan = await operations.plan(replay_request)
            return Response(mapper.plan(plan, redactor), status_code=200)
        job = await operations.replay(replay_request, actor_of(request))
        return Response(mapper.replay(job, redactor), status_code=201 if job.selected else 200)

    @get("/v1/replays", summary="List replays", description="Replay jobs, newest first.")
    async def list_replays(limit: Limit = 100) -> models.ReplayPage:
        jobs = await operations.jobs(limit or 1_000)
        return models.ReplayPage(items=[mapper.replay(job, redactor) for job in jobs])

    @get("/v1/replays/{id:str}", summary="Get a replay", description="One replay job with its progress.")
    async def get_replay(id: FromPath[str]) -> models.ReplayModel:
        return mapper.replay(await operations.job(id_of(id)), redactor)

    @post("/v1/replays/{id:str}/pause", status_code=200, summary="Pause a replay")
    async def pause_replay(id: FromPath[str], request: AnyRequest) -> models.ReplayModel:
        return mapper.replay(await operations.pause(id_of(id), actor_of(request)), redactor)

    @post("/v1/replays/{id:str}/resume", status_code=200, summary="Resume a replay that is paused or failed")
    async def resume_replay(id: FromPath[str], request: AnyRequest) -> models.ReplayModel:
        return mapper.replay(await operations.resume(id_of(id), actor_of(request)), redactor)

    @post(
        "/v1/replays/{id:str}/cancel",
        status_code=200,
        summary="Cancel a replay",
        description="Letters that were not sent stay open.",
    )
    async def cancel_replay(id: FromPath[str], request: AnyRequest) -> models.ReplayModel:
        return mapper.replay(await operations.cancel(id_of(id), actor_of(request)), redactor)

    return start_replay, list_replays, get_replay, pause_replay, resume_replay, cancel_replay


_decode_exactly = msgspec.json.Decoder(models.ReplayRequestModel, float_hook=parse_float).decode


def _edits_hidden(edit: models.EditRequest | None, redactor: Redactor) -> bool:
    """Check whether an edit covers a redacted place: its dry run would confirm a guess of the value there."""
    if edit is None:
        return False
    replaces_body = edit.body is not msgspec.UNSET and redactor.active
    return replaces_body or any(redactor.touches(path) for path in (*edit.set, *edit.remove))
