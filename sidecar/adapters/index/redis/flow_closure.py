"""Closure of flows in the shared index: follows the keys of fetched events to further events."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Sequence

from msgspec import Struct

from sidecar.adapters.index.redis.fetcher import IndexFetcher, Name
from sidecar.adapters.index.redis.key_layout import PartitionKey, id_hash, trace_hash, word_hash
from sidecar.adapters.index.redis.shards import ShardClients
from sidecar.adapters.redis_client.connection_pool import Command
from sidecar.domain.correlation.causality import Stream
from sidecar.domain.correlation.connected_components import Key, carried_keys, cause_key
from sidecar.domain.correlation.derived_trace_id import trace_id_of
from sidecar.domain.correlation.event_order import append_moment
from sidecar.domain.correlation.flows import FlowEventStatus, flow_event_status
from sidecar.domain.derived_ids import cause_of, derive_trace_id, is_standalone
from sidecar.domain.model import Event
from sidecar.domain.ports.index import Node
from sidecar.domain.position import Position


class FlowClosure(Struct):
    """Complete flows: every event that a key of one of their events joins belongs to them."""

    flows: list[list[Event]]
    broken: dict[Position, list[Key]]
    """Keys that would have joined an event to too many others, by its position."""


class FlowReader(IndexFetcher):
    """Everything that one query has learned about the index."""

    def __init__(
        self,
        shards: ShardClients,
        join: Collection[str],
        max_flow: int,
        logs: dict[bytes, PartitionKey],
        crowded: dict[Name, None] | None = None,
    ) -> None:
        super().__init__(shards, join, max_flow, logs, crowded)
        self._same: dict[str, list[Event]] = {}
        self._broken: set[Key] = set()
        self._roots: dict[str, str] = {}
        self._firsts: dict[str, Event | None] = {}

    # --- what is joined

    async def closure(self, starts: Sequence[Event]) -> FlowClosure:
        """Return the complete flows of some events."""
        by_position = {event.position: event for event in starts}
        above: dict[Position, Position] = {position: position for position in by_position}
        seen: set[Key] = set()
        frontier = list(by_position.values())
        while frontier:
            fresh = [key for key in dict.fromkeys(k for event in frontier for k in self._own(event)) if key not in seen]
            seen.update(fresh)
            await self.everything(name for key in fresh for name in _names(key))
            frontier = []
            for key in fresh:
                joined = self._find_joined(key)
                if joined is None:
                    self._broken.add(key)
                    continue
                first: Position | None = None
                for position, event in joined.items():
                    if position not in by_position:
                        by_position[position] = event
                        above[position] = position
                        frontier.append(event)
                    if first is None:
                        first = position
                    else:
                        above[_top(above, position)] = _top(above, first)
            await asyncio.sleep(0)
        flows: dict[Position, list[Event]] = {}
        broken: dict[Position, list[Key]] = {}
        for position, event in by_position.items():
            flows.setdefault(_top(above, position), []).append(event)
            if self._broken and (keys := [key for key in self._own(event) if key in self._broken]):
                broken[position] = keys
        return FlowClosure(list(flows.values()), broken)

    def _own(self, event: Event) -> Iterator[Key]:
        yield from carried_keys(event, self._join)
        key = cause_key(event, self._join)
        if key is not None:
            yield key

    def _find_joined(self, key: Key) -> dict[Position, Event] | None:
        """Return the events that a key joins; None if they are too many."""
        kind, value = key
        names = _names(key)
        if any(self.hopeless(name) for name in names):
            return None
        joined: dict[Position, Event] = {}
        if isinstance(value, int):
            trace, alone = names
            joined = {event.position: event for event in self.under(trace) if event.trace_id == value}
            for event in self.under(alone):
                if event.event_id is not None and is_standalone(event) and derive_trace_id(event.event_id) == value:
                    joined[event.position] = event
        elif kind == "correlation":
            joined = {event.position: event for event in self.under(names[0]) if event.correlation_id == value}
        else:
            members = list(self.under(names[0]))
            joined = {event.position: event for event in members if event.causation_id == value}
            if joined:
                joined |= {event.position: event for event in members if event.event_id == value}
        return joined if len(joined) <= self._max_flow else None

    # --- what follows for each

    async def know(self, events: Sequence[Event]) -> None:
        """Fetch everything on which the status and the trace id of these events depend."""
        chain = {cause for event in events if (cause := _derives_from(event)) is not None}
        waiting = chain | {event.event_id for event in events if event.event_id is not None}
        fetched: set[str] = set()
        followed: set[str] = set()
        while chain or waiting:
            fetched |= waiting
            await self.everything((b"i", id_hash(id)) for id in waiting)
            followed |= chain
            firsts = [first for id in chain if (first := self.first(id)) is not None]
            chain = {cause for first in firsts if (cause := cause_of(first)) is not None} - followed
            waiting = chain - fetched

    def with_id(self, event_id: str) -> list[Event]:
        """Return all events with a fetched id."""
        same = self._same.get(event_id)
        if same is None:
            by_position = {event.position: event for event in self.under((b"i", id_hash(event_id)))}
            same = self._same[event_id] = [event for event in by_position.values() if event.event_id == event_id]
        return same

    def first(self, event_id: str) -> Event | None:
        if event_id not in self._firsts:
            self._firsts[event_id] = min(self.with_id(event_id), key=append_moment, default=None)
        return self._firsts[event_id]

    def trace_id_of(self, event: Event) -> int:
        return trace_id_of(event, self.first, self._roots)

    def standing(self, event: Event) -> FlowEventStatus:
        return flow_event_status(event, () if event.event_id is None else self.with_id(event.event_id))

    def node(self, event: Event) -> Node:
        """Build the node of an event, without its flow; `know` must have fetched what it needs."""
        status, changed = self.standing(event)
        return Node(event, status, self.trace_id_of(event), None, False, 0, changed)

    async def consumption(self, producers: Collection[str]) -> dict[str, set[Stream]]:
        """Return the streams that each producer consumes.

        They are the streams with an event that one of the producer's own events names as its cause.
        """
        if not producers:
            return {}
        ordered = list(producers)
        keys = self._keys
        commands: list[tuple[int, Command]] = [
            (shard, ("HGETALL", keys.single(b"y" + word_hash(producer), shard)))
            for producer in ordered
            for shard in range(keys.shards)
        ]
        replies = await self.ask(commands)
        witnesses: dict[str, list[bytes]] = {}
        for number, producer in enumerate(ordered):
            for reply in replies[number * keys.shards : (number + 1) * keys.shards]:
                for hashes in reply[1::2]:
                    witnesses.setdefault(producer, []).extend(hashes[at : at + 4] for at in range(0, len(hashes), 4))
        await self.everything((b"i", hash) for hashes in witnesses.values() for hash in hashes)
        consumed: dict[str, set[Stream]] = {}
        for producer, hashes in witnesses.items():
            streams: set[Stream] = set()
            for hash in dict.fromkeys(hashes):
                events = list(self.under((b"i", hash)))
                causes = {
                    cause for event in events if event.producer == producer and (cause := cause_of(event)) is not None
                }
                streams |= {
                    (event.position.system, event.position.stream) for event in events if event.event_id in causes
                }
            consumed[producer] = streams
        return consumed


def _names(key: Key) -> tuple[Name, ...]:
    """Return the sets that hold the events of a key."""
    kind, value = key
    if isinstance(value, int):
        # The second has the events from whose own id this trace id is derived.
        return (b"t", trace_hash(value.to_bytes(16, "big"))), (b"i", derived_hash(value))
    return ((b"k" if kind == "correlation" else b"i", id_hash(value)),)


def derived_hash(trace_id: int) -> bytes:
    """Return the `id_hash` of the text from which this trace id is derived."""
    return (trace_id >> 96).to_bytes(4, "big")


def _top(above: dict[Position, Position], position: Position) -> Position:
    while above[position] != position:
        above[position] = above[above[position]]
        position = above[position]
    return position


def _derives_from(event: Event) -> str | None:
    """Return the cause that leads to the root of the event's derived trace id."""
    return cause_of(event) if event.trace_id is None and event.correlation_id is None else None
