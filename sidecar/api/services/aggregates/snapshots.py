"""Snapshots of states, so that a question about a long aggregate applies only the events after the nearest one."""

from __future__ import annotations

from bisect import insort
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from msgspec import Struct

from sidecar.domain.aggregate_fold import EMPTY_STATE, AggregateState
from sidecar.domain.json_safe import encode_json
from sidecar.domain.model import Event

EVENTS_PER_SNAPSHOT = 5_000
MAX_SNAPSHOTS_PER_AGGREGATE = 64
MAX_SNAPSHOT_BYTES = 32 << 20
"""Bytes of the states of all snapshots, as JSON."""

Chain = Sequence[int]
"""A hash of the first 0, 1, 2 … applied events: equal hashes, equal events."""


class Snapshot(Struct, frozen=True):
    """State of an aggregate after the first events of a chain."""

    count: int
    hash: int
    size: int
    state: AggregateState


def hash_events(events: Iterable[Event]) -> list[int]:
    """Compute running hashes of events: item n identifies the first n events and their order. Item 0 is 0."""
    chain = [0]
    for event in events:
        position = event.position
        chain.append(
            hash((chain[-1], position.system, position.stream, position.partition, position.offset, event.appended_at))
        )
    return chain


class StateSnapshots:
    """Snapshots by aggregate and reducer, bounded by bytes: the least recently used aggregates go first."""

    def __init__(self, max_bytes: int = MAX_SNAPSHOT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._held: OrderedDict[tuple[str, str], list[Snapshot]] = OrderedDict()

    def find(self, aggregate_id: str, reducer: str, chain: Chain, most_events: int) -> tuple[int, AggregateState]:
        """Return the latest snapshot of the first events of a chain: the number of events, and the state after them.

        Args:
            aggregate_id: The aggregate.
            reducer: Name of the reducer.
            chain: The hashes of the events that are to be applied.
            most_events: Do not return a snapshot of more events.
        """
        held = self._held.get((aggregate_id, reducer), [])
        for snapshot in reversed(held):
            if snapshot.count <= most_events and snapshot.count < len(chain) and snapshot.hash == chain[snapshot.count]:
                self._held.move_to_end((aggregate_id, reducer))
                return snapshot.count, snapshot.state
        return 0, EMPTY_STATE

    def keep(self, aggregate_id: str, reducer: str, chain: Chain, count: int, state: AggregateState) -> None:
        """Keep the state after the first events of a chain."""
        size = 2 * len(encode_json(state.value)) + 500
        if size * 4 > self._max_bytes:
            return
        held = self._held.setdefault((aggregate_id, reducer), [])
        self._held.move_to_end((aggregate_id, reducer))
        for snapshot in [each for each in held if each.count == count]:
            held.remove(snapshot)
            self._bytes -= snapshot.size
        insort(held, Snapshot(count, chain[count], size, state), key=lambda snapshot: snapshot.count)
        self._bytes += size
        if len(held) > MAX_SNAPSHOTS_PER_AGGREGATE:
            self._bytes -= held.pop(len(held) // 2).size
        while self._bytes > self._max_bytes:
            self._evict()

    def _evict(self) -> None:
        _, snapshots = self._held.popitem(last=False)
        self._bytes -= sum(snapshot.size for snapshot in snapshots)
