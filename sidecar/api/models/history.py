"""The history: what it holds, what it lacks, and the work on its files."""

from __future__ import annotations

from sidecar.api.models.base import ApiModel


class HistoryWritingModel(ApiModel, kw_only=True):
    """Events that this sidecar has written since its start."""

    written: int
    """Events in files."""
    queued_bytes: int
    """Bytes of events that wait to be written."""
    missed: int
    """Events that did not fit into the queue; they are read again from the broker."""
    filled: int
    """Events that were read again from the broker."""
    lost: int
    """Offsets that the broker no longer had when they were to be read again."""
    filling: int
    """Number of partitions whose gaps are looked for or filled now."""
    last_written_at: str | None
    """Time of the last file; null: none yet."""
    problem: str | None
    """Reason why the last attempt to write failed; null if it succeeded."""


class HistoryFileModel(ApiModel, kw_only=True):
    """A file that is left out of every answer."""

    name: str
    reason: str


class HistoryRangeModel(ApiModel, kw_only=True):
    """Offsets of one partition."""

    partition: str
    first: str
    """First offset, as in a position."""
    last: str
    member: str | None = None
    """The sidecar that was given these records, where members of a group share a partition."""


class HistoryModel(ApiModel, kw_only=True):
    """The history."""

    url: str
    events: int
    """Number of events in files. Those that are stored twice count twice until their files are merged."""
    bytes: int
    files: int
    oldest: str | None
    """Append time of the oldest event."""
    newest: str | None
    deleted_before: str | None
    """Events that were read before were deleted by this sidecar, by age or size; null: none since its start."""
    keep_age_s: float
    keep_bytes: int
    covered: list[HistoryRangeModel]
    """Ranges of which every event is held, at most 1,000."""
    covered_count: int
    holes: list[HistoryRangeModel]
    """Ranges that are known to be missing, at most 1,000."""
    hole_count: int
    merges: int
    """Number of files that the next compaction writes, each from several."""
    merged_files: int
    """Number of files that these replace."""
    deleted_files: int
    """Number of files that the next compaction deletes because of `keep`."""
    unusable: list[HistoryFileModel]
    """Files that are left out of every answer."""
    writing: HistoryWritingModel | None
    """The writing side of this sidecar."""
