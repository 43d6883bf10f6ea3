"""Events with an old append time: their producers set it, or this sidecar is behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from sidecar.domain.model import Decoded, Event
from sidecar.domain.position import Partition

LATE_AFTER_MS = 2_000
"""Age from which an event counts as late. Younger ones are in the time that is read again."""
MAX_LATE_EVENTS = 10_000


class LateBatch(Struct):
    """Events that were late since the last time."""

    events: list[Event]
    omitted: tuple[int, int] | None
    """First and last append time (ms) of further ones, beyond the limit; None if there are none."""


class LateEvents:
    """Keeps late events until they are taken, at most 10,000; of further ones the times."""

    def __init__(self, clock_ms: Callable[[], int]) -> None:
        self._clock_ms = clock_ms
        self._batch = LateBatch([], None)

    def observe(self, decoded: Sequence[Decoded]) -> None:
        """Keep those of the events that are late."""
        oldest = self._clock_ms() - LATE_AFTER_MS
        late = [each.event for each in decoded if each.event.appended_at < oldest]
        if not late:
            return
        batch = self._batch
        room = MAX_LATE_EVENTS - len(batch.events)
        batch.events += late[:room]
        if omitted := late[room:]:
            times = [event.appended_at for event in omitted]
            first, last = batch.omitted or (times[0], times[0])
            batch.omitted = min(first, *times), max(last, *times)

    def discard(self, partition: Partition) -> None:
        """Drop the events of a partition whose stream was created again."""
        self._batch.events = [event for event in self._batch.events if event.position.log != partition]

    def take(self) -> LateBatch:
        """Return the events and keep them no longer."""
        batch, self._batch = self._batch, LateBatch([], None)
        return batch
