"""Reads held events, newest first, and the payloads of a sample of them: for the linter and the catalog."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence

from msgspec.structs import replace

from sidecar.api.mappers.events import EventMapper
from sidecar.api.services.payloads import PayloadReader
from sidecar.api.services.search import EVENTS_PER_STEP, SearchableIndex
from sidecar.domain.errors import Outage, QueryError, Refused
from sidecar.domain.model import Decoded, Record
from sidecar.domain.ports.index import Flow, Node
from sidecar.query import Query, parse

MAX_SAMPLED_EVENTS = 200_000
SAMPLES_PER_SIDE = 12
"""Payloads of each type that are read of its newest events, and of its oldest."""
MAX_SAMPLED_PAYLOADS = 600
FLOWS_PER_STEP = 50
IDENTIFYING_FIELDS = (
    "event_id", "aggregate_id", "correlation_id", "causation_id", "type", "producer", "version",
)  # fmt: skip


class EventSampler:
    """Reads events from the index and payloads from the brokers. What it gives is redacted."""

    def __init__(self, index: SearchableIndex, payloads: PayloadReader, mapper: EventMapper) -> None:
        self._index, self._payloads, self._mapper = index, payloads, mapper

    async def events(self, query: Query, max_events: int = MAX_SAMPLED_EVENTS) -> AsyncIterator[list[Node]]:
        """Yield events that match, newest first, in lists of at most 500. Raises Outage and Refused."""
        cursor, seen = None, 0
        while seen < max_events:
            step = min(EVENTS_PER_STEP, max_events - seen)
            page = await self._index.newest(cursor, step, since=query.since, until=query.until, streams=query.streams)
            nodes = [node for node in map(self.redact, page.nodes) if query.matches(node)]
            seen += len(nodes)
            yield nodes
            cursor = page.cursor
            if cursor is None:
                return
            await asyncio.sleep(0)

    async def flows(self, max_flows: int) -> AsyncIterator[Flow]:
        """Yield the newest flows, their events redacted. Raises Outage and Refused."""
        cursor, seen = None, 0
        while seen < max_flows:
            flows, cursor = await self._index.flows(min(FLOWS_PER_STEP, max_flows - seen), cursor)
            for flow in flows:
                yield replace(flow, nodes=list(map(self.redact, flow.nodes)))
            seen += len(flows)
            if cursor is None:
                return
            await asyncio.sleep(0)

    def headers(self, decoded: Decoded) -> dict[str, str]:
        """Return the redacted headers of a record as text, names in lower case; of a repeated name the last value."""
        return {
            name.lower(): value.decode("utf-8", "replace")
            for name, value in self._mapper.headers_of(decoded)
            if value is not None
        }

    def hides(self, field: str) -> bool:
        """Return True if a field of events is redacted."""
        return field in self._mapper.redactor.hidden_words

    def redact(self, node: Node) -> Node:
        """Return the node with a redacted event that lacks its hidden fields, so that none is taken for an id."""
        redactor = self._mapper.redactor
        if not redactor.active:
            return node
        hidden = {word: None for word in IDENTIFYING_FIELDS if word in redactor.hidden_words}
        event = redactor.event(node.event)
        return replace(node, event=replace(event, **hidden) if hidden else event)

    async def payloads(self, nodes: Sequence[Node]) -> AsyncIterator[tuple[Node, Decoded]]:
        """Yield the events whose records can be read back. Ends early if a broker does not answer."""
        payloads = self._payloads.each([node.event.position for node in nodes])
        for node in nodes:
            try:
                payload = await anext(payloads)
            except (Outage, Refused):
                return
            if payload.decoded is not None:
                yield node, payload.decoded
                await asyncio.sleep(0)


class SampleChoice:
    """Chooses the events whose payloads are read: of each stream and type the newest and the oldest."""

    def __init__(self) -> None:
        self._newest: dict[tuple[str, str | None, bool], list[Node]] = {}
        self._oldest: dict[tuple[str, str | None, bool], deque[Node]] = {}

    def offer(self, nodes: Iterable[Node]) -> None:
        """Take in events, newest first."""
        for node in nodes:
            event = node.event
            kind = event.position.stream, event.type, event.rejection is not None
            newest = self._newest.setdefault(kind, [])
            if len(newest) < SAMPLES_PER_SIDE:
                newest.append(node)
            else:
                self._oldest.setdefault(kind, deque(maxlen=SAMPLES_PER_SIDE)).append(node)

    def nodes(self) -> list[Node]:
        """Return the chosen events, a few of each kind before many of one."""
        kinds = [[*nodes, *self._oldest.get(kind, ())] for kind, nodes in self._newest.items()]
        per_kind = max(2, min(2 * SAMPLES_PER_SIDE, MAX_SAMPLED_PAYLOADS // max(1, len(kinds))))
        half = per_kind // 2
        chosen = [nodes if len(nodes) <= per_kind else [*nodes[:half], *nodes[-half:]] for nodes in kinds]
        return [node for nodes in chosen for node in nodes][:MAX_SAMPLED_PAYLOADS]


def parse_metadata_query(text: str) -> Query:
    """Parse a query without conditions on payloads. Raises QueryError."""
    query = parse(text)
    if query.needs_payload:
        raise QueryError("leave out conditions on body. and header.: only metadata is compared here", text, 0)
    return query


def value_size(record: Record) -> int:
    """Return the bytes of a record's value; of an entry whose fields are the body, those of its fields."""
    if record.value is not None:
        return len(record.value)
    return sum(len(name) + len(value or b"") for name, value in record.headers)
