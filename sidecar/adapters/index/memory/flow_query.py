"""Query for one flow in the store: the joined events, and the streams that their producers consume.

It follows keys from event to event. The result equals that of `sidecar.domain.correlation.flows.build_flows` on all
held events.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sidecar.adapters.index.memory.packed_events import unpack
from sidecar.adapters.index.memory.segment import DERIVED, IDS, Segment, derived_bits, text_bits
from sidecar.adapters.index.memory.store_reader import StoreReader
from sidecar.domain.correlation.causality import Stream, find_stated_parents, infer_parents, order_forest
from sidecar.domain.correlation.connected_components import Key, carried_keys, cause_key, format_key
from sidecar.domain.correlation.event_order import append_moment, moment
from sidecar.domain.correlation.flows import build_node
from sidecar.domain.correlation.hops import fold_hops
from sidecar.domain.derived_ids import derive_trace_id, is_standalone
from sidecar.domain.model import Event
from sidecar.domain.ports.index import Flow
from sidecar.domain.position import Position

Component = tuple[dict[Position, Event], list[str]]
"""The events of one flow, and the keys that would have joined it to too many events."""


async def component(reading: StoreReader, start: Event) -> Component:
    """Find all events that are joined to an event."""
    members = {start.position: start}
    broken: list[str] = []
    seen: set[Key] = set()
    waiting = [start]
    while waiting:
        event = waiting.pop()
        for key in _keys(reading, event):
            if key in seen:
                continue
            seen.add(key)
            joined = {} if key in reading.broken else await _find_joined(reading, key)
            if len(joined) > reading.max_flow:
                reading.broken.add(key)
            if key in reading.broken:
                broken.append(format_key(key))
                continue
            for position, other in joined.items():
                if position not in members:
                    members[position] = other
                    waiting.append(other)
    return members, sorted(broken)


async def draw(reading: StoreReader, component: Component) -> Flow:
    """Build a flow from its events, yielding to the event loop in between."""
    members, broken = component
    events, hops = fold_hops(sorted(members.values(), key=moment))
    await reading.turn(len(events))
    parents = find_stated_parents(events)
    await reading.turn(len(events))
    # The earliest event can have no inferred parent, and is mostly the only one without any.
    orphans = {events[number].producer for number in range(1, len(events)) if parents[number] is None}
    consumed = {producer: await consumption(reading, producer) for producer in orphans if producer is not None}
    guesses = infer_parents(events, parents, consumed)
    await reading.turn(len(events))
    order, depths = order_forest([guesses.get(number, parent) for number, parent in enumerate(parents)])
    nodes = []
    await reading.ready(events[0])
    for number in order:
        await reading.turn()
        await reading.ready(events[number])
        nodes.append(build_node(number, events, parents, guesses, depths, reading.trace_id_of, reading.standing, hops))
    return Flow(trace_id=reading.trace_id_of(events[0]), nodes=nodes, broken_keys=broken)


def latest(events: Iterable[Event]) -> Event:
    return max(events, key=append_moment)


def _keys(reading: StoreReader, event: Event) -> Iterator[Key]:
    yield from carried_keys(event, reading.join)
    key = cause_key(event, reading.join)
    if key is not None:
        yield key


async def _find_joined(reading: StoreReader, key: Key) -> dict[Position, Event]:
    """Find the events that a key joins; if they are more than a flow can have, one more than that."""
    joined: dict[Position, Event] = {}
    for event in _carriers(reading, key):
        joined[event.position] = event
        await reading.turn()
        if len(joined) > reading.max_flow:
            return joined
    if key[0] == "causation" and joined:
        for event in reading.with_id(str(key[1])):
            joined[event.position] = event
            await reading.turn()
            if len(joined) > reading.max_flow:
                break
    return joined


def _carriers(reading: StoreReader, key: Key) -> Iterator[Event]:
    kind, value = key
    if isinstance(value, int):
        yield from reading.of_trace(value)
        for event in reading.walk_chains(DERIVED, derived_bits(value)):
            if event.event_id is not None and is_standalone(event) and derive_trace_id(event.event_id) == value:
                yield event
    elif kind == "correlation":
        yield from reading.of_correlation(value)
    else:
        yield from reading.caused_by(value)


async def consumption(reading: StoreReader, producer: str) -> set[Stream]:
    """Find the streams that a producer consumes.

    They are the streams with an event that one of the producer's own events names as its cause.
    """
    streams: set[Stream] = set()
    for effects in reading.segments:
        if producer not in effects.causes:
            continue
        for causes in reading.segments:
            version = (len(effects.packed), len(effects.dead), len(causes.packed), len(causes.dead))
            known = effects.consumption.get((producer, causes.serial))
            if known is None or known[0] != version:
                known = version, _find_consumed(effects, causes, producer)
                effects.consumption[producer, causes.serial] = known
                await reading.turn(1 + len(effects.causes[producer]) // 32)
            streams |= known[1]
    return streams


def _find_consumed(effects: Segment, causes: Segment, producer: str) -> frozenset[Stream]:
    """Find them for effects in one segment and causes in another."""
    if producer in effects.doubtful:
        _recount(effects, producer)
    places: set[int] = set()
    ids = causes.tables[IDS]
    for bits in effects.causes[producer] & ids.keys():
        if bits in causes.firsts or ids[bits] in causes.dead:
            places.update(packed.place for _, packed in causes.chain(IDS, bits))
        else:
            places.add(causes.places[ids[bits]])
    logs = causes.logs
    return frozenset((logs[place].system, logs[place].stream) for place in places)


def _recount(segment: Segment, producer: str) -> None:
    """Collect the causes that a producer's events name, after some events are gone."""
    segment.doubtful.discard(producer)
    causes: set[int] = set()
    for slot, data in enumerate(segment.packed):
        if slot not in segment.dead:
            packed = unpack(data)
            cause = packed.causation_id
            if packed.producer == producer and cause is not None and cause != packed.event_id:
                causes.add(text_bits(cause))
    segment.causes[producer] = causes
