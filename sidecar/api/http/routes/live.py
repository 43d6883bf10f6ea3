"""Server-sent events (WHATWG HTML, section 9.2): the live stream of events, and scans of the brokers.

The message `event` carries an event. The names of other messages are the `sse` names in `sidecar.api.models`. A stream
that fails ends with the message `problem`.
"""

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
from sidecar.api.services.events import EventService
from sidecar.domain.errors import Outage, TracecarError
from sidecar.domain.redaction import Redactor
from sidecar.pipeline.live_stream import LiveStream, Subscription
from sidecar.query import Query, parse

log = structlog.get_logger()

HEARTBEAT_INTERVAL_S = 10.0
"""Time without an event after which a comment is sent, so that both ends notice a dead connection."""
EVENTS_PER_SLICE = 200
"""Events that are matched in one step of the event loop."""
MAX_CONCURRENT_SCANS = 4
SSE_MEDIA_TYPE = "text/event-stream"
_encode = msgspec.json.Encoder().encode
_UNBUFFERED = {"X-Accel-Buffering": "no"}


def _message(name: str, value: models.ApiModel) -> bytes:
    # JSON on one line: line feeds in texts are escaped there, so nothing in an event can end a message.
    return b"event: %b\ndata: %b\n\n" % (name.encode(), _encode(value))


def routes(events: EventService, live: LiveStream, redactor: Redactor) -> Sequence[HTTPRouteHandler]:
    """Build `/v1/live` and `/v1/scan`."""
    scans = asyncio.Semaphore(MAX_CONCURRENT_SCANS)

    @get(
        "/v1/live",
        summary="Follow events",
        media_type=SSE_MEDIA_TYPE,
        description="Events as they are processed, as server-sent events. A slow client loses the oldest ones and is "
        "told how many.",
    )
    async def follow_events(search: QueryText = "") -> Stream:
        query = parse(search)
        return Stream(
            _follow(events, live.subscribe(with_payloads=query.needs_payload), query),
            media_type=SSE_MEDIA_TYPE,
            headers=_UNBUFFERED,
        )

    @get(
        "/v1/scan",
        summary="Scan the brokers",
        media_type=SSE_MEDIA_TYPE,
        description="Reads matching records from the brokers, beyond the index, as server-sent events with progress.",
    )
    async def scan_brokers(
        search: QueryText = "",
        limit: Limit = 0,
        key: Annotated[
            str | None, QueryParameter(max_length=4_000, description="Only records with this key. Absent: any key.")
        ] = None,
        full: Full = False,
    ) -> Stream:
        parse(search)
        if key is not None and redactor.hides_keys:
            raise ValidationException("key: keys are redacted here, so a scan cannot select records by their key")
        if scans.locked():
            raise Outage(
                f"{MAX_CONCURRENT_SCANS} scans are running already: try again when one has ended", retry_after=5
            )
        items = events.scan(search, limit, key, full=full)
        return Stream(_scan(items, scans), media_type=SSE_MEDIA_TYPE, headers=_UNBUFFERED)

    return follow_events, scan_brokers


async def _follow(events: EventService, subscription: Subscription, query: Query) -> AsyncIterator[bytes]:
    with subscription:
        yield b": listening\n\n"
        total_missed = 0
        while not subscription.closed:
            decoded = await subscription.next(HEARTBEAT_INTERVAL_S)
            missed = subscription.take_missed_count()
            if missed:
                total_missed += missed
                yield _message("dropped", models.DroppedModel(count=missed, total=total_missed))
            elif decoded is None and not subscription.closed:
                yield b": still here\n\n"
            for start in range(0, len(decoded or ()), EVENTS_PER_SLICE):
                began = time.monotonic()
                matches = await events.matching((decoded or ())[start : start + EVENTS_PER_SLICE], query)
                messages = b"".join([_message("event", event) for event in matches])
                elapsed = time.monotonic() - began
                if messages:
                    yield messages
                # One client takes at most a quarter of the time; beyond that its events are dropped and counted.
                await asyncio.sleep(min(3 * elapsed, 0.1))
            decoded = None  # or its records would stay in memory while this waits for more
        yield _message("end", models.ScanEndModel(reason="the sidecar is stopping"))


async def _scan(
    items: AsyncIterator[models.EventModel | models.ScanProgressModel | models.ScanEndModel], scans: asyncio.Semaphore
) -> AsyncIterator[bytes]:
    async with scans:
        try:
            async for item in items:
                yield _message(getattr(item, "sse", "event"), item)
        except TracecarError as error:
            yield _message("problem", problem_details.problem_of(error))
        except Exception as error:
            log.error("scan failed", exc_info=error)
            yield _message("problem", problem_details.problem_of(error))
