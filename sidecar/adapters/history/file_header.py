"""The companion of a data file, `NAME.idx` beside `NAME.parquet`: what is in it, and filters to find ids by.

A companion is written before its data file and deleted after it. A companion without a data file is of a crash, or of a
file that is about to appear; a data file without a companion is not the history's.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct

from sidecar.domain.history_rows import SCHEMA_VERSION
from sidecar.domain.offset_ranges import OffsetRange
from sidecar.domain.position import Partition

MAGIC = b"TCHIDX1\n"
HEADER_PREFIX_BYTES = len(MAGIC) + 4
FIRST_READ_BYTES = 16 << 10
"""Bytes that are read of a companion at first: nearly always its whole header."""
MAX_HEADER_BYTES = 16 << 20


class RowGroup(Struct, frozen=True, array_like=True):
    """Place, size and times of one row group in a data file. Times are milliseconds since 1970."""

    rows: int
    start: int
    """First byte of its column chunks."""
    length: int
    min_ms: int
    """Earliest append time."""
    max_ms: int


class IdFilter(Struct, frozen=True, array_like=True):
    """The place of the filters for one kind of id."""

    start: int
    """First byte, counted from the end of the header."""
    blocks: int
    """0: no row has such an id."""


class StoredRange(Struct, frozen=True, array_like=True):
    """An `OffsetRange`, as a header holds it."""

    system: str
    stream: bytes
    partition: int
    incarnation: str | None
    start: str
    end: str
    """Offsets as decimal text: those of Redis have 128 bits."""
    member: str | None = None


class FileHeader(Struct):
    """Header of a companion: rows, row groups, times, covered offsets and filters of its data file."""

    rows: int
    size_bytes: int
    min_ms: int | None
    """Earliest append time of its events; None without events."""
    max_ms: int | None
    row_groups: list[RowGroup]
    covered: list[StoredRange]
    holes: list[StoredRange]
    filters: dict[str, IdFilter] | None
    """Places of the filters by kind of id. None: the file is small and has none."""
    replaces: list[str] = []
    """Names of the files that were merged into this one."""
    fates: int = 0
    """Facts about dead letters, in the file of the same name below `dead_letters/`."""
    schema_version: int = SCHEMA_VERSION
    footer_bytes: int = 0
    """Length of the data file's end that holds no rows."""


def store_range(offsets: OffsetRange) -> StoredRange:
    """Convert an `OffsetRange` into the form that headers store."""
    partition = offsets.partition
    stream = partition.stream.encode("utf-8", "surrogateescape")
    start, end = str(offsets.start), str(offsets.end)
    return StoredRange(partition.system, stream, partition.number, offsets.incarnation, start, end, offsets.member)


def restore_range(stored: StoredRange) -> OffsetRange:
    """Convert a stored range into an `OffsetRange`."""
    partition = Partition(stored.system, stored.stream.decode("utf-8", "surrogateescape"), stored.partition)
    return OffsetRange(partition, stored.incarnation, int(stored.start), int(stored.end), stored.member)


def encode_companion(header: FileHeader, filters: bytes) -> bytes:
    """Encode a companion: magic bytes, length and header as MessagePack, then the filters."""
    packed = msgspec.msgpack.encode(header)
    return b"".join((MAGIC, len(packed).to_bytes(4, "big"), packed, filters))


def header_bytes(start: bytes) -> int:
    """Return the length of the whole header, with its prefix, from the first bytes of a companion.

    Raises ValueError if the bytes are not the start of a companion.
    """
    if not start.startswith(MAGIC) or len(start) < HEADER_PREFIX_BYTES:
        raise ValueError("it does not begin as a companion file of the history")
    length = int.from_bytes(start[len(MAGIC) : HEADER_PREFIX_BYTES], "big")
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"its header claims to have {length} bytes")
    return HEADER_PREFIX_BYTES + length


def decode_header(data: bytes) -> FileHeader:
    """Decode the header of a companion. Raises ValueError if the bytes are not a companion, or are damaged."""
    end = header_bytes(data)
    try:
        return msgspec.msgpack.decode(data[HEADER_PREFIX_BYTES:end], type=FileHeader)
    except msgspec.DecodeError as error:
        raise ValueError(f"its header is damaged: {error}") from error


def read_header_length(companion: Path) -> int:
    """Return the length of the header of a local companion, with its prefix."""
    with companion.open("rb") as file:
        return header_bytes(file.read(HEADER_PREFIX_BYTES))
