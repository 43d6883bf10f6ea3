"""Events that passed unchecked because the registry could not be asked, in case their rejection becomes known."""

from __future__ import annotations

from sidecar.domain.model import Event
from sidecar.domain.position import Position

MOST = 20_000
"""Events that are remembered at least, and at most twice as many."""


class UncheckedPositions:
    """Where such events lay, the latest in two generations."""

    def __init__(self) -> None:
        self._young: set[Position] = set()
        self._old: set[Position] = set()

    def became_rejected(self, event: Event) -> bool:
        """Whether this event, which is rejected, passed unchecked before. One that is unchecked is remembered."""
        if event.rejection is not None:
            return event.position in self._young or event.position in self._old
        if len(self._young) >= MOST:
            self._old, self._young = self._young, set()
        self._young.add(event.position)
        return False
