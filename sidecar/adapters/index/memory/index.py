"""Index in this process's memory, for queries about recent events."""

from __future__ import annotations

import asyncio
import heapq
import re
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Sequence

from sidecar.adapters.index.coverage import CoveredPartitions
from sidecar.adapters.index.memory.eviction import FlowEviction
from sidecar.adapters.index.memory.flow_query import component, consumption, draw
from sidecar.adapters.index.memory.newest_first import cursor_of, moment_of, newest
from sidecar.adapters.index.memory.store import SegmentStore
from sidecar.adapters.index.memory.store_reader import StoreReader
from sidecar.domain.correlation.event_order import append_moment, moment
from sidecar.domain.event_bounds import bound_text
from sidecar.domain.model import Event
from sidecar.domain.ports.history import HistoryKey
from sidecar.domain.ports.index import Coverage, Flow, IndexPage, Node
from sidecar.domain.position import Partition, Position

MAX_BYTES_PER_EVENT = 1_024
"""Average size of packed events above which the oldest flows are evicted early."""
MAX_FOUND_EVENTS = 1_000
_TRACE_ID = re.compile(r"[0-9a-fA-F]{16}|[0-9a-fA-F]{32}")


class MemoryIndex:
    """Positions and metadata of recent events. Implements `ports.Index`.

    It holds at most `max_events`, and at most `MAX_BYTES_PER_EVENT` times as many bytes.
    """

    def __init__(self, max_events: int, join: Collection[str], max_flow: int) -> None:
        self.max_events = max_events
        self._join, self._max_flow = frozenset(join), max_flow
        self._store = SegmentStore(max_events)
        self._eviction = FlowEviction(self._store, max_events, max_events * MAX_BYTES_PER_EVENT, self._join, max_flow)
        self._covered = CoveredPartitions()
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, events: Sequence[Event]) -> None:
        begin, count = 0, len(events)
        store, eviction = self._store, self._eviction
        while begin < count:
            begin = store.add(events, begin)
            if eviction.due:
                eviction.run()

    async def room(self) -> None:
        """Return at once, because there is always room."""

    # --- what it covers

    def covering(self, partition: Partition, since_ms: int) -> None:
        """Mark the partition as covered from this append time on; events may still be loading."""
        self._covered.covering(partition, since_ms)

    def filling(self, partition: Partition, under_way: bool) -> None:
        """Note whether the look-back window of this partition is being read."""
        self._covered.filling(partition, under_way)

    def forget(self, partition: Partition) -> None:
        """Note that the partition belongs to another member now.

        Its events stay, but the partition is no longer covered, and the coverage's note says so.
        """
        self._covered.forget(partition)
        place = self._store.places.find(partition.system, partition.stream, partition.number)
        if place is not None:
            place.close_span()

    def discard(self, partition: Partition, before: int) -> None:
        """Remove the events of a partition whose stream was created again. Works in steps if an event loop runs.

        All that are held were observed before: what is added later is kept.
        """
        place = self._store.places.find(partition.system, partition.stream, partition.number)
        if place is None:
            return
        place.close_span()
        steps = self._store.discard(place)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            for _ in steps:
                pass
            return
        task = loop.create_task(_run_steps(steps), name=f"discarding {partition}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def coverage(self) -> Coverage:
        eviction = self._eviction
        return self._covered.answer(self._store.count, eviction.evicted, eviction.cut, eviction.horizon)

    # --- questions

    async def at(self, position: Position) -> Node | None:
        """Return the event at a position, without its place in its flow: `parent` is None and `depth` 0."""
        reading = self._reading()
        event = reading.at(position)
        return None if event is None else await reading.node(event)

    async def all_at(self, positions: Sequence[Position]) -> list[Node | None]:
        """Return the events at some positions."""
        return [await self.at(position) for position in positions]

    async def lookup(self, id: str) -> list[Node]:
        """Return the events that have an id, without their places in their flows."""
        reading = self._reading()
        by_position: dict[Position, Event] = {}
        for kind in KINDS:
            async for event in _matches(reading, kind, bound_text(id)):
                by_position[event.position] = event
                if len(by_position) >= 4 * MAX_FOUND_EVENTS:
                    by_position = _newest_of(by_position.values())
        return [await reading.node(event) for event in _newest_of(by_position.values()).values()]

    async def flow(self, id: str) -> Flow | None:
        """Return the flow of an id; of several flows, that of the latest event with the id."""
        reading = self._reading()
        for kind in KINDS:
            latest: Event | None = None
            async for event in _matches(reading, kind, bound_text(id)):
                if latest is None or append_moment(event) > append_moment(latest):
                    latest = event
            if latest is not None:
                return await draw(reading, await component(reading, latest))
        return None

    async def flows(self, limit: int, cursor: str | None = None) -> tuple[list[Flow], str | None]:
        """Return a page of flows, latest first. Raises ValueError for an invalid cursor."""
        reading = self._reading()
        flows: list[Flow] = []
        seen: set[Position] = set()
        last: Event | None = None
        for event in newest(reading, None if cursor is None else moment_of(cursor)):
            await reading.turn()
            if event.position in seen:
                continue
            held = await component(reading, event)
            seen.update(held[0])
            if max(map(append_moment, held[0].values())) != append_moment(event):
                continue  # shown on an earlier page, under its latest event
            if len(flows) == limit:
                return flows, cursor_of(last) if last is not None else cursor
            flows.append(await draw(reading, held))
            last = event
        return flows, None

    async def aggregate(self, id: str, limit: int = 1000) -> list[Node]:
        """Return the latest `limit` events of an aggregate, without their places in their flows."""
        reading = self._reading()
        by_position: dict[Position, Event] = {}
        for event in reading.of_aggregate(bound_text(id)):
            await reading.turn()
            by_position[event.position] = event
        latest = heapq.nlargest(limit, by_position.values(), key=moment)
        return [await reading.node(event) for event in latest[::-1]]

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
        reading = self._reading()
        nodes: list[Node] = []
        before = None if cursor is None else moment_of(cursor)
        for event in newest(reading, before, since=since, until=until, streams=streams):
            await reading.turn()
            if len(nodes) == limit:
                return IndexPage(nodes, cursor_of(nodes[-1].event) if nodes else cursor)
            nodes.append(await reading.node(event))
        return IndexPage(nodes, None)

    async def find_carriers(self, keys: Sequence[HistoryKey], limit: int) -> list[Event]:
        """Return the events that carry one of these ids themselves."""
        reading = self._reading()
        carriers: dict[Position, Event] = {}
        for key in keys:
            for count, event in enumerate(reading.carriers(key)):
                await reading.turn()
                carriers[event.position] = event
                if count >= limit:
                    break
        return list(carriers.values())

    async def find_consumption(self, producers: Collection[str]) -> dict[str, set[tuple[str, str]]]:
        """Return the streams that each producer consumes."""
        reading = self._reading()
        return {producer: await consumption(reading, producer) for producer in producers}

    def _reading(self) -> StoreReader:
        return StoreReader(self._store, self._join, self._max_flow)


async def _run_steps(steps: Iterator[None]) -> None:
    for _ in steps:
        await asyncio.sleep(0)


KINDS = ("trace", "event", "position", "aggregate", "correlation")
"""Kinds of ids, in the order in which they are tried."""


async def _matches(reading: StoreReader, kind: str, id: str) -> AsyncIterator[Event]:
    """Yield the events that have `id` as this kind of id."""
    if kind == "trace":
        if _TRACE_ID.fullmatch(id):
            async for event in _of_trace(reading, int(id, 16)):
                yield event
    elif kind == "position":
        event_at = _at(reading, id)
        if event_at is not None:
            yield event_at
    else:
        find = {"event": reading.with_id, "aggregate": reading.of_aggregate, "correlation": reading.of_correlation}
        for event in find[kind](id):
            await reading.turn()
            yield event


async def _of_trace(reading: StoreReader, trace_id: int) -> AsyncIterator[Event]:
    for event in reading.of_trace(trace_id):
        await reading.turn()
        yield event
    async for event in reading.of_derived_trace(trace_id):
        yield event


def _at(reading: StoreReader, text: str) -> Event | None:
    try:
        return reading.at(Position.parse(text))
    except ValueError:
        return None


def _newest_of(events: Iterable[Event]) -> dict[Position, Event]:
    return {event.position: event for event in heapq.nlargest(MAX_FOUND_EVENTS, events, key=append_moment)}
