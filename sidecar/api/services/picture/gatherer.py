"""Gathers events from the index and the history by the ids that they carry, each position once.

One gatherer serves one question. It fetches each id once, from both places at the same time. What it has gathered is
enough to answer exactly as if everything were in memory:

- the flow of an event: all events that a key of one of its events joins (`gather_flows`);
- the status of an event: all events with its id (`learn`);
- a derived trace id: the chain of its causes (`learn`).

The index has the event where both have it: it was decoded later or is the same. A stream that was created again has
other events at the same positions; of these, the one that was observed last counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Protocol

from sidecar.api.services.search import SearchableIndex
from sidecar.domain.correlation.causality import Stream, stream_of
from sidecar.domain.correlation.connected_components import Key, carried_keys, cause_key
from sidecar.domain.correlation.derived_trace_id import trace_id_of
from sidecar.domain.correlation.duplicates import MAX_EVENTS_PER_ID
from sidecar.domain.correlation.event_order import append_moment
from sidecar.domain.correlation.flows import FlowEventStatus, flow_event_status
from sidecar.domain.derived_ids import cause_of, derive_trace_id, is_standalone
from sidecar.domain.event_keys import carried_ids, format_trace_id
from sidecar.domain.history_rows import HistoryRow
from sidecar.domain.model import Event
from sidecar.domain.ports.history import MAX_PAGE_ROWS, HistoryKey, HistoryPage, HistorySelection, HistoryWord
from sidecar.domain.ports.index import EventSource, Node
from sidecar.domain.position import Position

KEYS_PER_QUERY = 500
MAX_WITNESS_EVENTS = 300
"""Latest events of a producer in the history, by which the streams that it consumes are known."""
MAX_RECENT_EVENTS = 1_000
"""Latest events of the index, for the same purpose."""
_JOINING_WORDS: dict[str, tuple[HistoryWord, ...]] = {
    "trace": ("trace_id",),
    "correlation": ("correlation_id",),
    "causation": ("causation_id", "event_id"),
}


class StoredEvents(Protocol):
    """The part of the history that a gatherer reads."""

    async def find(self, selection: HistorySelection, *, limit: int = 1_000, cursor: str | None = None) -> HistoryPage:
        """Return a page of rows."""

    async def at(self, positions: Sequence[Position]) -> list[HistoryRow]:
        """Return the rows at these positions, newest first."""


class EventGatherer:
    """The events that one question has gathered."""

    def __init__(self, index: SearchableIndex, history: StoredEvents, join: Collection[str], max_flow: int) -> None:
        self._index, self._history = index, history
        self._join, self._max_flow = join, max_flow
        self.events: dict[Position, Event] = {}
        self.sources: dict[Position, EventSource] = {}
        self._fetched: set[HistoryKey] = set()
        self._under: dict[HistoryKey, dict[Position, None]] = {}
        self._standalone: dict[int, dict[Position, None]] = {}
        """Events that have only their own id, by the trace id that is derived from it."""
        self._roots: dict[str, str] = {}
        self._firsts: dict[str, Event | None] = {}

    # --- what is known

    def add(self, events: Iterable[Event], source: EventSource) -> None:
        """Add events of one place."""
        for event in events:
            position = event.position
            known = self.events.get(position)
            if known is not None:
                if not self._replaces(event, source, known):
                    continue
                self._forget(known)
            self.events[position] = event
            self.sources[position] = source
            for key in carried_ids(event):
                self._under.setdefault(key, {})[position] = None
            if event.event_id is not None:
                self._firsts.pop(event.event_id, None)
                if is_standalone(event):
                    self._standalone.setdefault(derive_trace_id(event.event_id), {})[position] = None
        self._roots.clear()

    def _replaces(self, event: Event, source: EventSource, known: Event) -> bool:
        """Return True if `event` replaces the known event at its position."""
        if event.appended_at == known.appended_at and event.digest == known.digest:
            return source == "index"
        return event.observed_at >= known.observed_at

    def _forget(self, event: Event) -> None:
        for key in carried_ids(event):
            self._under[key].pop(event.position, None)
        for positions in self._standalone.values():
            positions.pop(event.position, None)
        if event.event_id is not None:
            self._firsts.pop(event.event_id, None)

    def under(self, word: HistoryWord, value: str) -> list[Event]:
        """Return the gathered events that carry an id."""
        return [self.events[position] for position in self._under.get(HistoryKey(word, value), ())]

    def first(self, event_id: str) -> Event | None:
        """Return the first gathered event with an id, by append time, then position."""
        if event_id not in self._firsts:
            self._firsts[event_id] = min(self.under("event_id", event_id), key=append_moment, default=None)
        return self._firsts[event_id]

    def trace_id_of(self, event: Event) -> int:
        return trace_id_of(event, self.first, self._roots)

    def standing(self, event: Event) -> FlowEventStatus:
        """Return the status of an event, and whether it is a duplicate that changed."""
        same = () if event.event_id is None else self.under("event_id", event.event_id)
        return flow_event_status(event, same)

    def node(self, event: Event) -> Node:
        """Build the node of an event without its place in its flow; `learn` has to come before."""
        status, changed = self.standing(event)
        source = self.sources.get(event.position, "index")
        return Node(event, status, self.trace_id_of(event), None, False, 0, changed, source=source)

    # --- fetching

    async def fetch(self, keys: Iterable[HistoryKey], limit: int | None = None) -> None:
        """Fetch the events that carry these ids; of an id that very many carry, at least `limit` + 1."""
        most = self._max_flow if limit is None else limit
        wanted = [key for key in dict.fromkeys(keys) if key not in self._fetched]
        self._fetched.update(wanted)
        for start in range(0, len(wanted), KEYS_PER_QUERY):
            part = wanted[start : start + KEYS_PER_QUERY]
            held, _ = await asyncio.gather(self._index.find_carriers(part, most + 1), self._fetch_stored(part, most))
            self.add(held, "index")

    async def _fetch_stored(self, keys: Sequence[HistoryKey], most: int) -> None:
        """Read the history, without those ids that turn out to be carried by more than `most` events."""
        wanted = list(keys)
        cursor: str | None = None
        while wanted:
            page = await self._history.find(HistorySelection(keys=wanted), limit=MAX_PAGE_ROWS, cursor=cursor)
            self.add((row.event for row in page.rows), "history")
            cursor = page.cursor
            if cursor is None:
                return
            left = [key for key in wanted if len(self._under.get(key, ())) <= most]
            if len(left) < len(wanted):
                wanted, cursor = left, None  # a cursor belongs to its selection
            await asyncio.sleep(0)

    async def fetch_derived(self, trace_id: int) -> list[Event]:
        """Fetch the events whose trace id may be derived as this one, with their effects; `learn` has to follow."""
        key = HistoryKey("derived_trace_id", format_trace_id(trace_id))
        page = await self._history.find(HistorySelection(keys=[key]), limit=self._max_flow + 1)
        self.add((row.event for row in page.rows), "history")
        candidates = {row.event.position: self.events[row.event.position] for row in page.rows}
        frontier = list(candidates.values())
        while frontier and len(candidates) <= self._max_flow:
            names = {event.event_id for event in frontier if event.event_id is not None}
            await self.fetch(HistoryKey("causation_id", name) for name in names)
            effects = [effect for name in names for effect in self.under("causation_id", name)]
            frontier = [each for each in effects if each.position not in candidates and _derives_from(each) is not None]
            candidates.update({effect.position: effect for effect in frontier})
        return list(candidates.values())

    async def fetch_positions(self, positions: Sequence[Position]) -> None:
        """Fetch the events at these positions."""
        held, rows = await asyncio.gather(
            asyncio.gather(*(self._index.at(position) for position in positions)), self._history.at(positions)
        )
        self.add((row.event for row in reversed(rows)), "history")
        self.add((node.event for node in held if node is not None), "index")

    async def learn(self, events: Sequence[Event]) -> None:
        """Fetch everything on which the status and the trace id of these events depend."""
        ids = {event.event_id for event in events if event.event_id is not None}
        chain = {cause for event in events if (cause := _derives_from(event)) is not None}
        followed: set[str] = set()
        while ids or chain:
            await self.fetch((HistoryKey("event_id", id) for id in ids | chain), MAX_EVENTS_PER_ID)
            followed |= chain
            firsts = [first for id in chain if (first := self.first(id)) is not None]
            chain = {cause for first in firsts if (cause := cause_of(first)) is not None} - followed
            ids = set()

    # --- flows

    async def gather_flows(self, starts: Sequence[Event]) -> set[Position]:
        """Gather the complete flows of some events; return the positions of their events."""
        members = {event.position for event in starts}
        seen: set[Key] = set()
        frontier = list(starts)
        while frontier:
            own = dict.fromkeys(key for event in frontier for key in self._own_keys(event))
            fresh = [key for key in own if key not in seen]
            seen.update(fresh)
            alone = [event.event_id for event in frontier if event.event_id is not None and is_standalone(event)]
            names = [name for key in fresh for name in _names(key)]
            await self.fetch([*names, *(HistoryKey("event_id", id) for id in alone)])
            frontier = []
            for key in fresh:
                joined = self._find_joined(key)
                if len(joined) > self._max_flow:
                    continue
                for position in joined:
                    if position not in members:
                        members.add(position)
                        frontier.append(self.events[position])
            await asyncio.sleep(0)
        return members

    def _own_keys(self, event: Event) -> Iterator[Key]:
        yield from carried_keys(event, self._join)
        key = cause_key(event, self._join)
        if key is not None:
            yield key

    def _find_joined(self, key: Key) -> set[Position]:
        kind, value = key
        if isinstance(value, int):
            carriers = self._under.get(HistoryKey("trace_id", format_trace_id(value)), {})
            return {*carriers, *self._standalone.get(value, ())}
        joined = set(self._under.get(HistoryKey(_JOINING_WORDS[kind][0], value), ()))
        if kind == "causation" and joined:
            joined.update(self._under.get(HistoryKey("event_id", value), ()))
        return joined

    async def find_consumption(self, producers: Collection[str]) -> dict[str, set[Stream]]:
        """Return the streams that each producer is seen to consume, by the events of both places."""
        if not producers:
            return {}
        consumed = {name: set(streams) for name, streams in (await self._index.find_consumption(producers)).items()}
        recent = await self._index.newest(None, MAX_RECENT_EVENTS)
        effects = [*self.events.values(), *(node.event for node in recent.nodes)]
        for producer in producers:
            page = await self._history.find(HistorySelection(producers=(producer,)), limit=MAX_WITNESS_EVENTS)
            effects += [row.event for row in page.rows]
        named = {
            (event.producer, cause)
            for event in effects
            if event.producer in producers and (cause := cause_of(event)) is not None
        }
        await self.fetch((HistoryKey("event_id", cause) for _, cause in named), MAX_EVENTS_PER_ID)
        for name, cause in named:
            if name is not None:
                consumed.setdefault(name, set()).update(map(stream_of, self.under("event_id", cause)))
        return consumed


def _names(key: Key) -> Iterator[HistoryKey]:
    kind, value = key
    text = format_trace_id(value) if isinstance(value, int) else value
    return (HistoryKey(word, text) for word in _JOINING_WORDS[kind])


def _derives_from(event: Event) -> str | None:
    """Return the cause that leads to the root of the event's derived trace id."""
    return cause_of(event) if event.trace_id is None and event.correlation_id is None else None
