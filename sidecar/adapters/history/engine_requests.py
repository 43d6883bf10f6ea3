"""Requests to the history's engine and its answers, as they go through the pipe."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from sidecar.adapters.history.file_header import FileHeader, StoredRange
from sidecar.domain.history_rows import SCHEMA_VERSION


class WriteRequest(Struct, tag="write"):
    """Write a Parquet data file and its companion (`file_header`) from a file of JSON lines, one row each."""

    lines: str
    """Path of a file with one row of JSON a line."""
    target: str
    companion: str
    covered: list[StoredRange]
    holes: list[StoredRange]
    filtered: bool
    """Build filters."""
    fates: int = 0


class MergeRequest(Struct, tag="merge"):
    """Merge several data files into one with a companion. Rows stored in several files are written once."""

    sources: list[str]
    """Paths, oldest first."""
    target: str
    companion: str
    covered: list[StoredRange]
    holes: list[StoredRange]
    replaces: list[str]
    distinct: bool
    """Sources may hold the same rows."""
    version: int = SCHEMA_VERSION
    """Newest version of the sources' columns."""


class FateWriteRequest(Struct, tag="write_fates"):
    """Write a file of facts about dead letters (replayed, discarded …) from JSON lines and from earlier files."""

    lines: str | None
    sources: list[str]
    target: str


class RowGroupRows(Struct, array_like=True):
    """A range of rows in one row group that a read has to search."""

    path: str
    first: int
    """Number of its first row in the file."""
    rows: int
    words: list[str]
    """Columns of which one must have one of its `values`; none: no such condition."""
    version: int = SCHEMA_VERSION
    """Version of the file's columns."""


class ReadRequest(Struct, tag="read"):
    """Read the rows that satisfy all conditions, in order, up to a limit."""

    groups: list[RowGroupRows]
    values: dict[str, list[str]]
    limit: int
    oldest_first: bool = False
    streams: list[str] = []
    types: list[str] = []
    producers: list[str] = []
    since_ms: int | None = None
    until_ms: int | None = None
    rejected: bool = False
    after: list[Any] | None = None
    """The order of the row behind which to begin."""
    positions: list[tuple[str, str, int, int, int]] = []
    """System, stream, partition and both parts of the offset."""


class FateReadRequest(Struct, tag="read_fates"):
    """Read facts about dead letters of some origins."""

    paths: list[str]
    origins: list[str]


EngineRequest = WriteRequest | MergeRequest | FateWriteRequest | ReadRequest | FateReadRequest


class EngineReply(Struct):
    """An answer: a header for a written file, rows for a read, or an error."""

    header: FileHeader | None = None
    rows: list[list[Any]] = []
    error: str | None = None
    is_full: bool = False
    """The disk is full."""
