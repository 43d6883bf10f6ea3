"""Search for events: by the metadata in the index, and by payloads, which are read back within bounds."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from sidecar.api import models
from sidecar.api.mappers.events import EventMapper
from sidecar.api.mappers.payload import ReadPayload
from sidecar.api.services.payloads import PayloadReader
from sidecar.domain.correlation.derived_trace_id import trace_id_of
from sidecar.domain.errors import Outage, QueryError
from sidecar.domain.large_records import run_for_record
from sidecar.domain.model import Decoded, Event, Headers, Record
from sidecar.domain.ports.index import IndexPage, IndexReader, Node
from sidecar.domain.position import Position
from sidecar.query import Query, parse
from sidecar.query.ast import And, Expression, Not, Or, Term, write

EVENTS_PER_STEP, PAYLOADS_PER_STEP = 500, 64
"""Events, and payloads, to read before the search checks whether the page is full."""
MAX_PAYLOADS_PER_SEARCH = 5_000
SEARCH_TIMEOUT_S = 10.0
EVENTS_PER_LOOKUP = 100
"""Events to look up in the index at once: a few milliseconds of work."""
STEP_S = 0.005
"""Seconds of work after which a search yields to other tasks of the event loop."""
MAX_PAGE_BYTES = 4 << 20
"""Bytes of payloads on one page. A page that reaches this limit ends early."""
MAX_LOOKUP_EVENTS = 1_000
"""Upper bound of `Index.lookup`; a shorter result is complete."""
ID_FIELDS = ("event", "trace", "correlation", "aggregate")
"""Fields that the index looks up directly."""


class SearchableIndex(IndexReader, Protocol):
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
        """Return events by append time, then position, newest first.

        A cursor is `cursor_after` of the last event on the previous page. Raises ValueError for any other text.
        """

    async def all_at(self, positions: Sequence[Position]) -> list[Node | None]:
        """Return the result of `at` for each of these positions."""


class SearchPage(Struct):
    """One page of search results."""

    events: list[models.EventModel] = []
    cursor: str | None = None
    note: str | None = None
    """A sentence, set if the search ended early."""
    payloads_read: int = 0
    payload_bytes: int = 0


class EventSearch:
    """Searches the index, and events just processed. Queries see only redacted events."""

    def __init__(self, index: SearchableIndex, payloads: PayloadReader, mapper: EventMapper) -> None:
        self._index, self._payloads, self._mapper = index, payloads, mapper

    async def newest(self, query: Query, limit: int, cursor: str | None, *, full: bool) -> SearchPage:
        """Return matching events in the index, newest first. Raises QueryError for an invalid cursor."""
        metadata, result, started = metadata_part(query), SearchPage(cursor=cursor), time.monotonic()
        while True:
            page = await self._candidates(query, result.cursor, limit, full=full)
            candidates = [node for node in page.nodes if metadata.matches(self._redact(node))]
            result.cursor = page.cursor
            await self._add_matches(candidates, query, limit, result, full=full)
            if result.cursor is None or len(result.events) >= limit or result.payload_bytes >= MAX_PAGE_BYTES:
                return result
            if result.payloads_read >= MAX_PAYLOADS_PER_SEARCH or time.monotonic() - started > SEARCH_TIMEOUT_S:
                result.note = (
                    "The search stopped before its end: the next page continues there. Narrow the query with stream:, "
                    "type: or since:."
                )
                return result

    async def _candidates(self, query: Query, cursor: str | None, limit: int, *, full: bool) -> IndexPage:
        """Return the next events that may match."""
        nodes = await self._looked_up(query)
        if nodes is not None:
            before = None if cursor is None else parse_cursor(cursor)
            return IndexPage([node for node in nodes if before is None or _sort_key(node.event) < before], None)
        step = min(limit, MAX_LOOKUP_EVENTS) if not str(query) else EVENTS_PER_STEP
        if query.needs_payload or full:
            step = min(step, PAYLOADS_PER_STEP)
        try:
            return await self._index.newest(cursor, step, since=query.since, until=query.until, streams=query.streams)
        except ValueError:
            raise invalid_cursor(cursor or "") from None

    async def _looked_up(self, query: Query) -> list[Node] | None:
        """Return all held events that can match if the query names one of their ids, else None."""
        for field in ID_FIELDS:
            ids = query.list_required_values(field)
            if ids is not None and len(ids) == 1:
                nodes = await self._index.lookup(next(iter(ids)))
                if len(nodes) < MAX_LOOKUP_EVENTS:
                    return sorted(nodes, key=lambda node: _sort_key(node.event), reverse=True)
        return None

    async def _add_matches(
        self, nodes: Sequence[Node], query: Query, limit: int, result: SearchPage, *, full: bool
    ) -> None:
        """Add matching events to `result` until the page is full."""
        for start in range(0, len(nodes), PAYLOADS_PER_STEP):
            part = nodes[start : start + PAYLOADS_PER_STEP]
            reads = query.needs_payload or full
            payloads = self._payloads.each([node.event.position for node in part] if reads else [])
            for node in part:
                payload = await anext(payloads) if reads else None
                result.payloads_read += int(reads)
                if not await self._matches(query, node, payload):
                    continue
                shown, record = payload if full else None, None if payload is None else payload.record
                result.events.append(await run_for_record(record, self._mapper.event, node, shown))
                result.payload_bytes += _value_size(shown)
                if len(result.events) == limit or result.payload_bytes >= MAX_PAGE_BYTES:
                    if node is not nodes[-1] or result.cursor is not None:
                        result.cursor = cursor_after(node.event)
                    return
            await asyncio.sleep(0)

    async def _matches(self, query: Query, node: Node, payload: ReadPayload | None) -> bool:
        if not query.needs_payload:
            return True  # the metadata was compared already
        if payload is None or payload.decoded is None:
            return False
        return await run_for_record(payload.record, self._fits, query, node, payload.decoded)

    def _fits(self, query: Query, node: Node, decoded: Decoded) -> bool:
        return query.matches(self._redact(node), *self._payload_of(query, decoded))

    async def fits(self, decoded: Decoded, query: Query) -> bool:
        """Check whether one event matches, with its node from the index."""
        node = await self._index.at(decoded.event.position)
        return await run_for_record(decoded.record, self._fits, query, node or unindexed_node(decoded.event), decoded)

    async def matching(
        self, decoded: Sequence[Decoded], query: Query, *, full: bool = False
    ) -> list[models.EventModel]:
        """Return the matching events, with their nodes from the index."""
        events: list[models.EventModel] = []
        candidates = [each async for each in self._candidates_among(decoded, query)]
        for start in range(0, len(candidates), EVENTS_PER_LOOKUP):
            part = candidates[start : start + EVENTS_PER_LOOKUP]
            nodes: Sequence[Node | None] = [None] * len(part)
            with contextlib.suppress(Outage):  # live events can be shown without an index
                nodes = await self._index.all_at([each.event.position for each in part])
            for each, held in zip(part, nodes, strict=True):
                node = held or unindexed_node(each.event)
                if await run_for_record(each.record, self._fits, query, node, each):
                    payload = ReadPayload(each) if full else None
                    events.append(await run_for_record(each.record, self._mapper.event, node, payload))
            await asyncio.sleep(0)
        return events

    async def _candidates_among(self, decoded: Sequence[Decoded], query: Query) -> AsyncIterator[Decoded]:
        """Yield the events that are not excluded without the index, with pauses."""
        until = time.perf_counter() + STEP_S
        for each in decoded:
            event = self._redact_event(each.event)
            if query.possible_decoded(event) and (
                not query.needs_payload or await run_for_record(each.record, self._may_fit, query, event, each)
            ):
                yield each
            if time.perf_counter() > until:
                await asyncio.sleep(0)
                until = time.perf_counter() + STEP_S

    def _may_fit(self, query: Query, event: Event, decoded: Decoded) -> bool:
        return query.possible_payload(event, *self._payload_of(query, decoded))

    def _payload_of(self, query: Query, decoded: Decoded) -> tuple[Headers | None, object]:
        """Return the headers and the body of an event, where the query looks at them."""
        headers = self._mapper.headers_of(decoded) if query.needs_headers else None
        return headers, self._mapper.body_of(decoded) if query.needs_body else None

    def build_record_filter(self, query: Query) -> Callable[[Record], bool] | None:
        """Build a test whether a record can match, by its headers, before it is decoded; None if all can."""
        if not query.needs_headers:
            return None
        redactor = self._mapper.redactor
        return lambda record: query.possible_headers(redactor.headers(record.headers, flat=record.value is None))

    def _redact(self, node: Node) -> Node:
        return replace(node, event=self._redact_event(node.event)) if self._mapper.redactor.hidden_words else node

    def _redact_event(self, event: Event) -> Event:
        redactor = self._mapper.redactor
        return redactor.event(event) if redactor.hidden_words else event


def _value_size(payload: ReadPayload | None) -> int:
    return 0 if payload is None or payload.decoded is None else len(payload.decoded.record.value or b"")


def _sort_key(event: Event) -> tuple[int, Position]:
    return event.appended_at, event.position


def cursor_after(event: Event) -> str:
    """Return the cursor of the page that follows an event: `MILLISECONDS@POSITION`."""
    return f"{event.appended_at}@{event.position}"


def parse_cursor(cursor: str) -> tuple[int, Position]:
    """Parse a cursor that `cursor_after` returned. Raises QueryError for any other text."""
    time, _, position = cursor.partition("@")
    try:
        return int(time), Position.parse(position)
    except ValueError:
        raise invalid_cursor(cursor) from None


def invalid_cursor(cursor: str) -> QueryError:
    """Build the error for a text that is not a cursor."""
    return QueryError("invalid cursor: pass the `cursor` value of the previous page unchanged", cursor, 0)


def unindexed_node(event: Event) -> Node:
    """Build a node for an event that is not in the index, without duplicates, parents and flow."""
    if event.rejection is not None:
        status = "rejected"
    elif event.replay_of is not None:
        status = "replayed"
    else:
        status = "unchecked" if event.unchecked else "ok"
    return Node(event, status, trace_id_of(event, lambda id: None, {}), None, False, 0, source="broker")


def metadata_part(query: Query) -> Query:
    """Return the part of a query that needs no payload. Every match of the query also matches this part."""
    expression = query.expression
    items = expression.items if isinstance(expression, And) else (expression,)
    return parse(write(And(tuple(item for item in items if not _needs_payload(item)))))


def _needs_payload(expression: Expression) -> bool:
    match expression:
        case Term(field=field):
            return field in ("header", "body")
        case Not(item=item):
            return _needs_payload(item)
        case And(items=items) | Or(items=items):
            return any(map(_needs_payload, items))
