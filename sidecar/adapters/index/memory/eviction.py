"""Eviction of whole flows, oldest first, when the store is full.

It drops the oldest segment. Flows that also have events in younger segments are still active: their events in the
oldest segment move into the youngest segment known to hold the flow, and are evicted with it. If nearly all flows are
active, their oldest events are evicted nevertheless.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice

from sidecar.adapters.index.memory.packed_events import PackedEvent, unpack
from sidecar.adapters.index.memory.segment import (
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
from sidecar.domain.correlation.connected_components import connect_events
from sidecar.domain.correlation.event_order import append_moment
from sidecar.domain.derived_ids import derive_trace_id
from sidecar.domain.model import Event

MIN_MOVES_PER_RUN_EVENTS = 10_000
"""Events that one eviction may move; moving costs a few microseconds an event."""

_Seed = tuple[int, int]
"""Table and bits."""


class FlowEviction:
    """Bounds of a store, and counts of evicted events."""

    def __init__(
        self, store: SegmentStore, max_events: int, max_size: int, join: Collection[str], max_flow: int
    ) -> None:
        self._store = store
        self._max_events, self._max_size = max_events, max_size
        self._join, self._max_flow = join, max_flow
        self.evicted = 0
        """Events evicted since the start."""
        self.cut = 0
        """Evicted events of flows whose other events are still held."""
        self.horizon: int | None = None
        """Append time in milliseconds up to which events may be evicted."""

    @property
    def due(self) -> bool:
        return self._store.count > self._max_events or self._store.size > self._max_size

    def run(self) -> None:
        """Evict until the store is within its bounds."""
        store = self._store
        moves = max(MIN_MOVES_PER_RUN_EVENTS, 4 * store.room)
        while self.due and store.segments:
            oldest = min(store.segments, key=lambda segment: (segment.age, segment.serial))
            if len(store.segments) == 1:
                if len(oldest) > 1:
                    self._shrink(oldest)
                    continue
                return
            younger = self._younger(oldest)
            moving = self._moving(oldest, younger) if younger else {}
            staying = dict(islice(moving.items(), moves))
            moves -= len(staying)
            events = [(_event(oldest, slot), segment) for slot, segment in sorted(staying.items())]
            gone = len(oldest) - len(events)
            store.drop(oldest)
            for event, segment in events:
                store.move(event, segment)
            self._count(gone, len(moving) - len(staying), oldest.age)

    def _count(self, gone: int, cut: int, age: int) -> None:
        if gone:
            self.evicted += gone
            self.cut += cut
            self.horizon = age if self.horizon is None else max(self.horizon, age)

    def _younger(self, oldest: Segment) -> list[Segment]:
        """Return the other segments, youngest last."""
        others = (segment for segment in self._store.segments if segment is not oldest)
        return sorted(others, key=lambda segment: (segment.age, segment.serial))

    def _moving(self, oldest: Segment, younger: Sequence[Segment]) -> dict[int, Segment]:
        """Map slots of the oldest segment to the youngest segment that has events of the same flow."""
        seeds: dict[_Seed, Segment] = {}
        for segment in younger:
            seeds.update(dict.fromkeys(_find_shared(oldest, segment, self._join), segment))
        order = {segment.serial: number for number, segment in enumerate(younger)}
        destinations: dict[int, Segment] = {}
        # From the youngest on: a slot goes to the first segment that reaches it.
        for seed, segment in sorted(seeds.items(), key=lambda item: -order[item[1].serial]):
            self._spread(oldest, younger, seed, segment, destinations)
        return destinations

    def _spread(
        self,
        oldest: Segment,
        younger: Sequence[Segment],
        seed: _Seed,
        segment: Segment,
        destinations: dict[int, Segment],
    ) -> None:
        """Mark all events of the oldest segment that are joined to a key."""
        waiting, seen = [seed], {seed}
        while waiting:
            table, bits = waiting.pop()
            chain = list(oldest.chain(table, bits))
            if self._too_many(len(chain), table, bits, younger):
                continue
            for slot, packed in chain:
                if slot not in destinations:
                    destinations[slot] = segment
                    for key in _keys(packed, self._join):
                        if key not in seen:
                            seen.add(key)
                            waiting.append(key)

    def _too_many(self, here: int, table: int, bits: int, younger: Sequence[Segment]) -> bool:
        """Check whether more events carry a key than a flow can have, so that it joins none."""
        if here <= self._max_flow // (len(younger) + 1):
            return False
        for segment in younger:
            here += sum(1 for _ in segment.chain(table, bits))
            if here > self._max_flow:
                return True
        return False

    def _shrink(self, segment: Segment) -> None:
        """Evict the oldest flows of the only segment. A single flow that is too large loses its oldest events."""
        store = self._store
        events = [_event(segment, slot) for slot in range(len(segment.packed)) if slot not in segment.dead]
        aim = min(self._max_events - store.room, len(events) - 1)
        if store.size > self._max_size:
            aim = min(aim, len(events) * 9 // 10)
        flows, _ = connect_events(events, self._join, self._max_flow)
        flows.sort(key=lambda flow: max(map(append_moment, flow)), reverse=True)
        kept: list[Event] = []
        for flow in flows:
            if len(kept) + len(flow) > aim:
                break
            kept += flow
        cut = 0
        if not kept and flows:
            kept = sorted(flows[0], key=append_moment)[-max(aim, 1) :]
            cut = len(flows[0]) - len(kept)
        store.drop(segment)
        smaller = store.fresh(segment.age)
        for event in sorted(kept, key=append_moment):
            store.move(event, smaller)
        self._count(len(events) - len(kept), cut, segment.age)


def _event(segment: Segment, slot: int) -> Event:
    return segment.event(unpack(segment.packed[slot]))


def _find_shared(segment: Segment, other: Segment, join: Collection[str]) -> Iterator[_Seed]:
    """Yield keys of `segment` that join events of both. Set operations: a segment has thousands of keys."""
    if "trace" in join:
        yield from _both(segment, other, TRACES)
        yield from _both(segment, other, DERIVED)
    if "correlation" in join:
        yield from _both(segment, other, CORRELATIONS)
    if "causation" in join:
        yield from _both(segment, other, CAUSED)
        for named in other.causes.values():
            yield from ((IDS, bits) for bits in named & segment.tables[IDS].keys())
        if segment.tables[CAUSED]:
            yield from _caused_by(segment, other)


def _both(segment: Segment, other: Segment, table: int) -> Iterable[_Seed]:
    mine, theirs = segment.tables[table], other.tables[table]
    return ((table, bits) for bits in mine.keys() & theirs.keys()) if mine and theirs else ()


def _caused_by(segment: Segment, other: Segment) -> Iterator[_Seed]:
    """Yield causes in `other` that events of `segment` name."""
    ids = other.tables[IDS].keys()
    for named in segment.causes.values():
        for bits in named & ids:
            for _, packed in other.chain(IDS, bits):
                if packed.event_id is not None:
                    yield CAUSED, derived_bits(derive_trace_id(packed.event_id))


def _keys(packed: PackedEvent, join: Collection[str]) -> Iterator[_Seed]:
    """Yield the keys that lead from an event to others of its flow in the segment."""
    if "trace" in join and packed.trace_id is not None:
        yield TRACES, trace_bits(int.from_bytes(packed.trace_id, "big"))
    if "correlation" in join and packed.correlation_id is not None:
        yield CORRELATIONS, text_bits(packed.correlation_id)
    if "causation" in join:
        if packed.causation_id is not None:
            yield CAUSED, derived_bits(derive_trace_id(packed.causation_id))
            yield IDS, text_bits(packed.causation_id)
        if packed.event_id is not None:
            yield CAUSED, derived_bits(derive_trace_id(packed.event_id))
