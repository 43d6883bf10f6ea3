"""Queries of users and clients, answered from the shared index."""

from __future__ import annotations

import heapq
import re
from collections.abc import Collection, Sequence

from sidecar.adapters.index.memory.newest_first import cursor_of, moment_of
from sidecar.adapters.index.redis.fetcher import Name
from sidecar.adapters.index.redis.flow_assembly import assemble_flows
from sidecar.adapters.index.redis.flow_closure import FlowReader
from sidecar.adapters.index.redis.key_layout import PartitionKey, id_hash, offset_bytes, trace_hash, word_hash
from sidecar.adapters.index.redis.newest_first import newest
from sidecar.adapters.index.redis.shards import ShardClients
from sidecar.adapters.index.redis.trace_lookup import of_trace, once
from sidecar.adapters.index.redis.writer import IndexWriter
from sidecar.domain.correlation.event_order import append_moment, moment
from sidecar.domain.event_bounds import bound_text
from sidecar.domain.event_keys import carried_id
from sidecar.domain.model import Event
from sidecar.domain.ports.history import HistoryKey
from sidecar.domain.ports.index import Flow, IndexPage, Node
from sidecar.domain.position import Position

MAX_FOUND_EVENTS = 1_000
CANDIDATES_PER_STEP = 100
"""Events whose flows are completed together."""
KINDS = ("trace", "event", "position", "aggregate", "correlation")
"""Kinds of ids, in the order in which they are tried."""
_TRACE_ID = re.compile(r"[0-9a-fA-F]{16}|[0-9a-fA-F]{32}")


