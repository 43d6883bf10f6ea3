"""Answers that go on: the live stream, and scans of the broker. Both are server-sent events (WHATWG HTML, section 9.2):
`event` carries an event, the other names are those of `sidecar.api.models`, and `problem` is the last of a stream that
failed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Annotated

import msgspec
import structlog
from litestar import get
from litestar.exceptions import ValidationException
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter
from litestar.response import Stream

from sidecar.api import models
from sidecar.api.http import problem_details
from sidecar.api.http.routes.parameters import Full, Limit, QueryText
from sidecar.api.services.answers import ReadService
from sidecar.domain.errors import Outage, TracecarError
from sidecar.pipeline.live_stream import LiveStream, Subscription
from sidecar.query import Query, parse

log = structlog.get_logger()

HEARTBEAT_SECONDS = 10.0
"""A comment is sent after so long a silence, so that both ends notice a dead connection."""
SLICE = 200
"""Events that are matched before others get their turn."""
MOST_SCANS = 4
MEDIA_TYPE = "text/event-stream"
_encode = msgspec.json.Encoder().encode


def _message(kind: str, value: models.ApiModel) -> bytes:
    # JSON on one line: line feeds in texts are escaped there, so nothing in an event can end a message.
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode(value))


def _kind(value: models.ApiModel) -> str:
    return getattr(value, "sse", "event")


def routes(answers: ReadService, live: LiveStream) -> Sequence[HTTPRouteHandler]:
    scans = asyncio.Semaphore(MOST_SCANS)

    @get("/v1/live", summary="Events as they pass, as server-sent events", media_type=MEDIA_TYPE)
    async def follow(search: QueryText = "") -> Stream:
        query = parse(search)
        return Stream(_follow(answers, live.subscribe(), query), media_type=MEDIA_TYPE, headers=_UNBUFFERED)

    @get("/v1/scan", summary="The brokers themselves, beyond the index, as server-sent events", media_type=MEDIA_TYPE)
    async def scan(
        search: QueryText = "",
        limit: Limit = 0,
        key: Annotated[str | None, QueryParameter(max_length=4_000, description="Only records with this key")] = None,
        full: Full = False,
    ) -> Stream:
        parse(search)
        if key is not None and answers.redactor.hides_keys:
            raise ValidationException("key: keys are redacted here, so no record can be looked for by one")
        if scans.locked():
            raise Outage(f"{MOST_SCANS} scans are under way already: try again when one has ended", retry_after=5)
        found = answers.scan(search, limit, key, full=full)
        return Stream(_scan(found, scans), media_type=MEDIA_TYPE, headers=_UNBUFFERED)

    return follow, scan


_UNBUFFERED = {"X-Accel-Buffering": "no"}


async def _follow(answers: ReadService, subscription: Subscription, query: Query) -> AsyncIterator[bytes]:
    with subscription:
        yield b": listening\n\n"
        lost = 0
        while not subscription.closed:
            decoded = await subscription.next(HEARTBEAT_SECONDS)
            missed = subscription.missed()
            if missed:
                lost += missed
                yield _message("dropped", models.DroppedModel(count=missed, total=lost))
            elif decoded is None and not subscription.closed:
                yield b": still here\n\n"
            for start in range(0, len(decoded or ()), SLICE):
                began = time.monotonic()
                events = await answers.live((decoded or ())[start : start + SLICE], query)
                written = b"".join([_message("event", event) for event in events])
                took = time.monotonic() - began
                if written:
                    yield written
                # Somebody who watches takes a quarter of the time at most; beyond that events are dropped, and told.
                await asyncio.sleep(min(3 * took, 0.1))
        yield _message("end", models.ScanEndModel(reason="the sidecar stops"))


async def _scan(
    found: AsyncIterator[models.EventModel | models.ScanProgressModel | models.ScanEndModel], scans: asyncio.Semaphore
) -> AsyncIterator[bytes]:
    async with scans:
        try:
            async for value in found:
                yield _message(_kind(value), value)
        except TracecarError as error:
            yield _message("problem", problem_details.of(error))
        except Exception as error:
            log.error("a scan failed", exc_info=error)
            yield _message("problem", problem_details.of(error))
