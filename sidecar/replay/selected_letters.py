"""Letters that running replays have selected and not sent yet."""

from __future__ import annotations

from collections.abc import Callable

from sidecar.domain.position import Position


class SelectedLetters:
    """Tells whether a letter waits in one of a sidecar's replays.

    The store of dead letters asks, and the replay service answers. Both are built with this object, because the service
    needs the store.
    """

    def __init__(self) -> None:
        self._sources: list[Callable[[Position], bool]] = []

    def add_source(self, contains: Callable[[Position], bool]) -> None:
        """Add the letters of one supervisor."""
        self._sources.append(contains)

    def contains(self, position: Position) -> bool:
        """Check whether the letter at a position waits in a running replay."""
        return any(contains(position) for contains in self._sources)
