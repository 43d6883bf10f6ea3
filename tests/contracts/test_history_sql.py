"""SQL over the history: what it answers, and that it reaches nothing else."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.adapters.history.builder import build_parquet_history
from sidecar.adapters.history.parquet_history import ParquetHistory
from sidecar.adapters.history.sql_runner import HistorySqlRunner
from sidecar.config.schema import HistoryConfig
from sidecar.domain.errors import QueryError, Refused
from sidecar.domain.history_rows import HistoryRow, encode_row
from sidecar.domain.model import Event, Rejection
from sidecar.domain.offset_ranges import OffsetRange
from sidecar.domain.ports.history import DeadLetterFate, HistorySegment
from sidecar.domain.ports.history_sql import SqlLimits
from sidecar.domain.position import Position

pytestmark = pytest.mark.slow  # a process for each statement

NOW = 1_790_000_000_000
"""Milliseconds."""
LIMITS = SqlLimits()


def event(offset: int, stream: str = "orders", system: str = "kafka", **fields: Any) -> Event:
    fields.setdefault("observed_at", (NOW + offset) * 1000)
    return Event(Position(system, stream, 0, offset), None, NOW + offset, **fields)


def segment(
    *events: Event, fates: tuple[DeadLetterFate, ...] = (), bodies: dict[int, bytes] | None = None
) -> HistorySegment:
    bodies = bodies or {}
    rows = [
        HistoryRow(each, None, bodies.get(each.position.offset), b'[["trace", "yes"]]' if bodies else None)
        for each in events
    ]
    logs = {each.position.log for each in events}
    covered = []
    for log in logs:
        offsets = [each.position.offset for each in events if each.position.log == log]
        covered.append(OffsetRange(log, None, min(offsets), max(offsets) + 1))
    return HistorySegment(lines=[encode_row(row) for row in rows], covered=covered, fates=fates)


@pytest.fixture
async def history(tmp_path: Path) -> AsyncIterator[tuple[ParquetHistory, HistorySqlRunner]]:
    built = build_parquet_history(HistoryConfig(url=str(tmp_path / "history")))
    yield built
    await built[0].close()


@pytest.fixture
async def sql(history: tuple[ParquetHistory, HistorySqlRunner]) -> HistorySqlRunner:
    store, runner = history
    await store.append(
        segment(
            event(1, event_id="e-1", type="OrderCreated", trace_id=0xABC, aggregate_id="o-1", producer="shop"),
            event(2, event_id="e-2", type="OrderPaid", trace_id=0xABC, occurred_at=(NOW + 90) * 1000, producer="till"),
            event(3, event_id="e-3", type="OrderPaid", rejection=Rejection("schema.mismatch", "no", "data.total")),
            bodies={1: b'{"data": {"total": 12.50}}', 2: b"null", 3: b'"not json"'},
        )
    )
    return runner


async def ask(sql: HistorySqlRunner, statement: str, **limits: Any) -> list[list[Any]]:
    return (await sql.run(statement, SqlLimits(**limits))).rows


async def test_the_views_have_the_events_with_positions_and_their_bodies(sql: HistorySqlRunner) -> None:
    answer = await sql.run("SELECT position, status, type, trace_id, appended_at FROM events ORDER BY 1", LIMITS)
    assert [(column.name, column.type) for column in answer.columns][:2] == [
        ("position", "VARCHAR"),
        ("status", "VARCHAR"),
    ]
    assert answer.rows[0] == [
        "kafka://orders/0/1", "ok", "OrderCreated", f"{0xABC:032x}", "2026-09-21T14:13:20.001000Z",
    ]  # fmt: skip
    assert [row[1] for row in answer.rows] == ["ok", "ok", "rejected"]
    assert (answer.files, answer.truncated) == (1, False)
    assert await ask(sql, "SELECT body->'data'->>'total', headers FROM bodies WHERE event_id = 'e-1'") == [
        ["12.5", '[["trace", "yes"]]']
    ]
    assert await ask(
        sql, "SELECT flow, events, rejected, duration_ms, streams FROM flows ORDER BY events DESC LIMIT 1"
    ) == [[f"trace:{0xABC:032x}", 2, 0, 89.0, ["orders"]]]


async def test_positions_are_those_of_the_api(history: tuple[ParquetHistory, HistorySqlRunner]) -> None:
    store, runner = history
    positions = [
        Position("kafka", "orders", 0, 4711), Position("redis", "orders", 0, (1_700_000_000_000 << 64) | 3),
        Position("redis", "orders", 0, (5 << 64) | (1 << 64) - 1), Position("kafka", "größe/a b%", 3, 1),
        Position("redis", "raw\udcff", 0, 1 << 64),
    ]  # fmt: skip
    await store.append(segment(*(Event(position, None, NOW, NOW * 1000) for position in positions)))
    found = [Position.parse(row[0]) for row in await ask(runner, "SELECT position FROM events")]
    assert sorted(found) == sorted(positions)


async def test_a_row_that_was_stored_twice_is_one_event(history: tuple[ParquetHistory, HistorySqlRunner]) -> None:
    store, runner = history
    await store.append(segment(event(1, type="Old"), event(2)))
    await store.append(segment(event(1, type="New", observed_at=(NOW + 99) * 1000), event(2), event(3)))
    await store.append(segment(event(4)))
    assert await ask(runner, "SELECT record_offset, type FROM events ORDER BY 1") == [
        [1, "New"], [2, None], [3, None], [4, None],
    ]  # fmt: skip


async def test_dead_letters_have_their_later_fate(history: tuple[ParquetHistory, HistorySqlRunner]) -> None:
    store, runner = history
    origin = Position("kafka", "orders", 0, 1)
    fates = tuple(
        DeadLetterFate(origin, NOW + 1, f"shop@{origin}", state, (NOW + n) * 1000)
        for n, state in enumerate(("open", "replayed"))
    )
    no = Rejection("schema.mismatch", "expected int", "data.total")
    await store.append(segment(event(1, rejection=no), event(2, rejection=no), event(3), fates=fates))
    assert await ask(runner, "SELECT id, origin, state, code FROM dead_letters ORDER BY origin") == [
        [f"shop@{origin}", str(origin), "replayed", "schema.mismatch"],
        [None, "kafka://orders/0/2", "open", "schema.mismatch"],
    ]


async def test_an_empty_history_has_the_views_too(history: tuple[ParquetHistory, HistorySqlRunner]) -> None:
    for view in ("events", "bodies", "dead_letters", "flows"):
        assert await ask(history[1], f"SELECT count(*) FROM {view}") == [[0]]


async def test_only_files_of_the_time_asked_for_are_read(history: tuple[ParquetHistory, HistorySqlRunner]) -> None:
    store, runner = history
    await store.append(segment(event(1)))
    await store.append(segment(event(100)))
    answer = await runner.run("SELECT count(*) FROM events", SqlLimits(since_ms=NOW + 50))
    assert (answer.rows, answer.files) == ([[1]], 1)
    assert (await runner.run("SELECT count(*) FROM events", SqlLimits(until_ms=NOW + 50))).rows == [[1]]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("18446744073709551616::HUGEINT", "18446744073709551616"), ("1.10::DECIMAL(5,2)", "1.10"),
        ("'nan'::DOUBLE", "nan"),
        ("'\\xff\\x00'::BLOB", {"base64": "/wA="}), ("[1, 2]", [1, 2]), ("{'a': {'b': NULL}}", {"a": {"b": None}}),
        ("TIMESTAMP '2026-01-31 12:00:00'", "2026-01-31T12:00:00Z"), ("DATE '2026-01-31'", "2026-01-31"),
        ("INTERVAL 90 SECOND", 90.0), ("MAP {'a': 1}", {"a": 1}),
        ("repeat('x', 2000000)", "(a value of 2000000 characters: not shown)"),
    ],
)  # fmt: skip
async def test_values_are_json(sql: HistorySqlRunner, expression: str, value: Any) -> None:
    assert await ask(sql, f"SELECT {expression}") == [[value]]


ATTACKS = [
    "SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM read_text('/etc/hostname')",
    "SELECT * FROM read_blob('{folder}/../outside.txt')", "SELECT * FROM glob('/etc/*')", "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM read_parquet('{folder}/../*.parquet')", "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT * FROM parquet_metadata('/etc/passwd')", "SELECT * FROM read_json('/proc/self/environ')",
    "SELECT * FROM read_text('/proc/self/environ')", "SELECT * FROM read_text('/dev/stdin')",
    "COPY (SELECT 1) TO '{folder}/../written.csv'",
    "COPY (SELECT 1 a) TO '{file}' (FORMAT parquet, USE_TMP_FILE false)",
    "COPY events TO '{folder}/../copied.parquet'", "EXPORT DATABASE '{folder}/exported'",
    "EXPLAIN ANALYZE COPY (SELECT 1 a) TO '{file}' (FORMAT parquet, USE_TMP_FILE false)",
    "SELECT * FROM query('COPY (SELECT 1) TO ''{folder}/written''')", "SELECT 1; COPY (SELECT 1) TO '{file}'",
    "INSTALL httpfs", "LOAD httpfs", "LOAD '{folder}/extension.duckdb_extension'", "INSTALL httpfs FROM community",
    "ATTACH '{folder}/new.db'", "ATTACH 'https://127.0.0.1/x.db'", "SELECT * FROM 'https://127.0.0.1:1/x.parquet'",
    "SELECT * FROM read_csv('s3://bucket/key')", "SELECT * FROM read_duckdb('{folder}/x.db')",
    "SET memory_limit = '64GB'", "SET enable_external_access = true", "RESET allowed_paths", "PRAGMA threads = 64",
    "SET GLOBAL allowed_directories = ['/']", "CREATE TABLE t AS SELECT 1", "CREATE SECRET (TYPE s3)",
    "DROP VIEW events",
    "CREATE OR REPLACE VIEW events AS SELECT 1", "CREATE MACRO f() AS 1", "INSERT INTO events VALUES (1)",
    "UPDATE events SET type = 'x'", "DELETE FROM events", "CALL pragma_version()", "PREPARE p AS SELECT 1",
    "SELECT getenv('HOME')", "USE memory", "VACUUM", "CHECKPOINT", "BEGIN", "", ";", "-- nothing", "no sql",
    "SELECT * FROM no_such_view", "SELECT * FROM events WHERE", "WITH x AS (INSERT INTO events VALUES (1)) SELECT 1",
]  # fmt: skip


def list_files(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_a_statement_reaches_nothing_but_the_history(
    sql: HistorySqlRunner, tmp_path: Path, attack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACECAR_TOKEN", "secret-token")
    (tmp_path / "outside.txt").write_text("outside")
    folder = tmp_path / "history"
    (file,) = folder.rglob("*.parquet")
    before = list_files(tmp_path)
    with pytest.raises(QueryError) as raised:
        await sql.run(attack.format(folder=folder, file=file), LIMITS)
    assert "secret-token" not in str(raised.value)
    assert list_files(tmp_path) == before
    assert await ask(sql, "SELECT count(*) FROM events") == [[3]]


async def test_nothing_of_the_machine_is_seen(
    sql: HistorySqlRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-key")
    rows = await ask(sql, "SELECT name, value FROM duckdb_settings()")
    rows += await ask(sql, "SELECT view_name, sql FROM duckdb_views()")
    assert "secret-key" not in str(rows)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("SELECT count(*) FROM range(1000000) a, range(1000000) b", "took longer than 1 s"),
        ("SELECT sum(a.range * b.range) FROM range(1000000) a, range(1000000) b", "took longer than 1 s"),
        (
            "WITH RECURSIVE t(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM t) SELECT max(i) FROM t",
            "took longer than 1 s",
        ),
        ("SELECT list(range) FROM range(1000000000)", "more memory"),
        ("SELECT repeat('x', 1000000000)", "more memory"),
        ("SELECT string_agg(repeat('x', 1000), '') FROM range(10000000)", "more memory"),
        ("SELECT * FROM range(100000000) ORDER BY hash(range)", "more memory"),
    ],
)
async def test_a_statement_without_measure_is_stopped(sql: HistorySqlRunner, statement: str, words: str) -> None:
    started = time.monotonic()
    with pytest.raises(Refused) as raised:
        await sql.run(statement, SqlLimits(timeout_s=1.0 if "longer" in words else 20.0))
    assert words in str(raised.value) or "its process ended" in str(raised.value), str(raised.value)
    assert time.monotonic() - started < 60


async def test_rows_and_bytes_of_an_answer_are_limited(sql: HistorySqlRunner) -> None:
    answer = await sql.run("SELECT range FROM range(1000000)", SqlLimits(rows=7))
    assert ([row[0] for row in answer.rows], answer.truncated) == ([0, 1, 2, 3, 4, 5, 6], True)
    exact = await sql.run("SELECT range FROM range(7)", SqlLimits(rows=7))
    assert (len(exact.rows), exact.truncated) == (7, False)
    long = await sql.run("SELECT repeat('x', 100000) FROM range(1000)", SqlLimits(bytes=1_000_000))
    assert (len(long.rows), long.truncated) == (9, True)


async def test_a_caller_that_goes_away_leaves_no_process(sql: HistorySqlRunner) -> None:
    task = asyncio.create_task(sql.run("SELECT count(*) FROM range(1000000) a, range(1000000) b", LIMITS))
    children = Path(f"/proc/self/task/{os.getpid()}/children")

    def running() -> int:
        return sum("sql_process" in Path(f"/proc/{pid}/cmdline").read_text() for pid in children.read_text().split())

    while not running():
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not running()


async def test_files_that_are_merged_meanwhile_are_read_in_their_new_place(
    history: tuple[ParquetHistory, HistorySqlRunner], tmp_path: Path
) -> None:
    store, runner = history
    await store.append(segment(event(1)))
    await store.append(segment(event(2)))
    for path in sorted((tmp_path / "history").rglob("*.parquet"))[:1]:
        path.unlink()
        path.with_suffix(".idx").unlink()
    assert await ask(runner, "SELECT count(*) FROM events") == [[1]]


DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "sql.md"
QUERIES = re.findall(r"```sql\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)


def test_the_page_has_ten_queries() -> None:
    assert len(QUERIES) == 10


@pytest.mark.parametrize("number", range(len(QUERIES)))
async def test_the_queries_of_the_page_find_what_they_say(
    history: tuple[ParquetHistory, HistorySqlRunner], number: int
) -> None:
    store, runner = history
    now = time.time_ns() // 1_000_000 - 2 * 3_600_000

    def order(offset: int, type: str, minutes: int, **fields: Any) -> Event:
        at = now + minutes * 60_000
        position = Position("kafka", "orders", 0, offset)
        fields = {"event_id": f"e-{offset}", "aggregate_id": "o-1", "trace_id": 7, "producer": "shop", **fields}
        return Event(position, None, at, at * 1000, type=type, occurred_at=(at - 40) * 1000, **fields)

    await store.append(
        segment(
            order(1, "OrderCreated", 0),
            order(2, "OrderPaid", 2, causation_id="e-1", producer="till"),
            order(3, "OrderCreated", 90, event_id="e-1", digest=5, aggregate_id="o-2", trace_id=None),
            order(4, "OrderSent", 91, aggregate_id="o-3", rejection=Rejection("schema.mismatch", "no", "data.total")),
            bodies={1: b'{"data": {"total": 12.50}}', 3: b'{"data": {"total": 1}}', 2: b"{}", 4: b"{}"},
        )
    )
    answer = await runner.run(QUERIES[number], LIMITS)
    rows = [dict(zip([column.name for column in answer.columns], row, strict=True)) for row in answer.rows]
    expected: list[tuple[int, dict[str, Any]]] = [
        (2, {"events": 1, "type": "OrderSent"}),
        (3, {"type": "OrderSent", "rejected": 1, "percent": 100.0}),
        (1, {"code": "schema.mismatch", "path": "data.total", "letters": 1, "aggregates": 1}),
        (1, {"stream": "orders", "origin": "kafka://orders/0/4", "hours": 0}),
        (1, {"events": 3, "producers": ["shop", "till"], "duration_ms": 91 * 60_000.0}),
        (1, {"cause": "OrderCreated", "effect": "OrderPaid", "times": 2, "p99_ms": 66_000.0}),
        (1, {"aggregate_id": "o-1"}),
        (1, {"event_id": "e-1", "times": 2, "contents": 2, "positions": ["kafka://orders/0/1", "kafka://orders/0/3"]}),
        (2, {"median_ms": 40, "max_ms": 40}),
        (1, {"orders": 2, "total": "13.50"}),
    ]
    count, first = expected[number]
    assert len(rows) == count, rows
    assert rows[0] | first == rows[0], rows
