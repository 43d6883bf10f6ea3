"""Read model of a sidecar with a history: answers a query over the index and the history.

Lists answer from the index at once, as long as it holds everything that belongs on the page; older pages come from
both. Questions about an id always look into both places.
"""

from __future__ import annotations

import heapq
import re
import time
from collections.abc import Collection, Sequence

from msgspec.structs import replace

from sidecar.api.services.picture.flow_builder import GatheredFlow, build_gathered_flows
from sidecar.api.services.picture.gatherer import EventGatherer
from sidecar.api.services.search import SearchableIndex, cursor_after, parse_cursor
from sidecar.domain.correlation.event_order import Moment, append_moment, moment
from sidecar.domain.errors import QueryError
from sidecar.domain.event_keys import format_trace_id
from sidecar.domain.model import Event
from sidecar.domain.ports.history import History, HistoryCoverage, HistoryKey, HistorySelection, HistoryWord
from sidecar.domain.ports.index import Coverage, Flow, IndexPage, Node
from sidecar.domain.position import Position

MAX_FOUND_EVENTS = 1_000
COVERAGE_AGE_S = 5.0
"""Age up to which the coverage of the history is not asked for again."""
FLOWS_PER_STEP = 50
_TRACE_ID = re.compile(r"[0-9a-fA-F]{16}|[0-9a-fA-F]{32}")
_FLOW_KINDS: tuple[HistoryWord, ...] = ("trace_id", "event_id", "aggregate_id", "correlation_id")


