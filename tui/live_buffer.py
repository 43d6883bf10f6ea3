"""A bounded buffer of live events: the newest ones that match a query, and counts of those that passed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter

from sidecar.api import models
from tui.text.time_format import micros

MAX_BUFFERED_EVENTS = 2_000
"""Events kept for scrolling back."""
RATE_WINDOW_S = 5.0
LATE_US = 1_000_000
"""An event is late if one that occurred this much later arrived before it, in microseconds."""


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """An event as it arrived. `number` counts arrivals."""

    number: int
    event: models.EventModel
    at: int = 0
    """Time of the event in microseconds since 1970."""
    is_late: bool = False
    """True if it arrived after an event that is much younger."""


def _time_of(event: models.EventModel) -> int | None:
    """Return when an event occurred, at the latest when it was appended: clocks of producers may be wrong."""
    occurred, appended = micros(event.occurred_at), micros(event.appended_at)
    return appended if occurred is None or (appended is not None and appended < occurred) else occurred


class LiveBuffer:
    """A window on the live stream. While frozen it stays unchanged, and arriving events are kept aside."""

    def __init__(self, kept: int = MAX_BUFFERED_EVENTS, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._seen: deque[ReceivedEvent] = deque(maxlen=kept)
        self._frozen: list[ReceivedEvent] | None = None
        self._arrived_frozen = 0
        self._ticks: deque[tuple[float, int]] = deque(maxlen=64)
        self.arrived = 0
        """Events that matched since the query was entered."""
        self.dropped = 0
        """Events that the server dropped because this client read too slowly."""
        self.changed = False
        self._positions: set[str] = set()
        self._newest = 0
        """Time of the youngest event."""

    def clear(self) -> None:
        self._seen.clear()
        self._positions.clear()
        self._ticks.clear()
        self._frozen, self.arrived, self.dropped, self.changed = None, 0, 0, True
        self._newest = 0

    def fill(self, events: Iterable[models.EventModel]) -> None:
        """Add events from before the subscription, oldest first. Events that are already present are skipped."""
        for event in events:
            if event.position not in self._positions:
                self._append(event)

    def add(self, event: models.EventModel) -> None:
        """Add an event that just arrived. An event that was backfilled a moment ago is skipped."""
        self.arrived += 1
        if event.position not in self._positions:
            self._append(event)

    def _append(self, event: models.EventModel) -> None:
        seen = self._seen
        if len(seen) == seen.maxlen:
            self._positions.discard(seen[0].event.position)
        self._positions.add(event.position)
        last = seen[-1].number if seen else 0
        at = _time_of(event) or self._newest
        seen.append(ReceivedEvent(last + 1, event, at, self._newest - at > LATE_US))
        self._newest = max(self._newest, at)
        self.changed = True

    @property
    def frozen(self) -> bool:
        return self._frozen is not None

    def freeze(self, on: bool) -> None:
        self._frozen = self._in_time_order() if on else None
        self._arrived_frozen = self.arrived
        self.changed = True

    @property
    def waiting(self) -> int:
        """Number of events that arrived since the window was frozen."""
        return self.arrived - self._arrived_frozen if self.frozen else 0

    @property
    def rows_shown(self) -> Sequence[ReceivedEvent]:
        """The rows, without marking them as drawn."""
        return self._seen if self._frozen is None else self._frozen

    def rows(self) -> list[ReceivedEvent]:
        """Return the rows in the order in which the events occurred."""
        self.changed = False
        return self._in_time_order() if self._frozen is None else self._frozen

    def _in_time_order(self) -> list[ReceivedEvent]:
        return sorted(self._seen, key=attrgetter("at"))  # nearly in order already, and stable

    def tick(self) -> float:
        """Events per second, over the last seconds."""
        now = self._now()
        self._ticks.append((now, self.arrived))
        while len(self._ticks) > 2 and now - self._ticks[0][0] > RATE_WINDOW_S:
            self._ticks.popleft()
        (begun, before), (end, after) = self._ticks[0], self._ticks[-1]
        return (after - before) / (end - begun) if end > begun else 0.0
