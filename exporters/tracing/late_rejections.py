"""Recognition of events that were unchecked during a registry outage and were rejected later."""

from __future__ import annotations

from sidecar.domain.model import Event
from sidecar.domain.position import Position

MIN_REMEMBERED_EVENTS = 20_000
"""Minimum number of remembered events; the maximum is twice as many."""


class UncheckedPositions:
    """Positions of recent unchecked events, in two generations."""

    def __init__(self) -> None:
        self._young: set[Position] = set()
        self._old: set[Position] = set()

    def became_rejected(self, event: Event) -> bool:
        """Check whether this rejected event was unchecked before. Unchecked events are remembered."""
        if event.rejection is not None:
            return event.position in self._young or event.position in self._old
        if len(self._young) >= MIN_REMEMBERED_EVENTS:
            self._old, self._young = self._young, set()
        self._young.add(event.position)
        return False
