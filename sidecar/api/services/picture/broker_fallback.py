"""Questions about an id that index and history do not know are asked of the brokers."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Sequence

from sidecar.api.services.picture.broker_search import BrokerSearch, has_id
from sidecar.api.services.picture.flow_builder import build_gathered_flows
from sidecar.api.services.picture.gatherer import EventGatherer
from sidecar.api.services.search import SearchableIndex
from sidecar.domain.correlation.event_order import append_moment, moment
from sidecar.domain.model import Event
from sidecar.domain.ports.history import HistoryKey
from sidecar.domain.ports.index import Coverage, Flow, IndexPage, Node
from sidecar.domain.position import Position

MAX_FOUND_EVENTS = 1_000


class BrokerFallback:
    """An index, or a picture, with the brokers behind it. Implements `SearchableIndex`.

    Lists and single positions are not looked for in the brokers: pages of `newest` end where the inner one ends, and a
    position is read directly by who asks for it.
    """

    def __init__(
        self,
        inner: SearchableIndex,
        search: BrokerSearch,
        build_gatherer: Callable[[], EventGatherer],
        join: Collection[str],
        max_flow: int,
    ) -> None:
        self._inner, self._search, self._build_gatherer = inner, search, build_gatherer
        self._join, self._max_flow = frozenset(join), max_flow

    # --- questions about an id

    async def lookup(self, id: str) -> list[Node]:
        """Return the events with an id, newest first."""
        nodes = await self._inner.lookup(id)
        if nodes:
            return nodes
        gatherer, events = await self._find(lambda event: has_id(event, id))
        latest = heapq.nlargest(MAX_FOUND_EVENTS, events, key=append_moment)
        await gatherer.learn(latest)
        return [gatherer.node(event) for event in latest]

    async def flow(self, id: str) -> Flow | None:
        """Return the flow of an id; of several the latest."""
        flow = await self._inner.flow(id)
        if flow is not None:
            return flow
        gatherer, events = await self._find(lambda event: has_id(event, id))
        if not events:
            return None
        latest = max(events, key=append_moment)
        flows = await build_gathered_flows(gatherer, [latest], self._join, self._max_flow)
        return flows[0].flow

    async def aggregate(self, id: str, limit: int = 1000) -> list[Node]:
        """Return the latest `limit` events of an aggregate, by occurred time, then position."""
        nodes = await self._inner.aggregate(id, limit)
        if nodes:
            return nodes
        gatherer, events = await self._find(lambda event: event.aggregate_id == id)
        latest = heapq.nlargest(limit, events, key=moment)
        await gatherer.learn(latest)
        return [gatherer.node(event) for event in latest[::-1]]

    async def _find(self, is_wanted: Callable[[Event], bool]) -> tuple[EventGatherer, list[Event]]:
        """Search the brokers; return a gatherer that knows all that was read, if an event is wanted."""
        report = await self._search.run()
        gatherer = self._build_gatherer()
        wanted = [event for event in report.events if is_wanted(event)]
        if wanted:
            gatherer.add(report.events, "broker")
        return gatherer, wanted

    # --- everything else

    async def at(self, position: Position) -> Node | None:
        """Return the event at a position."""
        return await self._inner.at(position)

    async def all_at(self, positions: Sequence[Position]) -> list[Node | None]:
        """Return the events at some positions."""
        return await self._inner.all_at(positions)

    async def flows(self, limit: int, cursor: str | None = None) -> tuple[list[Flow], str | None]:
        """Return recent flows, by their latest append time, newest first."""
        return await self._inner.flows(limit, cursor)

    async def newest(
        self,
        cursor: str | None = None,
        limit: int = 100,
        *,
        since: int | None = None,
        until: int | None = None,
        streams: Collection[str] | None = None,
    ) -> IndexPage:
        """Return events by append time, then position, newest first."""
        return await self._inner.newest(cursor, limit, since=since, until=until, streams=streams)

    async def find_carriers(self, keys: Sequence[HistoryKey], limit: int) -> list[Event]:
        """Return the events that carry one of these ids themselves."""
        return await self._inner.find_carriers(keys, limit)

    async def find_consumption(self, producers: Collection[str]) -> dict[str, set[tuple[str, str]]]:
        """Return the streams that each producer is seen to consume."""
        return await self._inner.find_consumption(producers)

    def coverage(self) -> Coverage:
        """Return the extent of the inner index."""
        return self._inner.coverage()
