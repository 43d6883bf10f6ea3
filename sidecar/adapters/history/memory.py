"""The history in memory: keeps the promises of `sidecar.domain.ports.history.History` without files, for tests."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.adapters.history.row_pages import build_page, is_selected, latest_rows, order_of
from sidecar.domain.history_rows import HistoryRow, decode_line
from sidecar.domain.offset_ranges import OffsetRange, join_ranges, subtract_ranges
from sidecar.domain.ports.history import (
    DeadLetterFate,
    HistoryCoverage,
    HistoryPage,
    HistorySegment,
    HistorySelection,
    HistoryUpkeep,
)
from sidecar.domain.position import Position


class MemoryHistory:
    """History in memory that scans the rows of all segments for each query."""

    def __init__(self) -> None:
        self._rows: list[HistoryRow] = []
        self._covered: list[OffsetRange] = []
        self._holes: list[OffsetRange] = []
        self._fates: list[DeadLetterFate] = []
        self._bytes = self._segments = 0
        self._staged: list[bytes] = []

    async def stage(self, lines: Sequence[bytes]) -> None:
        """Take rows of the next segment."""
        self._staged += lines

    async def unstage(self) -> None:
        """Drop the staged rows."""
        self._staged = []

    async def append(self, segment: HistorySegment) -> None:
        """Store a segment, with the staged rows before its own."""
        lines, self._staged = [*self._staged, *segment.lines], []
        rows = [decode_line(line) for line in lines]
        self._rows += rows
        self._covered = join_ranges((*self._covered, *segment.covered))
        self._holes = join_ranges((*self._holes, *segment.holes))
        self._fates += segment.fates
        self._bytes += sum(map(len, lines))
        self._segments += 1

    async def find(self, selection: HistorySelection, *, limit: int = 1_000, cursor: str | None = None) -> HistoryPage:
        """Return a page of the selected rows."""
        rows = [row for row in latest_rows(self._rows) if is_selected(row, selection)]
        return build_page(rows, selection, limit, cursor)

    async def at(self, positions: Sequence[Position]) -> list[HistoryRow]:
        """Return the rows at these positions."""
        rows = [row for row in latest_rows(self._rows) if row.event.position in set(positions)]
        return sorted(rows, key=order_of, reverse=True)

    async def fates(self, origins: Sequence[Position]) -> list[DeadLetterFate]:
        """Return what happened to rejected records."""
        fates = {fate: None for fate in self._fates if fate.origin in set(origins)}
        return sorted(fates, key=lambda fate: fate.happened_at)

    async def coverage(self) -> HistoryCoverage:
        """Return the extent of the history."""
        times = [row.event.appended_at for row in self._rows]
        return HistoryCoverage(
            events=len(self._rows),
            bytes=self._bytes,
            files=self._segments,
            oldest_ms=min(times, default=None),
            newest_ms=max(times, default=None),
            covered=self._covered,
            holes=subtract_ranges(self._holes, self._covered),
        )

    async def upkeep(self) -> HistoryUpkeep:
        """Return that there is nothing to do."""
        return HistoryUpkeep()

    async def close(self) -> None:
        """Do nothing: there is nothing to release."""