class IndexQueries:
    """The read side of `ports.Index`. A query first waits until earlier events of this member are written."""

    def __init__(
        self, shards: ShardClients, writer: IndexWriter, *, join: Collection[str], max_flow: int, patience: float
    ) -> None:
        """Create the queries; each waits up to `patience` seconds for earlier events."""
        self.shards, self.writer = shards, writer
        self._join, self._max_flow, self._patience = frozenset(join), max_flow, patience
        self._logs: dict[bytes, PartitionKey] = {}
        self._crowded: dict[Name, None] = {}
        """Sets with more members than are read."""

    async def wait_until_written(self) -> None:
        """Wait until all events added so far are written, or the server is known to be down."""
        await self.writer.wait_until_written(self._patience)

    async def at(self, position: Position) -> Node | None:
        """Return the event at a position, without its place in its flow: `parent` is None and `depth` 0."""
        reading = await self._reading()
        event = await self._at(reading, position)
        if event is None:
            return None
        await reading.know([event])
        return reading.node(event)

    async def all_at(self, positions: Sequence[Position]) -> list[Node | None]:
        """Return the events at some positions, looked up together."""
        reading = await self._reading()
        places = [self._place(position) for position in positions]
        await reading.events(place for place in places if place is not None)
        events = [None if place is None else reading.event(place) for place in places]
        await reading.know([event for event in events if event is not None])
        return [None if event is None else reading.node(event) for event in events]

    async def lookup(self, id: str) -> list[Node]:
        """Return the events that have an id, without their places in their flows."""
        reading = await self._reading()
        by_position: dict[Position, Event] = {}
        for kind in KINDS:
            by_position |= {event.position: event for event in await self._matches(reading, kind, bound_text(id))}
        latest = heapq.nlargest(MAX_FOUND_EVENTS, by_position.values(), key=append_moment)
        await reading.know(latest)
        return [reading.node(event) for event in latest]

    async def flow(self, id: str) -> Flow | None:
        """Return the flow of an id; of several flows, that of the latest event with the id."""
        reading = await self._reading()
        for kind in KINDS:
            matches = await self._matches(reading, kind, bound_text(id))
            if matches:
                closed = await reading.closure([max(matches, key=append_moment)])
                (flow,) = await assemble_flows(reading, closed, closed.flows)
                return flow
        return None

    async def flows(self, limit: int, cursor: str | None = None) -> tuple[list[Flow], str | None]:
        """Return a page of flows, latest first. Raises ValueError for an invalid cursor."""
        before = None if cursor is None else moment_of(cursor)
        reading = await self._reading()
        flows: list[Flow] = []
        seen: set[Position] = set()
        last: Event | None = None
        async for some in newest(reading, self.shards, before):
            for start in range(0, len(some), CANDIDATES_PER_STEP):
                part = [event for event in some[start : start + CANDIDATES_PER_STEP] if event.position not in seen]
                closed = await reading.closure(part)
                by_latest = {max(flow, key=append_moment).position: flow for flow in closed.flows}
                seen.update(event.position for flow in closed.flows for event in flow)
                # Those whose latest event is not here were shown on an earlier page, under it.
                fresh = [event for event in part if event.position in by_latest]
                room = limit - len(flows)
                flows += await assemble_flows(reading, closed, [by_latest[event.position] for event in fresh[:room]])
                if len(fresh) > room:
                    last = fresh[room - 1] if room else last
                    return flows, cursor_of(last) if last is not None else cursor
                last = fresh[-1] if fresh else last
        return flows, None

    async def aggregate(self, id: str, limit: int = 1000) -> list[Node]:
        """Return the latest `limit` events of an aggregate, without their places in their flows."""
        reading = await self._reading()
        latest = heapq.nlargest(limit, await self._matches(reading, "aggregate", bound_text(id)), key=moment)
        await reading.know(latest)
        return [reading.node(event) for event in latest[::-1]]

    async def newest(
        self,
        cursor: str | None = None,
        limit: int = 100,
        *,
        since: int | None = None,
        until: int | None = None,
        streams: Collection[str] | None = None,
    ) -> IndexPage:
        """Return a page of events by append time, then position, newest first, without their places in their flows.

        They were appended at `since` or later and before `until` (milliseconds), on these streams. Raises ValueError
        for an invalid cursor.
        """
        before = None if cursor is None else moment_of(cursor)
        reading = await self._reading()
        events: list[Event] = []
        async for some in newest(reading, self.shards, before, since=since, until=until, streams=streams):
            events += some
            if len(events) > limit:
                break
        page = events[:limit]
        await reading.know(page)
        following = (cursor_of(page[-1]) if page else cursor) if len(events) > limit else None
        return IndexPage([reading.node(event) for event in page], following)

    async def find_carriers(self, keys: Sequence[HistoryKey], limit: int) -> list[Event]:
        """Return the events that carry one of these ids themselves; of a crowded id, a sample."""
        reading = await self._reading()
        names = {key: name for key in keys if (name := _name_of(key)) is not None}
        carriers: dict[Position, Event] = {}
        await reading.fetch(*names.values())
        for key, name in names.items():
            for event in reading.under(name):
                if carried_id(event, key.word) == key.value:
                    carriers[event.position] = event
        return list(carriers.values())

    async def find_consumption(self, producers: Collection[str]) -> dict[str, set[tuple[str, str]]]:
        """Return the streams that each producer consumes."""
        return await (await self._reading()).consumption(producers)

    async def _reading(self) -> FlowReader:
        await self.wait_until_written()
        return FlowReader(self.shards, self._join, self._max_flow, self._logs, self._crowded)

    async def _at(self, reading: FlowReader, position: Position) -> Event | None:
        place = self._place(position)
        if place is None:
            return None
        await reading.events([place])
        return reading.event(place)

    def _place(self, position: Position) -> bytes | None:
        """Return the place of an event; None for impossible offsets."""
        log = self.writer.packer.log(position.system, position.stream, position.partition)
        self._logs.setdefault(log.name, log)
        try:
            return log.name + offset_bytes(position.offset, two_words=log.two_words)
        except OverflowError:
            return None

    async def _matches(self, reading: FlowReader, kind: str, id: str) -> list[Event]:
        """Find the events that have `id` as this kind of id."""
        if kind == "trace":
            return await of_trace(reading, int(id, 16)) if _TRACE_ID.fullmatch(id) else []
        if kind == "position":
            try:
                event = await self._at(reading, Position.parse(id))
            except ValueError:
                return []
            return [] if event is None else [event]
        name: Name = {
            "event": (b"i", id_hash(id)),
            "aggregate": (b"a", word_hash(id)),
            "correlation": (b"k", id_hash(id)),
        }[kind]
        await reading.fetch(name)
        return once(event for event in reading.under(name) if _has(event, kind) == id)


def _has(event: Event, kind: str) -> str | None:
    if kind == "event":
        return event.event_id
    return event.aggregate_id if kind == "aggregate" else event.correlation_id


def _name_of(key: HistoryKey) -> Name | None:
    """Return the set that holds the events with an id."""
    match key.word:
        case "event_id" | "causation_id":
            return b"i", id_hash(key.value)
        case "trace_id":
            return b"t", trace_hash(int(key.value, 16).to_bytes(16, "big"))
        case "aggregate_id":
            return b"a", word_hash(key.value)
        case "correlation_id":
            return b"k", id_hash(key.value)
    return None
