"""Port of the history: weeks of events in files, beyond the index and the broker's retention.

A writer appends *segments*: rows of events with the ranges of offsets that they cover. Readers query events by their
ids, or page through them by time. Coverage lists the offsets of which the history holds every event, and the holes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from msgspec import Struct

from sidecar.domain.history_rows import HistoryRow
from sidecar.domain.offset_ranges import OffsetRange
from sidecar.domain.position import Position

HistoryWord = Literal[
    "event_id", "trace_id", "aggregate_id", "correlation_id", "causation_id", "replay_of", "derived_trace_id"
]
"""Field of an event by which the history finds it without reading all rows. `derived_trace_id` is no field: it is what
`history_rows.find_derived_trace_id` returns."""
MAX_PAGE_ROWS = 10_000
"""Rows on one page at most, even if a caller requests more."""


class HistoryKey(Struct, frozen=True, order=True):
    """One id to search for."""

    word: HistoryWord
    value: str
    """The id as text; a trace id as 32 lower-case hex digits."""


class DeadLetterFate(Struct, frozen=True):
    """A fact about a rejected event, from the time after its rejection."""

    origin: Position
    """Position of the rejected record."""
    origin_timestamp: int | None
    """Broker timestamp of that record in milliseconds; None if it is not known."""
    dead_letter_id: str
    """`GROUP@POSITION`."""
    state: str
    """open (a dead letter was written), or the state after an action: replaying | replayed | returned | parked |
    discarded."""
    happened_at: int
    """Time in microseconds."""
    position: Position | None = None
    """Position of the dead letter, or of the replayed record, if known."""
    replay_id: str | None = None
    actor: str | None = None
    """Name of the acting token, for an operator's action."""
    reason: str | None = None


class HistorySegment(Struct):
    """Rows to append, and the ranges that they cover. Both become readable together, or neither does."""

    lines: Sequence[bytes]
    """Rows as `sidecar.domain.history_rows.encode_row` encodes them."""
    covered: Sequence[OffsetRange]
    """Ranges of which `lines` holds every record that the broker still had."""
    holes: Sequence[OffsetRange] = ()
    """Ranges that the broker had already deleted when they were to be read. They stay missing."""
    fates: Sequence[DeadLetterFate] = ()


class HistorySelection(Struct, frozen=True, kw_only=True):
    """The rows from which pages are taken: those that satisfy all conditions. Without conditions, all rows."""

    keys: Sequence[HistoryKey] = ()
    """Ids of which a row has at least one."""
    streams: Sequence[str] = ()
    types: Sequence[str] = ()
    producers: Sequence[str] = ()
    since_ms: int | None = None
    """Earliest append time."""
    until_ms: int | None = None
    """End of the append time, exclusive."""
    rejected: bool = False
    """True for rejected events only."""
    oldest_first: bool = False


class HistoryPage(Struct):
    """One page of rows, newest first (by append time, then position) unless asked otherwise; each event once."""

    rows: list[HistoryRow]
    cursor: str | None
    """Cursor of the next page with the same selection; None on the last page. It stays valid when files are compacted,
    deleted or added."""


class HistoryCoverage(Struct):
    """Extent of the history.

    Offsets in neither list are from before the history began, or of streams that no writer reads.
    """

    events: int
    """Number of events in files. Duplicates that are not compacted yet count as often as they are stored."""
    bytes: int
    files: int
    oldest_ms: int | None
    """Append time of the oldest event."""
    newest_ms: int | None
    covered: list[OffsetRange]
    """Ranges of which the history holds every event, joined, in order of partition, incarnation and start."""
    holes: list[OffsetRange]
    """Ranges that are known to be missing, in the same order."""
    kept_from_ms: int | None = None
    """Time of storage before which events were deleted, by age or size. None: nothing was deleted yet."""


class HistoryUpkeep(Struct):
    """Work on the files that is due, and files that cannot be used."""

    merges: int = 0
    """Number of files that the next maintenance writes, each from several."""
    merged_files: int = 0
    """Number of files that these replace."""
    deleted_files: int = 0
    """Number of files that the next maintenance deletes because of their age or of the total size."""
    unusable: dict[str, str] = {}
    """Files that are left out of every answer, with the reason."""


class History(Protocol):
    """Weeks of events, on disk or in object storage.

    Every method may raise Outage (the storage cannot be reached: wait, then retry) or Refused (tell the operator).
    Several sidecars may write one history at the same time.
    """

    async def stage(self, lines: Sequence[bytes]) -> None:
        """Take rows of the next segment that is appended, so that its writer need not hold them in memory.

        They are not readable yet, and lost if the process ends. After an exception none of them is taken.
        """

    async def unstage(self) -> None:
        """Drop the staged rows."""

    async def append(self, segment: HistorySegment) -> None:
        """Store a segment, with the staged rows before its own.

        After return it is durable and readable as a whole; after an exception the outcome is unknown, and the same call
        may be repeated (what was staged is still staged then): a row that is stored twice is one event in every result.
        Of several rows with the same position and incarnation the one that was observed last counts, because it may
        have been decoded with more knowledge.
        """

    async def find(self, selection: HistorySelection, *, limit: int = 1_000, cursor: str | None = None) -> HistoryPage:
        """Return a page of the selected rows, of at most `limit` and `MAX_PAGE_ROWS`.

        Raises ValueError for an invalid cursor.
        """

    async def at(self, positions: Sequence[Position]) -> list[HistoryRow]:
        """Return the rows at these positions, newest first, one for each incarnation."""

    async def fates(self, origins: Sequence[Position]) -> list[DeadLetterFate]:
        """Return the later facts about the rejected records at these positions, oldest first."""

    async def coverage(self) -> HistoryCoverage:
        """Return the extent of the history, of all its writers."""

    async def upkeep(self) -> HistoryUpkeep:
        """Return what maintenance would do now. It changes nothing."""

    async def close(self) -> None:
        """Release all resources. A segment whose append has not returned may be lost."""
