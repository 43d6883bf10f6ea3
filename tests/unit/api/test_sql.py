"""SQL over HTTP and on the command line, on files of a real history."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from sidecar.adapters.history.builder import build_parquet_history
from sidecar.config.schema import HistoryConfig
from sidecar.domain.history_rows import HistoryRow, encode_row
from sidecar.domain.model import Event
from sidecar.domain.ports.history import HistorySegment
from sidecar.domain.position import Position
from tests.support.api import OPERATOR, READER, REPORTER, Sidecar, serving
from tests.unit.cli.test_commands import within

pytestmark = pytest.mark.slow  # each test starts a process of DuckDB

HOSTILE = "\x1b]0;owned\x07[bold]x\u202e"


@pytest_asyncio.fixture
async def sidecar(tmp_path: Path) -> AsyncIterator[Sidecar]:
    history, sql = build_parquet_history(HistoryConfig(url=str(tmp_path / "history")))
    events = [
        Event(Position("memory", "orders", 0, n), None, 1_790_000_000_000 + n, 0, type=type, event_id=f"e-{n}")
        for n, type in enumerate(("OrderCreated", "OrderCreated", HOSTILE))
    ]
    await history.append(HistorySegment(lines=[encode_row(HistoryRow(event)) for event in events], covered=[]))
    async with serving(tmp_path / "token", history=history, sql=sql) as running:
        yield running
    await history.close()


async def ask(sidecar: Sidecar, body: Any, status: int = 200, token: str | None = READER) -> Any:
    async with sidecar.http(token) as http:
        response = await http.post("/v1/sql", json=body)
    assert response.status_code == status, response.text
    return response.json()


async def test_a_statement_is_answered_with_columns_and_rows(sidecar: Sidecar) -> None:
    statement = "SELECT type, count(*) AS n FROM events GROUP BY type ORDER BY n DESC"
    answer = await ask(sidecar, {"statement": statement, "limit": 1})
    assert answer["columns"] == [{"name": "type", "type": "VARCHAR"}, {"name": "n", "type": "BIGINT"}]
    assert (answer["rows"], answer["truncated"], answer["files"]) == ([["OrderCreated", 2]], True, 1)
    assert (await ask(sidecar, {"statement": statement, "since": "2040-01-01"}))["rows"] == []


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"statement": "SELECT nothing FROM events"}, 400, 'column "nothing" not found'),
        ({"statement": "COPY (SELECT 1) TO '/tmp/x'"}, 400, "expected one SELECT statement, found COPY"),
        ({"statement": "SELECT 1", "since": "noon"}, 400, "since: 'noon'"),
        ({"statement": "x" * 20_001}, 400, "at most 20000 are allowed"),
        ({"statement": "SELECT 1", "unknown": 1}, 400, "unknown"),
        ({}, 400, "statement"),
        (
            {"statement": "SELECT count(*) FROM range(1000000) a, range(1000000) b", "timeout_s": 0.5}, 409,
            "took longer than 0.5 s; choose a shorter time",
        ),
    ],
)  # fmt: skip
async def test_a_wrong_statement_is_refused_with_the_reason(
    sidecar: Sidecar, body: Any, status: int, words: str
) -> None:
    assert words.lower() in (await ask(sidecar, body, status))["detail"].lower()


async def test_sql_needs_the_role_read(sidecar: Sidecar) -> None:
    for token, status in ((READER, 200), (OPERATOR, 200), (REPORTER, 403), (None, 401)):
        await ask(sidecar, {"statement": "SELECT 1"}, status, token)


async def test_without_a_history_the_answer_says_so(tmp_path: Path) -> None:
    async with serving(tmp_path / "token") as sidecar:
        assert "set history.url" in (await ask(sidecar, {"statement": "SELECT 1"}, 409))["detail"]


async def test_the_command_prints_a_table_json_and_csv(sidecar: Sidecar) -> None:
    at = {"TRACECAR_URL": sidecar.url, "TRACECAR_TOKEN": READER}
    statement = "SELECT event_id, type, [1, 2] AS list, NULL AS nothing FROM events ORDER BY 1"
    table = await within("sql", statement, **at)
    assert (table.code, table.out.splitlines()[0]) == (0, "event_id\ttype\tlist\tnothing")
    assert "\x1b" not in table.out
    rows = (await within("sql", statement, "--json", "--limit", "1", **at)).out.splitlines()
    assert [json.loads(row) for row in rows] == [
        {"event_id": "e-0", "type": "OrderCreated", "list": [1, 2], "nothing": None}
    ]
    printed = (await within("sql", statement, "--csv", **at)).out
    assert list(csv.reader(io.StringIO(printed)))[:2] == [
        ["event_id", "type", "list", "nothing"], ["e-0", "OrderCreated", "[1,2]", ""],
    ]  # fmt: skip
    wrong = await within("sql", "DROP VIEW events", **at)
    assert (wrong.code, "expected one SELECT statement, found DROP" in wrong.err) == (2, True)
    assert (await within("sql", "SELECT 1", "--csv", "--json", **at)).code == 2
    limited = await within("sql", statement, "--limit", "2", "-o", "yaml", **at)
    assert "only the first 2 rows are printed" in limited.err
