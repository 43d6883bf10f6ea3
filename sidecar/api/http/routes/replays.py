"""Doing something with dead letters: replays and their jobs, discarding, restoring, exports, imports, reports."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

import msgspec
import structlog
from litestar import Request, Response, get, post
from litestar.exceptions import ValidationException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.response import Stream

from sidecar.api.http.middleware import id_of
from sidecar.api.http.problem_details import of
from sidecar.api.http.routes.parameters import Limit, QueryText, needs, who
from sidecar.api.mappers import replays as rendering
from sidecar.api.models import replays as models
from sidecar.domain.errors import TracecarError
from sidecar.domain.redaction import Redactor
from sidecar.replay.ports import DeadLetterOperations, ExportedLetter

log = structlog.get_logger()

LARGEST = 16 << 20
"""Bytes of a request that brings records."""
MOST_LINES = 5_000
NDJSON = "application/x-ndjson"
AnyRequest = Request[Any, Any, Any]
_line = msgspec.json.Encoder().encode
_exported = msgspec.json.Decoder(models.ExportedLetterModel)


def routes(acting: DeadLetterOperations, redactor: Redactor) -> Sequence[HTTPRouteHandler]:
    return (*_replays(acting, redactor), *_letters(acting), *_audit(acting, redactor), *_reports(acting))


def _replays(acting: DeadLetterOperations, redactor: Redactor) -> Sequence[HTTPRouteHandler]:
    @post(
        "/v1/replays",
        role=None,
        request_max_body_size=LARGEST,
        summary="Publish dead letters, or a range of events, again; with dry_run: what would happen (readers may)",
    )
    async def start(
        data: JSONBody[models.ReplayRequestModel], request: AnyRequest
    ) -> Response[models.ReplayModel] | Response[models.PlanModel]:
        needs(request, "read" if data.dry_run and not _edits_hidden(data.edit, redactor) else "operate")
        wish = rendering.wish(data, redactor)
        if data.dry_run:
            return Response(rendering.plan(await acting.plan(wish), redactor), status_code=200)
        job = await acting.replay(wish, who(request))
        return Response(rendering.replay(job, redactor), status_code=201 if job.selected else 200)

    @get("/v1/replays", summary="Replays, newest first")
    async def replays(limit: Limit = 100) -> models.ReplayPage:
        return models.ReplayPage(items=[rendering.replay(job, redactor) for job in await acting.jobs(limit or 1_000)])

    @get("/v1/replays/{id:str}", summary="One replay, as far as it is now")
    async def replay(id: FromPath[str]) -> models.ReplayModel:
        return rendering.replay(await acting.job(id_of(id)), redactor)

    @post("/v1/replays/{id:str}/pause", status_code=200, summary="Pause a replay")
    async def pause(id: FromPath[str], request: AnyRequest) -> models.ReplayModel:
        return rendering.replay(await acting.pause(id_of(id), who(request)), redactor)

    @post("/v1/replays/{id:str}/resume", status_code=200, summary="Go on with a replay that is paused or failed")
    async def resume(id: FromPath[str], request: AnyRequest) -> models.ReplayModel:
        return rendering.replay(await acting.resume(id_of(id), who(request)), redactor)

    @post("/v1/replays/{id:str}/cancel", status_code=200, summary="Cancel a replay: what was not sent stays open")
    async def cancel(id: FromPath[str], request: AnyRequest) -> models.ReplayModel:
        return rendering.replay(await acting.cancel(id_of(id), who(request)), redactor)

    return start, replays, replay, pause, resume, cancel


def _edits_hidden(edit: models.EditRequest | None, redactor: Redactor) -> bool:
    """Return True if an edit names a redacted place: its dry run would confirm a guess of the value there."""
    return edit is not None and any(redactor.touches(path) for path in (*edit.set, *edit.remove))


def _letters(acting: DeadLetterOperations) -> Sequence[HTTPRouteHandler]:
    @post(
        "/v1/dead-letters/discard",
        status_code=200,
        summary="Set dead letters aside, of a query some thousands at once (`more`: ask again); nothing is deleted",
    )
    async def discard(data: JSONBody[models.DiscardRequest], request: AnyRequest) -> models.OutcomePage:
        if not 0 < len(data.reason.strip()) <= rendering.LONGEST:
            raise rendering.wrong("reason", "why, in a few words", data.reason)
        if bool(data.ids) == bool(data.query) or len(data.ids) > models.MOST_IDS:
            raise ValidationException(f"expected either `ids` (at most {models.MOST_IDS}) or `query`")
        if data.query:
            done = await acting.discard_found(data.query, data.reason, who(request))
            return models.OutcomePage(
                items=[rendering.outcome(outcome) for outcome in done.outcomes],
                more=done.more,
                note=" ".join(done.notes) or None,
            )
        found = await acting.discard(data.ids, data.reason, who(request))
        return models.OutcomePage(items=[rendering.outcome(one) for one in found])

    @post("/v1/dead-letters/restore", status_code=200, summary="Undo discarding")
    async def restore(data: JSONBody[models.RestoreRequest], request: AnyRequest) -> models.OutcomePage:
        if not 0 < len(data.ids) <= models.MOST_IDS:
            raise rendering.wrong("ids", f"1 to {models.MOST_IDS}", len(data.ids))
        found = await acting.restore(data.ids, who(request))
        return models.OutcomePage(items=[rendering.outcome(one) for one in found])

    @get("/v1/dead-letters/export", summary="Dead letters with exact bytes, one JSON object a line")
    async def export(
        search: QueryText = "",
        limit: Annotated[int, QueryParameter(ge=0, description="At most so many; 0: all")] = 0,
    ) -> Stream:
        return Stream(_lines(await _begun(acting.export(search, limit))), media_type=NDJSON)

    @post(
        "/v1/dead-letters/import",
        status_code=200,
        request_max_body_size=LARGEST,
        summary="Exported dead letters, one JSON object a line, into their streams again",
    )
    async def take_in(request: AnyRequest) -> models.OutcomePage:
        lines = [line for line in (await request.body()).split(b"\n") if line.strip()]
        if len(lines) > MOST_LINES:
            raise rendering.wrong("the body", f"at most {MOST_LINES} lines", len(lines))
        letters = [_letter(number, line) for number, line in enumerate(lines, 1)]
        found = [rendering.outcome(letter) async for letter in acting.import_letters(_all(letters), who(request))]
        return models.OutcomePage(items=found)

    return discard, restore, export, take_in


def _audit(acting: DeadLetterOperations, redactor: Redactor) -> Sequence[HTTPRouteHandler]:
    @get("/v1/audit", summary="Who replayed, discarded, restored, reported and imported what, the latest first")
    async def audit(limit: Limit = 100) -> models.AuditPage:
        found = await acting.audit(limit or 1_000)
        return models.AuditPage(
            items=[rendering.audit_line(line, redactor) for line in found.lines], note=" ".join(found.notes) or None
        )

    return (audit,)


def _reports(acting: DeadLetterOperations) -> Sequence[HTTPRouteHandler]:
    @post(
        "/v1/failures",
        role="report",
        request_max_body_size=LARGEST,
        summary="Hand over an event that could not be processed; answers when its dead letter is durable",
    )
    async def report(data: JSONBody[models.FailureRequest], request: AnyRequest) -> Response[models.FailureAnswer]:
        reported = await acting.report(rendering.failure(data), who(request))
        answer = models.FailureAnswer(
            id=reported.id,
            position=None if reported.position is None else str(reported.position),
            created=reported.created,
        )
        return Response(answer, status_code=201 if reported.created else 200)

    return (report,)


async def _begun(letters: AsyncIterator[ExportedLetter]) -> AsyncIterator[ExportedLetter]:
    """The same, once the first came: what is wrong from the beginning is an error, not half an answer."""
    first = await anext(letters, None)

    async def again() -> AsyncIterator[ExportedLetter]:
        if first is not None:
            yield first
            async for letter in letters:
                yield letter

    return again()


async def _lines(letters: AsyncIterator[ExportedLetter]) -> AsyncIterator[bytes]:
    """One line each; where it breaks off, the last line is `{"problem": …}`."""
    try:
        async for letter in letters:
            yield _line(rendering.exported(letter)) + b"\n"
    except TracecarError as error:
        yield _line({"problem": of(error)}) + b"\n"


def _letter(number: int, line: bytes) -> ExportedLetter:
    try:
        return rendering.imported(_exported.decode(line))
    except (msgspec.MsgspecError, ValueError) as error:
        raise ValidationException(f"line {number}: expected an exported dead letter: {error}") from None


async def _all(letters: Sequence[ExportedLetter]) -> AsyncIterator[ExportedLetter]:
    for letter in letters:
        yield letter
