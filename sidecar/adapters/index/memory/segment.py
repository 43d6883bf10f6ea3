"""Segment of the memory index: some thousands of consecutively added events, with tables to find them.

The index has a few dozen segments. Adding uses one segment, a query reads all, and eviction drops whole segments, which
costs a fraction of removing their events from common tables.

A table maps 60 bits of a key to the slot of the newest event under it; each packed event holds the slot before it. Two
keys with the same bits share a chain, so readers compare the real key. The bits come from Python's keyed hash of texts,
which an attacker cannot predict, and for derived trace ids from their BLAKE2b hash.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator

from sidecar.adapters.index.memory.packed_events import (
    PackedEvent,
    SchemaTable,
    pack,
    restore_event,
    unpack,
    unpack_head,
)
from sidecar.domain.correlation.causality import Stream
from sidecar.domain.derived_ids import derive_trace_id, is_standalone, own_identity
from sidecar.domain.model import Event
from sidecar.domain.position import Partition

KEY_MASK = (1 << 60) - 1
BEFORE = ("before_id", "before_trace", "before_aggregate", "before_correlation", "before_caused", "before_derived")
IDS, TRACES, AGGREGATES, CORRELATIONS, CAUSED, DERIVED = range(6)
"""Numbers of the tables. CAUSED has the events that name a causation id, by the trace id that is derived from that id;
DERIVED those without a trace id of their own, by the one derived from correlation id, own id or position."""

SLOTS: list[int] = []
"""Slot numbers that all tables share, because a separate int object for each entry would cost more than the entry."""


def slots(count: int) -> list[int]:
    """Return the numbers from 0 to at least `count`, always the same objects."""
    if len(SLOTS) < count:
        SLOTS.extend(range(len(SLOTS), count))
    return SLOTS


def text_bits(text: str) -> int:
    return hash(text) & KEY_MASK


def trace_bits(trace_id: int) -> int:
    return hash(trace_id.to_bytes(16, "big")) & KEY_MASK


def derived_bits(trace_id: int) -> int:
    return trace_id >> 68


class SlotRuns:
    """Slots of a partition in a segment, as runs of consecutive slots with rising offsets."""

    __slots__ = ("_ends", "_highs", "_lows", "_ordered", "_starts")

    def __init__(self) -> None:
        self._lows: list[int] = []
        self._highs: list[int] = []
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._ordered = True
        """Every run begins above the end of the one before it."""

    def add(self, low: int, high: int, start: int, end: int) -> None:
        rises = not self._highs or low > self._highs[-1]
        if rises and self._ends and self._ends[-1] == start:
            self._highs[-1], self._ends[-1] = high, end
            return
        self._ordered = self._ordered and rises
        self._lows.append(low)
        self._highs.append(high)
        self._starts.append(start)
        self._ends.append(end)

    def all_slots(self) -> Iterator[int]:
        """Yield every slot of the runs."""
        for start, end in zip(self._starts, self._ends, strict=True):
            yield from range(start, end)

    def around(self, offset: int) -> list[range]:
        """Return the runs of slots that may hold an offset."""
        if self._ordered:
            last = bisect_right(self._lows, offset) - 1
            numbers = [last] if last >= 0 and offset <= self._highs[last] else []
        else:
            ends = zip(self._lows, self._highs, strict=True)
            numbers = [number for number, (low, high) in enumerate(ends) if low <= offset <= high]
        return [range(self._starts[number], self._ends[number]) for number in numbers]


class Segment:
    """Events by slot, and tables over them."""

    __slots__ = (
        "age",
        "causes",
        "consumption",
        "dead",
        "doubtful",
        "firsts",
        "high",
        "logs",
        "order",
        "packed",
        "places",
        "runs",
        "schemas",
        "serial",
        "size",
        "tables",
    )

    def __init__(self, serial: int, logs: list[Partition], schemas: SchemaTable) -> None:
        self.logs = logs
        """Partitions by their number in packed events."""
        self.schemas = schemas
        self.serial = serial
        """Serial number; younger segments have higher ones."""
        self.packed: list[bytes] = []
        self.places = array("I")
        """Number of the partition, by slot."""
        self.dead: set[int] = set()
        """Slots whose events were replaced or moved away."""
        self.tables: tuple[dict[int, int], ...] = ({}, {}, {}, {}, {}, {})
        self.firsts: dict[int, int] = {}
        """Slot of the first event, by append time, then position, for event ids seen more than once."""
        self.causes: dict[str | None, set[int]] = {}
        """Bits of the causation ids that the events of each producer name."""
        self.doubtful: set[str] = set()
        """Producers whose `causes` may include those of removed events."""
        self.runs: dict[int, SlotRuns] = {}
        self.age = -(1 << 63)
        """Time of its most recent event in milliseconds; the oldest segment is evicted first."""
        self.high = -(1 << 63)
        """Latest append time of its events in milliseconds, plausible or not."""
        self.size = 0
        """Bytes of its packed events."""
        self.order: list[int] = []
        """Slots in the order of append time and position; newer slots are not sorted yet."""
        self.consumption: dict[tuple[str, int], tuple[tuple[int, ...], frozenset[Stream]]] = {}
        """Cache of consumed streams by producer and serial of a segment with causes, with the state (event counts of
        both segments) for which it holds."""

    def __len__(self) -> int:
        return len(self.packed) - len(self.dead)

    def rare_keys(self, event: Event) -> tuple[int | None, int | None, int | None]:
        """Return the bits for CAUSED and DERIVED, and those of the causation id; most events have none of them."""
        cause, derived_from = event.causation_id, None
        caused = None if cause is None else derived_bits(derive_trace_id(cause))
        if event.trace_id is None:
            if event.correlation_id is not None:
                derived_from = event.correlation_id
            elif is_standalone(event):
                derived_from = own_identity(event)
        named = None if cause is None or cause == event.event_id else text_bits(cause)
        return caused, None if derived_from is None else derived_bits(derive_trace_id(derived_from)), named

    def insert(self, place: int, event: Event) -> None:
        """Insert one event. `SegmentStore.add` does the same for many, faster. Raises what `pack` raises."""
        slot = slots(len(self.packed) + 1)[len(self.packed)]
        trace = None if event.trace_id is None else event.trace_id.to_bytes(16, "big")
        caused, derived_from, named = self.rare_keys(event)
        keys = (
            None if event.event_id is None else text_bits(event.event_id),
            None if trace is None else hash(trace) & KEY_MASK,
            None if event.aggregate_id is None else text_bits(event.aggregate_id),
            None if event.correlation_id is None else text_bits(event.correlation_id),
            caused,
            derived_from,
        )
        before = [None if key is None else table.get(key) for key, table in zip(keys, self.tables, strict=True)]
        offset = event.position.offset
        low, high = offset & 0xFFFF_FFFF_FFFF_FFFF, offset >> 64
        schema = self.schemas.packable(event.schema)
        data = pack(place, low, high, event.appended_at, *before, trace, schema, event)
        self.packed.append(data)
        self.size += len(data)
        for key, table in zip(keys, self.tables, strict=True):
            if key is not None:
                table[key] = slot
        if keys[0] is not None and before[0] is not None:
            self.note_repetition(keys[0], slot, before[0])
        if named is not None:
            self.note_cause(event.producer, named)
        self.add_run(place, offset, offset, slot, slot + 1)
        if event.appended_at > self.high:
            self.high = event.appended_at

    def add_run(self, place: int, low: int, high: int, start: int, end: int) -> None:
        """Note that these consecutive slots hold rising offsets of a partition, from `low` to `high`."""
        runs = self.runs.get(place)
        if runs is None:
            runs = self.runs[place] = SlotRuns()
        runs.add(low, high, start, end)
        self.places.extend([place] * (end - start))

    def event(self, packed: PackedEvent) -> Event:
        return restore_event(packed, self.logs[packed.place], self.schemas)

    def note_cause(self, producer: str | None, bits: int) -> None:
        """Note that an event of this producer names a cause."""
        self.causes.setdefault(producer, set()).add(bits)

    def kill(self, slot: int, event: Event) -> None:
        """Mark the event in this slot as removed. Its links stay, so that the chains through it remain whole."""
        self.dead.add(slot)
        if event.causation_id is not None and event.producer is not None:
            self.doubtful.add(event.producer)

    def forget(self, serial: int) -> None:
        """Drop cached consumption that depends on a dropped segment."""
        gone = [cell for cell in self.consumption if cell[1] == serial]
        for cell in gone:
            del self.consumption[cell]

    def note_repetition(self, bits: int, slot: int, before: int) -> None:
        """Note which of the events with one id is the first."""
        self.firsts[bits] = min(self.firsts.get(bits, before), slot, key=self.append_order)

    def append_order(self, slot: int) -> tuple[int, Partition, int]:
        """Return a sort key for slots, by append time, then position."""
        head = unpack_head(self.packed[slot])
        return head.appended_at, self.logs[head.place], head.offset_high << 64 | head.offset

    def sorted_slots(self) -> list[int]:
        """Return all slots by append time, then position; dead ones too.

        Events arrive nearly in order, so only the end of the earlier result is sorted again.
        """
        order, begin = self.order, len(self.order)
        if begin == len(self.packed):
            return order
        heads = list(map(unpack_head, self.packed[begin:]))
        places = sorted({head.place for head in heads}, key=self.logs.__getitem__)
        rank = {place: number for number, place in enumerate(places)}
        # Numbers rather than tuples: thousands of new tuples make the garbage collector look through everything.
        keys = [
            head.appended_at << 192 | rank[head.place] << 128 | head.offset_high << 64 | head.offset for head in heads
        ]
        numbers = slots(len(self.packed))
        new = [numbers[begin + number] for number in sorted(range(len(keys)), key=keys.__getitem__)]
        keep = bisect_right(order, self.append_order(new[0]), key=self.append_order)
        overlapping = order[keep:]
        del order[keep:]
        order += sorted(overlapping + new, key=self.append_order) if overlapping else new
        return order

    def chain(self, table: int, bits: int) -> Iterator[tuple[int, PackedEvent]]:
        """Yield slots and events under these bits, newest first."""
        slot = self.tables[table].get(bits)
        link = BEFORE[table]
        while slot is not None:
            packed = unpack(self.packed[slot])
            if slot not in self.dead:
                yield slot, packed
            slot = getattr(packed, link)

    def slots(self, place: int) -> Iterator[int]:
        """Yield the slots of a partition's events; dead ones too."""
        runs = self.runs.get(place)
        if runs is not None:
            yield from runs.all_slots()

    def find(self, place: int, offset: int) -> int | None:
        """Return the slot of the event at an offset of a partition."""
        runs = self.runs.get(place)
        if runs is None:
            return None
        for run in runs.around(offset):
            at = bisect_right(run, offset, key=self._offset) - 1
            if at >= 0 and run[at] not in self.dead and self._offset(run[at]) == offset:
                return run[at]
        return None

    def _offset(self, slot: int) -> int:
        head = unpack_head(self.packed[slot])
        return head.offset_high << 64 | head.offset
