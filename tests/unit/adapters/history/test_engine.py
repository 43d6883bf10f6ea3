"""The files of the engine can be read by any reader of Parquet, and its filters find every id."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import duckdb
import pytest

from sidecar.adapters.history.engine import FILTERED_WORDS, HistoryEngine
from sidecar.adapters.history.engine_requests import MergeRequest, ReadRequest, RowGroupRows, WriteRequest
from sidecar.adapters.history.engine_sql import MAX_ROWS_PER_GROUP
from sidecar.adapters.history.file_header import StoredRange, decode_header, header_bytes
from sidecar.adapters.history.id_filter import find_row_groups, hash_id, locate_blocks
from sidecar.domain.history_rows import COLUMN_NAMES, SCHEMA_VERSION, HistoryRow, encode_row, restore_row
from sidecar.domain.model import Event
from sidecar.domain.position import Position

pytestmark = pytest.mark.slow  # each test starts a process of DuckDB

ROWS = MAX_ROWS_PER_GROUP * 2 + 1_000
NOW = 1_790_000_000_000
RANGE = StoredRange("kafka", b"orders'\xff", 0, "i", "0", str(ROWS))


def row(offset: int) -> HistoryRow:
    event = Event(Position("kafka", "orders", 0, offset), None, NOW + offset, (NOW + offset) * 1000)
    event.event_id, event.aggregate_id = str(uuid.UUID(int=offset * 7919)), f"ü-{offset // 5}"
    return HistoryRow(event, "i")


@pytest.fixture
def engine(tmp_path):
    return HistoryEngine(tmp_path, memory_bytes=200_000_000, threads=1)


@pytest.fixture
def written(engine, tmp_path):
    lines = tmp_path / "lines"
    lines.write_bytes(b"\n".join(encode_row(row(offset)) for offset in range(ROWS)))
    paths = [str(tmp_path / name) for name in ("a'b.parquet", "a.idx")]
    return engine.run(WriteRequest(str(lines), *paths, [RANGE], [], filtered=True)), *paths


def candidates(companion: str, word: str, id: str) -> list[int]:
    data = Path(companion).read_bytes()
    header = decode_header(data)
    place = header.filters[word]
    if not place.blocks:
        return []
    start, length = locate_blocks(hash_id(id), place.blocks, len(header.row_groups))
    start += header_bytes(data) + place.start
    return find_row_groups(data[start : start + length], hash_id(id))


def test_the_header_describes_the_file(written):
    reply, path, companion = written
    header = reply.header
    assert decode_header(Path(companion).read_bytes()) == header
    assert [group.rows for group in header.row_groups] == [MAX_ROWS_PER_GROUP, MAX_ROWS_PER_GROUP, 1_000]
    assert (header.rows, header.min_ms, header.max_ms) == (ROWS, NOW, NOW + ROWS - 1)
    assert [group.min_ms - NOW for group in header.row_groups] == [0, MAX_ROWS_PER_GROUP, 2 * MAX_ROWS_PER_GROUP]
    metadata = {
        key.decode(): value.decode()
        for key, value in duckdb.execute("SELECT key, value FROM parquet_kv_metadata(?)", [path]).fetchall()
    }
    assert json.loads(metadata["tracecar.covered"])[0]["end"] == str(ROWS)
    assert metadata["tracecar.schema_version"] == str(SCHEMA_VERSION)
    assert duckdb.execute("SELECT count(*), max(appended_at)::VARCHAR FROM read_parquet(?)", [path]).fetchone() == (
        ROWS,
        "2026-09-21 14:14:01.959",
    )


def test_every_id_is_found_and_few_others_are(written):
    _, _, companion = written
    for offset in range(0, ROWS, 97):
        event = row(offset).event
        for word in ("event_id", "aggregate_id"):
            assert offset // MAX_ROWS_PER_GROUP in candidates(companion, word, getattr(event, word))
    vain = sum(len(candidates(companion, "event_id", f"nobody-{n}")) for n in range(2_000))
    assert vain < 2_000 * 3 / 50
    assert candidates(companion, "trace_id", "0" * 32) == []
    assert set(decode_header(Path(companion).read_bytes()).filters) == set(FILTERED_WORDS)


@pytest.mark.parametrize("distinct", [False, True])
def test_merged_files_hold_the_same_rows(engine, written, tmp_path, distinct):
    _, path, _ = written
    lines = tmp_path / "more"
    lines.write_bytes(b"\n".join(encode_row(row(offset)) for offset in range(ROWS - 3 if distinct else ROWS, ROWS + 7)))
    more = str(tmp_path / "more.parquet")
    engine.run(WriteRequest(str(lines), more, str(tmp_path / "more.idx"), [], [], filtered=False))
    target, companion = str(tmp_path / "merged.parquet"), str(tmp_path / "merged.idx")
    reply = engine.run(MergeRequest([path, more], target, companion, [RANGE], [], ["x"], distinct=distinct))
    assert (reply.header.rows, reply.header.replaces) == (ROWS + 7, ["x"])
    firsts, first = [], 0
    for group in reply.header.row_groups:
        firsts.append(first)
        first += group.rows
    for offset in (0, ROWS // 2, ROWS - 1, ROWS + 6):
        event = row(offset).event
        found = [
            restore_row(values)
            for group in candidates(companion, "event_id", event.event_id)
            for values in engine.run(
                ReadRequest(
                    [RowGroupRows(target, firsts[group], reply.header.row_groups[group].rows, ["event_id"])],
                    {"event_id": [event.event_id]},
                    5,
                )
            ).rows
        ]
        assert found == [row(offset)]


def test_an_outside_reader_sees_every_column(written):
    names = [name for name, *_ in duckdb.execute("DESCRIBE SELECT * FROM read_parquet(?)", [written[1]]).fetchall()]
    assert tuple(names) == COLUMN_NAMES
