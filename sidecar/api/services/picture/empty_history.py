"""A history without events, where none is configured."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.domain.history_rows import HistoryRow
from sidecar.domain.ports.history import HistoryPage, HistorySelection
from sidecar.domain.position import Position


class EmptyHistory:
    """Answers that there is nothing. Implements `StoredEvents`."""

    async def find(self, selection: HistorySelection, *, limit: int = 1_000, cursor: str | None = None) -> HistoryPage:
        """Return an empty page."""
        return HistoryPage([], None)

    async def at(self, positions: Sequence[Position]) -> list[HistoryRow]:
        """Return no rows."""
        return []
