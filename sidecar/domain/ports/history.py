"""Port of the history: weeks of events in files, beyond the index and the broker's retention.

A writer appends *segments*: rows of events with the ranges of offsets that they cover. Readers ask for events by their
ids, or page through them by time. Coverage says of which offsets the history holds every event, and which are a hole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from msgspec import Struct

from sidecar.domain.history_rows import HistoryRow
from sidecar.domain.offset_ranges import OffsetRange
from sidecar.domain.position import Position

HistoryWord = Literal["event_id", "trace_id", "aggregate_id", "correlation_id", "causation_id", "replay_of"]
"""Fields of an event by which the history finds it, without reading all of it."""
MAX_PAGE_ROWS = 10_000
"""Rows of one answer, also if a caller asks for more."""


class HistoryKey(Struct, frozen=True, order=True):
    """One id to look for."""

    word: HistoryWord
    value: str
    """The id as text; a trace id as 32 lower-case hex digits. Only ids that records carry are found: a derived trace id
    is no column."""


class DeadLetterFate(Struct, frozen=True):
    """A fact about a rejected event, from the time after its rejection."""

    origin: Position
    """Position of the rejected record."""
    origin_timestamp: int
    """Milliseconds, its broker timestamp."""
    dead_letter_id: str
    """`GROUP@POSITION`, as everywhere."""
    state: str
    """open (a dead letter was written), or the state that an action gave it: replaying | replayed | returned | parked |
    discarded."""
    at: int
    """Microseconds."""
    position: Position | None = None
    """Position of the dead letter, or of the replayed record, where it is known."""
    replay_id: str | None = None
    by: str | None = None
    """Name of the token that acted, for an operator's action."""
    reason: str | None = None


class HistorySegment(Struct):
    """Rows to append, with what they cover: both become readable together, or neither does."""

    lines: Sequence[bytes]
    """Rows as `sidecar.domain.history_rows.encode_row` writes them."""
    covered: Sequence[OffsetRange]
    """Ranges of which `lines` holds every record that the broker still had."""
    holes: Sequence[OffsetRange] = ()
    """Ranges that the broker no longer had when they were to be read: they stay missing."""
    fates: Sequence[DeadLetterFate] = ()


class HistorySelection(Struct, frozen=True, kw_only=True):
    """The rows that a page is taken from: those that satisfy all of its conditions. Without conditions, all rows."""

    keys: Sequence[HistoryKey] = ()
    """A row has at least one of these ids."""
    streams: Sequence[str] = ()
    types: Sequence[str] = ()
    since_ms: int | None = None
    """Appended at this time or later."""
    until_ms: int | None = None
    """Appended before this time."""
    rejected: bool = False
    """Rejected events only."""
    oldest_first: bool = False


class HistoryPage(Struct):
    """One page of rows, newest first (by append time, then position) unless asked otherwise; each event once."""

    rows: list[HistoryRow]
    cursor: str | None
    """Pass it with the same selection to get the next page; None on the last page. It stays valid when files are
    compacted, deleted or added."""


class HistoryCoverage(Struct):
    """Extent of the history.

    Offsets in neither list are from before the history began, or of streams that no writer reads.
    """

    events: int
    """Events in files; doubles that were not compacted yet count as often as they are stored."""
    bytes: int
    files: int
    oldest_ms: int | None
    """Append time of the oldest event."""
    newest_ms: int | None
    covered: list[OffsetRange]
    """Ranges of which every event is held, joined, in order of partition, incarnation and start."""
    holes: list[OffsetRange]
    """Ranges that are known to be missing, in the same order."""
    kept_from_ms: int | None = None
    """Events that were stored before this time are deleted, by age or size. None: nothing was deleted yet."""


class History(Protocol):
    """Events of weeks, on disk or in object storage.

    Every method may raise Outage (the storage cannot be reached: wait, then retry) or Refused (tell the operator).
    Several sidecars may write one history at the same time.
    """

    async def append(self, segment: HistorySegment) -> None:
        """Store a segment.

        After return it is durable and all of it is readable; after an exception the outcome is unknown, and the same
        call may be made again: a row that is stored twice is one event in every answer. Of several rows with the same
        position and incarnation the one that was observed last counts, because it may have been decoded with more
        knowledge.
        """

    async def find(self, selection: HistorySelection, *, limit: int = 1_000, cursor: str | None = None) -> HistoryPage:
        """Return a page of the selected rows, of at most `limit` and `MAX_PAGE_ROWS`.

        Raises ValueError for a text that is no cursor.
        """

    async def at(self, positions: Sequence[Position]) -> list[HistoryRow]:
        """Return the rows at these positions, newest first: of each incarnation one."""

    async def fates(self, origins: Sequence[Position]) -> list[DeadLetterFate]:
        """Return what happened to the rejected records at these positions, oldest first."""

    async def coverage(self) -> HistoryCoverage:
        """Return the extent of the history, of all its writers."""

    async def close(self) -> None:
        """Release what the adapter holds. A segment whose append has not returned may be lost."""
