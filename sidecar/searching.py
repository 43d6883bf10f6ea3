"""Events that match a query: by what the index holds of them, and by their payloads, read back in bounds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from sidecar.api import models
from sidecar.api.rendering import Rendering
from sidecar.correlation.derived import trace_id_of
from sidecar.model import Decoded, Event
from sidecar.payloads import Payload, Payloads
from sidecar.ports import Index, Node, Page
from sidecar.query import Query, parse
from sidecar.query.expression import And, Expression, Not, Or, Term, write

STEP = 64
"""Payloads that are read before it is looked whether there are enough."""
MOST_PAYLOADS = 5_000
"""Payloads that one answer looks into."""
MOST_SECONDS = 10.0
MOST_BYTES = 4 << 20
"""Bytes of payloads on one page; a page that is full ends early."""


class Searchable(Index, Protocol):
    """An index that can be searched."""

    async def newest(
        self,
        wanted: Callable[[Node], bool] | None,
        limit: int,
        cursor: str | None = None,
        *,
        since: int | None = None,
        until: int | None = None,
    ) -> Page:
        """Held events that are wanted, newest first."""


class Matching(Struct):
    """One page of a search."""

    events: list[models.Event] = []
    cursor: str | None = None
    note: str | None = None
    """Where the search ended early."""
    looked: int = 0
    """Payloads that were read."""
    size: int = 0
    """Their bytes."""


class Search:
    """Searches the index and what just passed. What is redacted cannot be found by searching for it."""

    def __init__(self, index: Searchable, payloads: Payloads, rendering: Rendering) -> None:
        self._index, self._payloads, self._rendering = index, payloads, rendering

    async def newest(self, query: Query, limit: int, cursor: str | None, *, full: bool) -> Matching:
        """Held events that match, newest first."""
        if query.needs_payload or full:
            return await self._with_payloads(query, limit, cursor, full=full)
        page = await self._page(query, limit, cursor)
        return Matching([self._rendering.event(node) for node in page.nodes], page.cursor)

    async def _page(self, query: Query, limit: int, cursor: str | None) -> Page:
        wanted = None if not str(query) else lambda node: query.matches(self._seen(node))
        return await self._index.newest(wanted, limit, cursor, since=query.since, until=query.until)

    async def _with_payloads(self, query: Query, limit: int, cursor: str | None, *, full: bool) -> Matching:
        narrow, found, started = metadata_part(query), Matching(cursor=cursor), time.monotonic()
        while len(found.events) < limit:
            # From the top, where new events arrive, no more is asked for than can be shown: every later page begins at
            # a cursor, and can be cut anywhere.
            step = min(STEP, limit - len(found.events)) if found.cursor is None else STEP
            page = await self._page(narrow, step, found.cursor)
            consumed = await self._take(page, query, limit, found, full=full)
            if consumed < len(page.nodes):
                page = await self._page(narrow, consumed, found.cursor)
            found.cursor = page.cursor
            if page.cursor is None:
                break
            if found.size >= MOST_BYTES:
                break
            if found.looked >= MOST_PAYLOADS or time.monotonic() - started > MOST_SECONDS:
                found.note = (
                    f"The payloads of {found.looked} events were looked into: the next page goes on from there, and "
                    "stream:, type: or since: narrow the search."
                )
                break
        return found

    async def _take(self, page: Page, query: Query, limit: int, found: Matching, *, full: bool) -> int:
        """Adds what matches. Returns how many of the page's events were used up."""
        payloads = await self._payloads.all([node.event.position for node in page.nodes])
        found.looked += len(payloads)
        for consumed, (node, payload) in enumerate(zip(page.nodes, payloads, strict=True)):
            if len(found.events) == limit:
                return consumed
            if self._matches(query, node, payload):
                found.events.append(self._rendering.event(node, payload if full else None))
                found.size += _size(payload) if full else 0
        return len(page.nodes)

    def _matches(self, query: Query, node: Node, payload: Payload) -> bool:
        if not query.needs_payload:
            return query.matches(self._seen(node))
        if payload.decoded is None:
            return False
        return self._matches_decoded(query, node, payload.decoded)

    def _matches_decoded(self, query: Query, node: Node, decoded: Decoded) -> bool:
        rendering = self._rendering
        body = rendering.body_of(decoded) if query.needs_body else None
        return query.matches(self._seen(node), rendering.headers_of(decoded), body)

    async def chosen(self, decoded: Sequence[Decoded], query: Query, *, full: bool = False) -> list[models.Event]:
        """Those of the events just read that match, as they stand in the index, or alone where it does not hold
        them."""
        events: list[models.Event] = []
        for one in decoded:
            node = await self._index.at(one.event.position) or alone(one.event)
            if self._matches_decoded(query, node, one):
                events.append(self._rendering.event(node, Payload(one) if full else None))
        await asyncio.sleep(0)
        return events

    def _seen(self, node: Node) -> Node:
        """The node as it may be seen."""
        redactor = self._rendering.redactor
        return replace(node, event=redactor.event(node.event)) if redactor.hidden_words else node


def _size(payload: Payload) -> int:
    return 0 if payload.decoded is None else len(payload.decoded.record.value or b"")


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
