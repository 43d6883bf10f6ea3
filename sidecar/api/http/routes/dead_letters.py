"""Dead letters: lists, causes, discard, restore, export and import."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Annotated

import msgspec
from litestar import get, post
from litestar.exceptions import ValidationException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.response import Stream

from sidecar.api import models
from sidecar.api.http.middleware import id_of
from sidecar.api.http.problem_details import problem_of
from sidecar.api.http.routes.parameters import AnyRequest, Cursor, Limit, QueryText, actor_of
from sidecar.api.http.routes.replays import MAX_BODY_BYTES
from sidecar.api.mappers import replays as mapper
from sidecar.api.models.replays import (
    MAX_IDS_PER_REQUEST,
    DiscardRequest,
    ExportedLetterModel,
    OutcomePage,
    RestoreRequest,
)
from sidecar.api.services.dead_letters import DeadLetterService
from sidecar.domain.errors import TracecarError
from sidecar.replay.ports import DeadLetterOperations, ExportedLetter

MAX_LINES_PER_IMPORT = 5_000
NDJSON_MEDIA_TYPE = "application/x-ndjson"
_encode = msgspec.json.Encoder().encode
_exported_decoder = msgspec.json.Decoder(ExportedLetterModel)


def routes(letters: DeadLetterService, operations: DeadLetterOperations) -> Sequence[HTTPRouteHandler]:
    """Build the routes of `/v1/dead-letters`."""
    return (*_lists(letters), *_decisions(operations), *_transfer(operations))


def _lists(letters: DeadLetterService) -> Sequence[HTTPRouteHandler]:
    @get(
        "/v1/dead-letters",
        summary="List dead letters",
        description="Dead letters that match a query, newest first. Letters of one origin are one item.",
    )
    async def list_letters(search: QueryText = "", limit: Limit = 100, cursor: Cursor = None) -> models.DeadLetterPage:
        return await letters.dead_letters(search, limit, cursor)

    @get(
        "/v1/dead-letters/groups",
        summary="List causes",
        description="Dead letters grouped by their cause, the most frequent one first.",
    )
    async def list_causes(search: QueryText = "", limit: Limit = 100) -> models.CausePage:
        return await letters.causes(search, limit)

    @get(
        "/v1/dead-letters/{id:str}",
        summary="Get a dead letter",
        description="One dead letter with the record that failed and its history.",
    )
    async def get_letter(id: FromPath[str]) -> models.DeadLetterModel:
        return await letters.dead_letter(id_of(id))

    return list_letters, list_causes, get_letter


def _decisions(operations: DeadLetterOperations) -> Sequence[HTTPRouteHandler]:
    @post(
        "/v1/dead-letters/discard",
        status_code=200,
        summary="Discard dead letters",
        description="Marks dead letters as discarded; nothing is deleted. Takes either `ids` or a `query`; a query "
        "discards some thousands at a time; if `more` is true, repeat the request.",
    )
    async def discard_letters(data: JSONBody[DiscardRequest], request: AnyRequest) -> OutcomePage:
        if not 0 < len(data.reason.strip()) <= mapper.MAX_TEXT_CHARS:
            raise mapper.invalid("reason", "why, in a few words", data.reason)
        if bool(data.ids) == bool(data.query) or len(data.ids) > MAX_IDS_PER_REQUEST:
            raise ValidationException(f"expected either `ids` (at most {MAX_IDS_PER_REQUEST}) or `query`")
        if data.query:
            result = await operations.discard_found(data.query, data.reason, actor_of(request))
            return OutcomePage(
                items=[mapper.outcome(outcome) for outcome in result.outcomes],
                more=result.more,
                note=" ".join(result.notes) or None,
            )
        outcomes = await operations.discard(data.ids, data.reason, actor_of(request))
        return OutcomePage(items=[mapper.outcome(outcome) for outcome in outcomes])

    @post(
        "/v1/dead-letters/restore",
        status_code=200,
        summary="Restore dead letters",
        description="Opens discarded dead letters again.",
    )
    async def restore_letters(data: JSONBody[RestoreRequest], request: AnyRequest) -> OutcomePage:
        if not 0 < len(data.ids) <= MAX_IDS_PER_REQUEST:
            raise mapper.invalid("ids", f"1 to {MAX_IDS_PER_REQUEST}", len(data.ids))
        outcomes = await operations.restore(data.ids, actor_of(request))
        return OutcomePage(items=[mapper.outcome(outcome) for outcome in outcomes])

    return discard_letters, restore_letters


def _transfer(operations: DeadLetterOperations) -> Sequence[HTTPRouteHandler]:
    @get(
        "/v1/dead-letters/export",
        summary="Export dead letters",
        description="Dead letters with exact bytes, one JSON object a line. If the export fails midway, the last line "
        'is `{"problem": …}`.',
    )
    async def export_letters(
        search: QueryText = "",
        limit: Annotated[int, QueryParameter(ge=0, description="Maximum number of letters. 0: all.")] = 0,
    ) -> Stream:
        letters = await _with_first(operations.export(search, limit))
        return Stream(_lines(letters), media_type=NDJSON_MEDIA_TYPE)

    @post(
        "/v1/dead-letters/import",
        status_code=200,
        request_max_body_size=MAX_BODY_BYTES,
        summary="Import dead letters",
        description="Writes exported dead letters, one JSON object a line, into their streams again.",
    )
    async def import_letters(request: AnyRequest) -> OutcomePage:
        lines = [line for line in (await request.body()).split(b"\n") if line.strip()]
        if len(lines) > MAX_LINES_PER_IMPORT:
            raise mapper.invalid("the body", f"at most {MAX_LINES_PER_IMPORT} lines", len(lines))
        letters = [_parse_line(number, line) for number, line in enumerate(lines, 1)]
        imported = operations.import_letters(_iterate(letters), actor_of(request))
        return OutcomePage(items=[mapper.outcome(outcome) async for outcome in imported])

    return export_letters, import_letters


async def _with_first(letters: AsyncIterator[ExportedLetter]) -> AsyncIterator[ExportedLetter]:
    """Wait for the first letter: an error at the beginning becomes an error answer, not half an answer."""
    first = await anext(letters, None)

    async def all_letters() -> AsyncIterator[ExportedLetter]:
        if first is not None:
            yield first
            async for letter in letters:
                yield letter

    return all_letters()


async def _lines(letters: AsyncIterator[ExportedLetter]) -> AsyncIterator[bytes]:
    """Write one line a letter; after an error the last line is `{"problem": …}`."""
    try:
        async for letter in letters:
            yield _encode(mapper.export_model(letter)) + b"\n"
    except TracecarError as error:
        yield _encode({"problem": problem_of(error)}) + b"\n"


def _parse_line(number: int, line: bytes) -> ExportedLetter:
    try:
        return mapper.import_letter(_exported_decoder.decode(line))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ValidationException(f"line {number}: expected an exported dead letter: {error}") from None


async def _iterate(letters: Sequence[ExportedLetter]) -> AsyncIterator[ExportedLetter]:
    for letter in letters:
        yield letter
