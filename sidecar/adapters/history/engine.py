"""The history's engine: DuckDB, which writes, merges and reads Parquet files. It runs in a process of its own.

A process of its own keeps this work and its memory out of the process that commits offsets, and lets that one survive a
file that makes the engine fail.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from sidecar.adapters.history.engine_requests import (
    EngineReply,
    EngineRequest,
    FateReadRequest,
    FateWriteRequest,
    MergeRequest,
    ReadRequest,
    WriteRequest,
)
from sidecar.adapters.history.engine_sql import (
    build_filters,
    collect_fates,
    copy_to,
    count_ids,
    describe_row_groups,
    find_fates,
    group_expression,
    merge_files,
    read_lines,
    read_rows,
)
from sidecar.adapters.history.file_header import FileHeader, IdFilter, RowGroup, StoredRange, encode_companion
from sidecar.adapters.history.id_filter import BITS_PER_ID, count_blocks, interleave
from sidecar.domain.history_rows import SCHEMA_VERSION

FILTERED_WORDS = (
    "event_id",
    "trace_id",
    "aggregate_id",
    "correlation_id",
    "causation_id",
    "replay_of",
    "derived_trace_id",
)
"""Kinds of ids that have filters."""


class HistoryEngine:
    """One connection to DuckDB with bounded memory and no way to the network."""

    def __init__(self, spool: Path, *, memory_bytes: int, threads: int) -> None:
        spool.mkdir(parents=True, exist_ok=True)
        self._connection = duckdb.connect(
            config={
                "threads": threads,
                "memory_limit": f"{memory_bytes // 1_000_000}MB",
                "temp_directory": str(spool / "duckdb"),
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            }
        )
        self._connection.execute("SET parquet_metadata_cache = true")
        self._connection.execute("SET lock_configuration = true")

    def run(self, request: EngineRequest) -> EngineReply:
        """Run one request (`engine_requests`) and return the reply."""
        if isinstance(request, WriteRequest):
            return self._write(request)
        if isinstance(request, MergeRequest):
            return self._merge(request)
        if isinstance(request, FateWriteRequest):
            return self._write_fates(request)
        if isinstance(request, FateReadRequest):
            return self._read_fates(request)
        return self._read(request)

    def _write(self, request: WriteRequest) -> EngineReply:
        metadata = _describe_coverage(request.covered, request.holes)
        self._connection.execute(copy_to(read_lines(request.lines), request.target, metadata))
        header = self._describe(request.target, request.covered, request.holes)
        header.fates = request.fates
        self._write_companion(request.target, request.companion, header, filtered=request.filtered)
        return EngineReply(header)

    def _merge(self, request: MergeRequest) -> EngineReply:
        metadata = _describe_coverage(request.covered, request.holes)
        query = merge_files(request.sources, distinct=request.distinct, version=request.version)
        self._connection.execute(copy_to(query, request.target, metadata))
        header = self._describe(request.target, request.covered, request.holes)
        header.replaces = request.replaces
        self._write_companion(request.target, request.companion, header, filtered=True)
        return EngineReply(header)

    def _describe(self, path: str, covered: list[StoredRange], holes: list[StoredRange]) -> FileHeader:
        groups = [RowGroup(*row) for row in self._fetch(describe_row_groups(path)) if row[0]]
        size = Path(path).stat().st_size
        return FileHeader(
            rows=sum(group.rows for group in groups),
            size_bytes=size,
            min_ms=min((group.min_ms for group in groups), default=None),
            max_ms=max((group.max_ms for group in groups), default=None),
            row_groups=groups,
            covered=covered,
            holes=holes,
            filters=None,
            footer_bytes=size - max((group.start + group.length for group in groups), default=4),
        )

    def _write_companion(self, path: str, companion: str, header: FileHeader, *, filtered: bool) -> None:
        filters = self._build_filters(path, header) if filtered and header.row_groups else b""
        Path(companion).write_bytes(encode_companion(header, filters))

    def _build_filters(self, path: str, header: FileHeader) -> bytes:
        group = group_expression([each.rows for each in header.row_groups])
        counts = dict(zip(FILTERED_WORDS, self._fetch(count_ids(path, FILTERED_WORDS, group))[0], strict=True))
        blocks = {word: count_blocks(count) for word, count in counts.items() if count}
        header.filters = {word: IdFilter(0, 0) for word in FILTERED_WORDS}
        if not blocks:
            return b""
        rows = self._fetch(build_filters(path, blocks, group))
        stored: list[bytes] = []
        start = 0
        for n, (word, count) in enumerate(blocks.items()):
            parts = interleave([_join_bits(row[n * BITS_PER_ID : (n + 1) * BITS_PER_ID], count) for row in rows], count)
            header.filters[word] = IdFilter(start, count)
            stored.append(parts)
            start += len(parts)
        return b"".join(stored)

    def _read(self, request: ReadRequest) -> EngineReply:
        query, parameters = read_rows(request)
        return EngineReply(rows=[list(row) for row in self._fetch(query, parameters)])

    def _write_fates(self, request: FateWriteRequest) -> EngineReply:
        query = collect_fates(request.lines, request.sources)
        self._connection.execute(copy_to(query, request.target, {"tracecar.schema_version": str(SCHEMA_VERSION)}))
        return EngineReply()

    def _read_fates(self, request: FateReadRequest) -> EngineReply:
        query = find_fates(request.paths, len(request.origins))
        return EngineReply(rows=[list(row) for row in self._fetch(query, request.origins)])

    def _fetch(self, query: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(query, list(parameters)).fetchall()


def _join_bits(parts: Sequence[bytes | None], blocks: int) -> bytes:
    """Join the parts of one filter.

    DuckDB's bitstrings as bytes begin with the number of padding bits, here 0.
    """
    size = blocks * 64
    joined = 0
    for part in parts:
        if part is not None:
            joined |= int.from_bytes(part[-size:], "big")
    return joined.to_bytes(size, "big")


def _describe_coverage(covered: Sequence[StoredRange], holes: Sequence[StoredRange]) -> dict[str, str]:
    return {
        "tracecar.schema_version": str(SCHEMA_VERSION),
        "tracecar.covered": json.dumps([_describe_range(each) for each in covered]),
        "tracecar.holes": json.dumps([_describe_range(each) for each in holes]),
    }


def _describe_range(offsets: StoredRange) -> dict[str, object]:
    return {
        "system": offsets.system,
        "stream": offsets.stream.decode("utf-8", "backslashreplace"),
        "partition": offsets.partition,
        "incarnation": offsets.incarnation,
        "start": offsets.start,
        "end": offsets.end,
        "member": offsets.member,
    }
