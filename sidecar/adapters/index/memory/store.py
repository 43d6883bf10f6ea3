"""Storage of the memory index: adds events fast, and drops segments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from sidecar.adapters.index.event_codec import MAX_PACKED_BYTES
from sidecar.adapters.index.memory.offset_ranges import OffsetRanges, PartitionRanges
from sidecar.adapters.index.memory.packed_events import SchemaTable, pack, unpack
from sidecar.adapters.index.memory.segment import KEY_MASK, Segment, slots
from sidecar.domain.event_bounds import UNPACKABLE, bound_event
from sidecar.domain.model import Event, SchemaRef

DISCARD_STEP_EVENTS = 500
"""Removed events that one step of `SegmentStore.discard` looks at."""
SEGMENT_COUNT = 20
"""Number of segments of a full store: fewer make eviction coarser, more make look-ups slower."""
PLAUSIBLE_AGE_MS = 30 * 86_400_000
"""Limit of plausible append times. Events that are older, or in the future, do not decide which flows are the oldest,
because clocks can be wrong, and because a backlog that is read from its beginning counts in the order of reading."""
_MINIMAL_TIME_MS = -(1 << 63)


class SegmentStore:
    """Segments of events.

    Two segments are filled at a time, one with recent and one with late events (a look-back window, a partition that
    lags), so that the events of a segment are of similar age.
    """

    def __init__(self, max_events: int) -> None:
        self.room = max(1, max_events // SEGMENT_COUNT)
        """Number of events of a full segment."""
        self.segments: list[Segment] = []
        """Segments in the order of serial numbers."""
        self.places = OffsetRanges()
        self.schemas = SchemaTable()
        self.count = 0
        self.size = 0
        """Bytes of all packed events, also of replaced ones."""
        self._open: list[Segment | None] = [None, None]
        self._floor = _MINIMAL_TIME_MS
        """Time in milliseconds below which an event counts as late."""
        self._serial = 0

    def add(self, events: Sequence[Event], begin: int) -> int:
        """Add events from `begin` on, as many as belong to one partition and fit into one segment.

        Returns the index of the first event that was not added.
        """
        lead = events[begin]
        position = lead.position
        system, stream, partition = position.system, position.stream, position.partition
        place = self.places.of(system, stream, partition)
        if not place.last < position.offset < place.limit and not place.may_add(position.offset):
            self._add_again(place, lead)
            return begin + 1
        segment = self._segment_for(lead)
        packed = segment.packed
        start = len(packed)
        end = start + min(max(self.room - start, 1), len(events) - begin)
        numbers = slots(end)[start:end]
        append, place_number, wide = packed.append, place.number, place.wide
        last, limit = place.last, place.limit
        schemas, known_schemas = self.schemas, self.schemas.numbers_by_identity
        ids, traces, aggregates, correlations, caused, derived = segment.tables
        low, high, offset_high, size = position.offset, _MINIMAL_TIME_MS, 0, 0
        odd: Event | None = None
        event = lead
        try:
            for slot, event in zip(numbers, islice(events, begin, None), strict=False):
                position = event.position
                offset = position.offset
                if (
                    not last < offset < limit
                    or position.partition != partition
                    or position.stream != stream
                    or position.system != system
                ):
                    break
                id_bits = trace = trace_key = aggregate_bits = correlation_bits = None
                before_id = before_trace = before_aggregate = before_correlation = before_caused = before_derived = None
                event_id = event.event_id
                if event_id is not None:
                    id_bits = hash(event_id) & KEY_MASK
                    before_id = ids.get(id_bits)
                trace_id = event.trace_id
                if trace_id is not None:
                    trace = trace_id.to_bytes(16, "big")
                    trace_key = hash(trace) & KEY_MASK
                    before_trace = traces.get(trace_key)
                aggregate_id = event.aggregate_id
                if aggregate_id is not None:
                    aggregate_bits = hash(aggregate_id) & KEY_MASK
                    before_aggregate = aggregates.get(aggregate_bits)
                correlation_id = event.correlation_id
                if correlation_id is not None:
                    correlation_bits = hash(correlation_id) & KEY_MASK
                    before_correlation = correlations.get(correlation_bits)
                causation_id = event.causation_id
                rare = causation_id is not None or trace_id is None
                if rare:
                    caused_bits, derived_bits, named = segment.rare_keys(event)
                    before_caused = None if caused_bits is None else caused.get(caused_bits)
                    before_derived = None if derived_bits is None else derived.get(derived_bits)
                schema: int | SchemaRef | None = event.schema
                if schema is not None:
                    number = known_schemas.get(id(schema))
                    schema = schemas.packable(event.schema) if number is None else number
                appended_at = event.appended_at
                low_bits = offset
                if wide:
                    low_bits, offset_high = offset & 0xFFFF_FFFF_FFFF_FFFF, offset >> 64
                data = pack(
                    place_number,
                    low_bits,
                    offset_high,
                    appended_at,
                    before_id,
                    before_trace,
                    before_aggregate,
                    before_correlation,
                    before_caused,
                    before_derived,
                    trace,
                    schema,
                    event,
                )
                length = len(data)
                if length > MAX_PACKED_BYTES:
                    odd = event
                    break
                # Nothing raises from here on: an event is in all its tables or in none.
                append(data)
                size += length
                last = offset
                if appended_at > high:
                    high = appended_at
                if id_bits is not None:
                    ids[id_bits] = slot
                    if before_id is not None:
                        segment.note_repetition(id_bits, slot, before_id)
                if trace_key is not None:
                    traces[trace_key] = slot
                if aggregate_bits is not None:
                    aggregates[aggregate_bits] = slot
                if correlation_bits is not None:
                    correlations[correlation_bits] = slot
                if rare:
                    if caused_bits is not None:
                        caused[caused_bits] = slot
                    if derived_bits is not None:
                        derived[derived_bits] = slot
                    if named is not None:
                        segment.note_cause(event.producer, named)
        except UNPACKABLE:
            odd = event
        taken = len(packed) - start
        if taken:
            segment.add_run(place_number, low, last, start, start + taken)
            segment.high = max(segment.high, high)
            segment.age = max(segment.age, _age(events[begin + taken - 1], high))
            segment.size += size
            place.last = last
            self.count += taken
            self.size += size
        if odd is not None:
            place.last = odd.position.offset
            self._insert(segment, place, bound_event(odd))
            taken += 1
        return begin + taken

    def find(self, place: PartitionRanges, offset: int) -> tuple[Segment, int] | None:
        """Find the slot of the event at an offset of a partition."""
        for segment in reversed(self.segments):
            slot = segment.find(place.number, offset)
            if slot is not None:
                return segment, slot
        return None

    def drop(self, segment: Segment) -> None:
        """Drop a segment with its events."""
        self.segments.remove(segment)
        for other in self.segments:
            other.forget(segment.serial)
        self._open = [None if candidate is segment else candidate for candidate in self._open]
        self.count -= len(segment)
        self.size -= segment.size

    def discard(self, place: PartitionRanges) -> Iterator[None]:
        """Remove the events of a partition that are held now.

        They are gone at once: later events may be at the same positions, even with the same content. The iterator then
        notes what depends on them, some hundred in each step.
        """
        removed: list[tuple[Segment, int]] = []
        for segment in list(self.segments):
            slots = [slot for slot in segment.slots(place.number) if slot not in segment.dead]
            segment.dead.update(slots)
            self.count -= len(slots)
            removed += [(segment, slot) for slot in slots]
            if slots and not len(segment):
                self.drop(segment)
        return self._note_removed(removed)

    def _note_removed(self, removed: Sequence[tuple[Segment, int]]) -> Iterator[None]:
        for number, (segment, slot) in enumerate(removed, 1):
            if segment in self.segments:
                segment.kill(slot, segment.event(unpack(segment.packed[slot])))
            if not number % DISCARD_STEP_EVENTS:
                yield

    def move(self, event: Event, segment: Segment) -> None:
        """Move an event from another segment into this one."""
        position = event.position
        self._insert(segment, self.places.of(position.system, position.stream, position.partition), event)

    def fresh(self, age: int) -> Segment:
        """Create a segment that receives only moved events."""
        self._serial += 1
        segment = Segment(self._serial, self.places.logs, self.schemas)
        segment.age = age
        self.segments.append(segment)
        return segment

    def _add_again(self, place: PartitionRanges, event: Event) -> None:
        """Add an event at a position that may be held: another event there is replaced."""
        location = self.find(place, event.position.offset)
        if location is not None:
            segment, slot = location
            held = segment.event(unpack(segment.packed[slot]))
            held.observed_at = event.observed_at
            if held == event:
                return
            event = bound_event(event)
            if held == event:
                return
            segment.kill(slot, held)
            self.count -= 1
            if not len(segment):
                self.drop(segment)
        segment = self._segment_for(event)
        self._insert(segment, place, bound_event(event))

    def _insert(self, segment: Segment, place: PartitionRanges, event: Event) -> None:
        size = segment.size
        segment.insert(place.number, event)
        self.count += 1
        self.size += segment.size - size
        segment.age = max(segment.age, _age(event, event.appended_at))

    def _segment_for(self, event: Event) -> Segment:
        recent = self._open[0]
        if recent is not None and len(recent.packed) >= self.room:
            self._floor, self._open[0] = max(self._floor, recent.age), None
        lane = 0 if _age(event, event.appended_at) >= self._floor else 1
        segment = self._open[lane]
        if segment is None or len(segment.packed) >= self.room:
            segment = self._open[lane] = self.fresh(_MINIMAL_TIME_MS)
        return segment


def _age(event: Event, appended_at: int) -> int:
    """Return the time in milliseconds that decides when an event is evicted.

    A replay is as recent as its reading, because it has the time of the original.
    """
    observed = event.observed_at // 1000
    plausible = observed - PLAUSIBLE_AGE_MS < appended_at <= observed and event.replay_of is None
    return appended_at if plausible else observed