class EventPicture:
    """Index and history as one. Implements `SearchableIndex`; every method may raise Outage and Refused."""

    def __init__(self, index: SearchableIndex, history: History, join: Collection[str], max_flow: int) -> None:
        self._index, self._history = index, history
        self._join, self._max_flow = frozenset(join), max_flow
        self._extent: HistoryCoverage | None = None
        self._extent_at = -COVERAGE_AGE_S

    # --- single events

    async def at(self, position: Position) -> Node | None:
        """Return the event at a position, without its place in its flow."""
        gatherer = self.build_gatherer()
        await gatherer.fetch_positions([position])
        event = gatherer.events.get(position)
        if event is None:
            return None
        await gatherer.learn([event])
        return gatherer.node(event)

    async def all_at(self, positions: Sequence[Position]) -> list[Node | None]:
        """Return the events at some positions, as far as the index holds them: it is asked for live events."""
        return await self._index.all_at(positions)

    async def lookup(self, id: str) -> list[Node]:
        """Return the events with an id, newest first, without their places in their flows."""
        gatherer = self.build_gatherer()
        carriers: dict[Position, Event] = {}
        for events in (await self._find_by_kind(gatherer, id)).values():
            carriers.update({event.position: event for event in events})
        latest = heapq.nlargest(MAX_FOUND_EVENTS, carriers.values(), key=append_moment)
        await gatherer.learn(latest)
        return [gatherer.node(event) for event in latest]

    async def aggregate(self, id: str, limit: int = 1000) -> list[Node]:
        """Return the latest `limit` events of an aggregate, by occurred time, then position."""
        gatherer = self.build_gatherer()
        await gatherer.fetch([HistoryKey("aggregate_id", id)], max(limit, MAX_FOUND_EVENTS))
        latest = heapq.nlargest(limit, gatherer.under("aggregate_id", id), key=moment)
        await gatherer.learn(latest)
        return [gatherer.node(event) for event in latest[::-1]]

    async def _find_by_kind(self, gatherer: EventGatherer, id: str) -> dict[str, list[Event]]:
        """Return the events that have `id` as each kind of id, in the order in which an index tries them."""
        await self._refresh_extent()
        keys = [HistoryKey(word, id) for word in _FLOW_KINDS if word != "trace_id"]
        trace_id = int(id, 16) if _TRACE_ID.fullmatch(id) else None
        if trace_id is not None:
            keys.append(HistoryKey("trace_id", format_trace_id(trace_id)))
        position = _parse_position(id)
        if position is not None:
            await gatherer.fetch_positions([position])
        await gatherer.fetch(keys, max(self._max_flow, MAX_FOUND_EVENTS))
        kinds: dict[str, list[Event]] = {"trace_id": []}
        if trace_id is not None:
            derived = [node.event for node in await self._index.lookup(id) if node.trace_id == trace_id]
            gatherer.add(derived, "index")
            derived += await gatherer.fetch_derived(trace_id)
            known = {event.position: event for event in gatherer.under("trace_id", format_trace_id(trace_id))}
            await gatherer.learn(derived)
            known.update({event.position: event for event in derived if gatherer.trace_id_of(event) == trace_id})
            kinds["trace_id"] = list(known.values())
        kinds["event_id"] = gatherer.under("event_id", id)
        kinds["position"] = [gatherer.events[position]] if position in gatherer.events else []
        kinds["aggregate_id"] = gatherer.under("aggregate_id", id)
        kinds["correlation_id"] = gatherer.under("correlation_id", id)
        return kinds

    # --- flows

    async def flow(self, id: str) -> Flow | None:
        """Return the flow of an id, with all its events of both places; of several the latest."""
        gatherer = self.build_gatherer()
        for events in (await self._find_by_kind(gatherer, id)).values():
            if events:
                (gathered,) = await self._build(gatherer, [max(events, key=append_moment)])
                return gathered.flow
        return None

    async def flows(self, limit: int, cursor: str | None = None) -> tuple[list[Flow], str | None]:
        """Return flows by their latest append time, newest first. Raises ValueError for an invalid cursor."""
        held, following = await self._index.flows(limit, cursor)
        await self._refresh_extent()
        if len(held) == limit and all(self._is_enough(node.event) for flow in held for node in flow.nodes):
            return held, following
        before = None if cursor is None else _parse_cursor(cursor)
        flows: list[Flow] = []
        seen: set[Position] = set()
        last: Moment = (0, Position("", "", 0, 0))
        while True:
            page = await self.newest(cursor, max(limit, FLOWS_PER_STEP))
            gatherer = self.build_gatherer()
            for node in page.nodes:
                gatherer.add([node.event], node.source)
            fresh = [node.event for node in page.nodes if node.event.position not in seen]
            for flow, latest in await self._build(gatherer, fresh):
                seen.update(node.event.position for node in flow.nodes)
                seen.update(position for node in flow.nodes for position in node.hops)
                if before is not None and latest >= before:
                    continue  # shown on an earlier page, under its latest event
                if len(flows) == limit:
                    return flows, f"{last[0]}@{last[1]}"
                flows.append(flow)
                last = latest
            if page.cursor is None:
                return flows, None
            cursor = page.cursor

    async def _build(self, gatherer: EventGatherer, starts: Sequence[Event]) -> list[GatheredFlow]:
        return await build_gathered_flows(gatherer, starts, self._join, self._max_flow)

    # --- lists

    async def newest(
        self,
        cursor: str | None = None,
        limit: int = 100,
        *,
        since: int | None = None,
        until: int | None = None,
        streams: Collection[str] | None = None,
    ) -> IndexPage:
        """Return events by append time, then position, newest first. Raises ValueError for an invalid cursor."""
        before = None if cursor is None else _parse_cursor(cursor)
        held = await self._index.newest(cursor, limit, since=since, until=until, streams=streams)
        await self._refresh_extent()
        if len(held.nodes) == limit and self._is_enough(held.nodes[-1].event):
            return held
        end = until if before is None else before[0] + 1 if until is None else min(until, before[0] + 1)
        selection = HistorySelection(since_ms=since, until_ms=end, streams=sorted(streams or ()))
        stored = [] if streams is not None and not streams else await self._read_stored(selection, before, limit)
        gatherer = self.build_gatherer()
        gatherer.add(stored, "history")
        gatherer.add((node.event for node in held.nodes), "index")
        events = sorted(gatherer.events.values(), key=append_moment, reverse=True)
        has_more = len(events) > limit or held.cursor is not None or len(stored) > limit
        page = events[:limit]
        await gatherer.learn(page)
        return IndexPage(
            [gatherer.node(event) for event in page], cursor_after(page[-1]) if has_more and page else None
        )

    async def _read_stored(
        self, selection: HistorySelection, before: tuple[int, Position] | None, limit: int
    ) -> list[Event]:
        """Read the next events of the history, one more than a page if there are more."""
        events: list[Event] = []
        cursor: str | None = None
        while True:
            page = await self._history.find(selection, limit=limit + 1, cursor=cursor)
            events += [row.event for row in page.rows if before is None or append_moment(row.event) < before]
            cursor = page.cursor
            if cursor is None or len(events) > limit:
                return events

    def _is_enough(self, oldest: Event) -> bool:
        """Return True if the index holds everything that is as new as an event, of all partitions of the history."""
        held = self._index.coverage()
        if held.filling or held.since is None or oldest.appended_at < held.since or self._extent is None:
            return False
        return {offsets.partition for offsets in self._extent.covered} <= set(held.partitions)

    # --- coverage

    def coverage(self) -> Coverage:
        """Return the extent of the index, with that of the history as it was known lately."""
        return replace(self._index.coverage(), history=self._extent)

    async def _refresh_extent(self) -> None:
        if time.monotonic() - self._extent_at >= COVERAGE_AGE_S:
            self._extent = await self._history.coverage()
            self._extent_at = time.monotonic()

    # --- the index's own

    async def find_carriers(self, keys: Sequence[HistoryKey], limit: int) -> list[Event]:
        """Return the events of both places that carry one of these ids themselves."""
        gatherer = self.build_gatherer()
        await gatherer.fetch(keys, limit)
        return [event for key in keys for event in gatherer.under(key.word, key.value)]

    async def find_consumption(self, producers: Collection[str]) -> dict[str, set[tuple[str, str]]]:
        """Return the streams that each producer is seen to consume."""
        return await self.build_gatherer().find_consumption(producers)

    def build_gatherer(self) -> EventGatherer:
        """Build the gatherer of one question."""
        return EventGatherer(self._index, self._history, self._join, self._max_flow)


def _parse_position(text: str) -> Position | None:
    try:
        return Position.parse(text)
    except ValueError:
        return None


def _parse_cursor(cursor: str) -> tuple[int, Position]:
    try:
        return parse_cursor(cursor)
    except QueryError:
        raise ValueError(cursor) from None
