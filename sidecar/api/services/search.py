"""Events that match a query: by what the index holds of them, and by their payloads, read back in bounds."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Collection, Sequence
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from sidecar.api import models
from sidecar.api.mappers.events import EventMapper
from sidecar.api.mappers.payload import ReadPayload
from sidecar.api.services.payloads import PayloadReader
from sidecar.domain.correlation.derived_trace_id import trace_id_of
from sidecar.domain.errors import Outage, QueryError
from sidecar.domain.model import Decoded, Event
from sidecar.domain.ports.index import Index, IndexPage, Node
from sidecar.domain.position import Position
from sidecar.query import Query, parse
from sidecar.query.ast import And, Expression, Not, Or, Term, write

STEP, PAYLOAD_STEP = 500, 64
"""Events, and payloads, that are read before it is looked whether there are enough."""
MOST_PAYLOADS = 5_000
"""Payloads that one answer looks into."""
MOST_SECONDS = 10.0
MOST_BYTES = 4 << 20
"""Bytes of payloads on one page; a page that is full ends early."""
MOST_LOOKED_UP = 1_000
"""What `Index.lookup` returns at most; fewer are all."""
LOOKED_UP = ("event", "trace", "correlation", "aggregate")
"""Fields by which the index finds events at once."""


class SearchableIndex(Index, Protocol):
    """An index that can be searched."""

    async def newest(
        self,
        cursor: str | None = None,
        limit: int = 100,
        *,
        since: int | None = None,
        until: int | None = None,
        streams: Collection[str] | None = None,
    ) -> IndexPage:
        """Held events by append time, then position, newest first. A cursor is `cursor_after` of the last event seen.
        Raises ValueError where it is none."""

    async def all_at(self, positions: Sequence[Position]) -> list[Node | None]:
        """What `at` says of some positions."""


class SearchPage(Struct):
    """One page of a search."""

    events: list[models.EventModel] = []
    cursor: str | None = None
    note: str | None = None
    """Where the search ended early."""
    looked: int = 0
    """Payloads that were read."""
    size: int = 0
    """Their bytes."""


class EventSearch:
    """Searches the index and what just passed. What is redacted cannot be found by searching for it."""

    def __init__(self, index: SearchableIndex, payloads: PayloadReader, rendering: EventMapper) -> None:
        self._index, self._payloads, self._rendering = index, payloads, rendering

    async def newest(self, query: Query, limit: int, cursor: str | None, *, full: bool) -> SearchPage:
        """Held events that match, newest first. Raises QueryError where the cursor is none."""
        narrow, found, started = metadata_part(query), SearchPage(cursor=cursor), time.monotonic()
        while True:
            page = await self._page(query, found.cursor, limit, full=full)
            candidates = [node for node in page.nodes if narrow.matches(self._seen(node))]
            found.cursor = page.cursor
            await self._take(candidates, query, limit, found, full=full)
            if found.cursor is None or len(found.events) >= limit or found.size >= MOST_BYTES:
                return found
            if found.looked >= MOST_PAYLOADS or time.monotonic() - started > MOST_SECONDS:
                found.note = (
                    "The search stopped before its end: the next page goes on from there, and stream:, type: or since: "
                    "narrow it."
                )
                return found

    async def _page(self, query: Query, cursor: str | None, limit: int, *, full: bool) -> IndexPage:
        """The next events that may match."""
        looked_up = await self._looked_up(query)
        if looked_up is not None:
            before = None if cursor is None else moment_of(cursor)
            return IndexPage([node for node in looked_up if before is None or _moment(node.event) < before], None)
        step = min(limit, MOST_LOOKED_UP) if not str(query) else STEP
        if query.needs_payload or full:
            step = min(step, PAYLOAD_STEP)
        try:
            return await self._index.newest(cursor, step, since=query.since, until=query.until, streams=query.streams)
        except ValueError:
            raise no_cursor(cursor or "") from None

    async def _looked_up(self, query: Query) -> list[Node] | None:
        """All held events that can match, where the query names an id of theirs."""
        for field in LOOKED_UP:
            ids = query.pinned(field)
            if ids is not None and len(ids) == 1:
                nodes = await self._index.lookup(next(iter(ids)))
                if len(nodes) < MOST_LOOKED_UP:
                    return sorted(nodes, key=lambda node: _moment(node.event), reverse=True)
        return None

    async def _take(self, nodes: Sequence[Node], query: Query, limit: int, found: SearchPage, *, full: bool) -> None:
        """Adds what matches, as long as there is room."""
        for start in range(0, len(nodes), PAYLOAD_STEP):
            part = nodes[start : start + PAYLOAD_STEP]
            payloads: Sequence[ReadPayload | None] = [None] * len(part)
            if query.needs_payload or full:
                payloads = await self._payloads.all([node.event.position for node in part])
                found.looked += len(part)
            for node, payload in zip(part, payloads, strict=True):
                if not self._matches(query, node, payload):
                    continue
                found.events.append(self._rendering.event(node, payload if full else None))
                found.size += _size(payload) if full else 0
                if len(found.events) == limit or found.size >= MOST_BYTES:
                    if node is not nodes[-1] or found.cursor is not None:
                        found.cursor = cursor_after(node.event)
                    return
            await asyncio.sleep(0)

    def _matches(self, query: Query, node: Node, payload: ReadPayload | None) -> bool:
        if not query.needs_payload:
            return True  # the metadata was all there is to ask
        return payload is not None and payload.decoded is not None and self._fits(query, node, payload.decoded)

    def _fits(self, query: Query, node: Node, decoded: Decoded) -> bool:
        rendering = self._rendering
        body = rendering.body_of(decoded) if query.needs_body else None
        return query.matches(self._seen(node), rendering.headers_of(decoded), body)

    async def fits(self, decoded: Decoded, query: Query) -> bool:
        """Whether an event just read matches, as it stands in the index, or alone where it does not hold it."""
        return self._fits(query, await self._index.at(decoded.event.position) or alone(decoded.event), decoded)

    async def chosen(self, decoded: Sequence[Decoded], query: Query, *, full: bool = False) -> list[models.EventModel]:
        """Those of the events just read that match, as they stand in the index, or alone where it does not hold
        them."""
        events: list[models.EventModel] = []
        held: Sequence[Node | None] = [None] * len(decoded)
        with contextlib.suppress(Outage):  # what passes can be shown without an index
            held = await self._index.all_at([one.event.position for one in decoded])
        for one, found in zip(decoded, held, strict=True):
            node = found or alone(one.event)
            if self._fits(query, node, one):
                events.append(self._rendering.event(node, ReadPayload(one) if full else None))
        await asyncio.sleep(0)
        return events

    def _seen(self, node: Node) -> Node:
        """The node as it may be seen."""
        redactor = self._rendering.redactor
        return replace(node, event=redactor.event(node.event)) if redactor.hidden_words else node


def _size(payload: ReadPayload | None) -> int:
    return 0 if payload is None or payload.decoded is None else len(payload.decoded.record.value or b"")


def _moment(event: Event) -> tuple[int, Position]:
    return event.appended_at, event.position


def cursor_after(event: Event) -> str:
    """Where to go on below an event: `MILLISECONDS@POSITION`."""
    return f"{event.appended_at}@{event.position}"


def moment_of(cursor: str) -> tuple[int, Position]:
    """What `cursor_after` wrote. Raises QueryError for any other text."""
    time, _, position = cursor.partition("@")
    try:
        return int(time), Position.parse(position)
    except ValueError:
        raise no_cursor(cursor) from None


def no_cursor(cursor: str) -> QueryError:
    return QueryError("not a cursor of this list: give back the one that the page before brought", cursor, 0)


def alone(event: Event) -> Node:
    """An event that no index holds: without duplicates, parents and flow."""
    if event.rejection is not None:
        status = "rejected"
    elif event.replay_of is not None:
        status = "replayed"
    else:
        status = "unchecked" if event.unchecked else "ok"
    return Node(event, status, trace_id_of(event, lambda id: None, {}), None, False, 0)


def metadata_part(query: Query) -> Query:
    """What a query asks of metadata alone: everything that matches the query matches this too."""
    expression = query.expression
    items = expression.items if isinstance(expression, And) else (expression,)
    return parse(write(And(tuple(item for item in items if not _asks_payload(item)))))


def _asks_payload(expression: Expression) -> bool:
    match expression:
        case Term(field=field):
            return field in ("header", "body")
        case Not(item=item):
            return _asks_payload(item)
        case And(items=items) | Or(items=items):
            return any(map(_asks_payload, items))
