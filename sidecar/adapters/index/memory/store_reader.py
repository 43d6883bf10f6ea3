"""Reader of the store for one query: finds events under a key, and compares the real key.

A query sees the segments as they were when it started; segments that are dropped meanwhile stay readable to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator

from sidecar.adapters.index.memory.packed_events import unpack
from sidecar.adapters.index.memory.segment import (
    AGGREGATES,
    CAUSED,
    CORRELATIONS,
    DERIVED,
    IDS,
    TRACES,
    Segment,
    derived_bits,
    text_bits,
    trace_bits,
)
from sidecar.adapters.index.memory.store import SegmentStore
from sidecar.domain.correlation.connected_components import Key
from sidecar.domain.correlation.derived_trace_id import trace_id_source
from sidecar.domain.correlation.duplicates import MAX_EVENTS_PER_ID, original_of, status_of
from sidecar.domain.correlation.event_order import append_moment
from sidecar.domain.correlation.flows import FlowEventStatus
from sidecar.domain.derived_ids import cause_of, derive_trace_id
from sidecar.domain.model import Event
from sidecar.domain.ports.history import HistoryKey
from sidecar.domain.ports.index import Node
from sidecar.domain.position import Position

EVENTS_PER_YIELD = 256
"""Events that a query reads before it yields to the event loop: about half a millisecond of work."""


class StoreReader:
    """View of one query on the store, with its results so far."""

    def __init__(self, store: SegmentStore, join: Collection[str], max_flow: int) -> None:
        self._store = store
        self.segments = [segment for segment in store.segments if len(segment)]
        self.join, self.max_flow = join, max_flow
        self.broken: set[Key] = set()
        """Keys that are known to join too many events."""
        self._id_tables = [segment.tables[IDS] for segment in self.segments]
        self._roots: dict[str, str] = {}
        self._firsts: dict[str, Event | None] = {}
        self._alike: dict[str, list[Event]] = {}
        self._left = EVENTS_PER_YIELD

    async def turn(self, events: int = 1) -> None:
        """Yield to the event loop from time to time. Call it with the number of processed events."""
        self._left -= events
        if self._left <= 0:
            self._left = EVENTS_PER_YIELD
            await asyncio.sleep(0)

    # --- events under a key

    def event(self, segment: Segment, slot: int) -> Event:
        return segment.event(unpack(segment.packed[slot]))

    def at(self, position: Position) -> Event | None:
        place = self._store.places.find(position.system, position.stream, position.partition)
        location = None if place is None else self._store.find(place, position.offset)
        return None if location is None else self.event(*location)

    def walk_chains(self, table: int, bits: int) -> Iterator[Event]:
        for segment in reversed(self.segments):
            if bits in segment.tables[table]:
                for _, packed in segment.chain(table, bits):
                    yield segment.event(packed)

    def with_id(self, event_id: str) -> Iterator[Event]:
        return (event for event in self.walk_chains(IDS, text_bits(event_id)) if event.event_id == event_id)

    def of_aggregate(self, aggregate_id: str) -> Iterator[Event]:
        candidates = self.walk_chains(AGGREGATES, text_bits(aggregate_id))
        return (event for event in candidates if event.aggregate_id == aggregate_id)

    def of_correlation(self, correlation_id: str) -> Iterator[Event]:
        candidates = self.walk_chains(CORRELATIONS, text_bits(correlation_id))
        return (event for event in candidates if event.correlation_id == correlation_id)

    def caused_by(self, event_id: str) -> Iterator[Event]:
        candidates = self.walk_chains(CAUSED, derived_bits(derive_trace_id(event_id)))
        return (event for event in candidates if event.causation_id == event_id)

    def of_trace(self, trace_id: int) -> Iterator[Event]:
        """Yield the events that carry this trace id."""
        candidates = self.walk_chains(TRACES, trace_bits(trace_id))
        return (event for event in candidates if event.trace_id == trace_id)

    def carriers(self, key: HistoryKey) -> Iterator[Event]:
        """Yield the events that carry an id themselves; none for an id by which the index finds nothing."""
        match key.word:
            case "event_id":
                return self.with_id(key.value)
            case "trace_id":
                return self.of_trace(int(key.value, 16))
            case "aggregate_id":
                return self.of_aggregate(key.value)
            case "correlation_id":
                return self.of_correlation(key.value)
            case "causation_id":
                return self.caused_by(key.value)
        return iter(())

    async def of_derived_trace(self, trace_id: int) -> AsyncIterator[Event]:
        """Yield the events without a trace id whose derived trace id is this one."""
        for event in self.walk_chains(DERIVED, derived_bits(trace_id)):
            await self.turn()
            await self.ready(event)
            if event.trace_id is None and self.trace_id_of(event) == trace_id:
                yield event
        # Others derive it from their root: follow everything that the root caused, step by step.
        waiting = {
            event.causation_id
            for event in self.walk_chains(CAUSED, derived_bits(trace_id))
            if event.causation_id is not None and derive_trace_id(event.causation_id) == trace_id
        }
        seen: set[str] = set()
        while waiting:
            cause = waiting.pop()
            seen.add(cause)
            for event in self.caused_by(cause):
                await self.turn()
                await self.ready(event)
                if event.event_id is not None and event.event_id not in seen:
                    waiting.add(event.event_id)
                rooted = event.trace_id is None and event.correlation_id is None and cause_of(event) is not None
                if rooted and self.trace_id_of(event) == trace_id:
                    yield event

    # --- what follows from them

    def first(self, event_id: str) -> Event | None:
        """Return the first of all held events with an id, by append time, then position."""
        if event_id in self._firsts:
            return self._firsts[event_id]
        bits = text_bits(event_id)
        earliest: Event | None = None
        for segment in self.segments:
            slot = segment.tables[IDS].get(bits)
            if slot is None:
                continue
            slot = segment.firsts.get(bits, slot)
            event = self.event(segment, slot)
            if slot in segment.dead or event.event_id != event_id:
                events = [segment.event(packed) for _, packed in segment.chain(IDS, bits)]
                same = [other for other in events if other.event_id == event_id]
                if not same:
                    continue
                event = min(same, key=append_moment)
            if earliest is None or append_moment(event) < append_moment(earliest):
                earliest = event
        self._firsts[event_id] = earliest
        return earliest

    def trace_id_of(self, event: Event) -> int:
        return (
            event.trace_id
            if event.trace_id is not None
            else derive_trace_id(trace_id_source(event, self.first, self._roots))
        )

    def standing(self, event: Event) -> FlowEventStatus:
        """Return the status of an event, and whether it is a duplicate with different content."""
        original = None if event.event_id is None else self._original(event, event.event_id)
        return status_of(event, original), original is not None and original.digest != event.digest

    def _original(self, event: Event, event_id: str) -> Event | None:
        bits, seen = text_bits(event_id), 0
        for table in self._id_tables:
            seen += bits in table
        if seen == 1 and not any(bits in segment.firsts for segment in self.segments):
            return None  # by far the most: the id was seen once, so here
        first = self.first(event_id)
        if first is None or (first.position == event.position and event.hop_of is None):
            return None  # a hop is as old as the record that it is a copy of, which may be appended later
        if event_id not in self._alike:
            alike: list[Event] = []
            for other in self.with_id(event_id):
                alike.append(other)
                if len(alike) > MAX_EVENTS_PER_ID:
                    alike = [first]
                    break
            self._alike[event_id] = alike
        return original_of(event, self._alike[event_id])

    async def ready(self, event: Event) -> None:
        """Prepare the derived trace id of an event, in steps: the chain of causes to its root may be long."""
        if event.trace_id is not None or event.correlation_id is not None:
            return
        cause, walked = cause_of(event), set[str]()
        while cause is not None and cause not in self._roots and cause not in walked:
            walked.add(cause)
            first = self.first(cause)
            cause = None if first is None else cause_of(first)
            await self.turn(4)

    async def node(self, event: Event) -> Node:
        """Build the node of an event, without its place in its flow."""
        await self.ready(event)
        status, changed = self.standing(event)
        return Node(
            event=event,
            status=status,
            trace_id=self.trace_id_of(event),
            parent=None,
            parent_inferred=False,
            depth=0,
            changed=changed,
        )
