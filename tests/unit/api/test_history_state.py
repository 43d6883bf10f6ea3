"""The history's own state over HTTP and on the command line, on files of a real history."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from sidecar.adapters.history.builder import build_parquet_history
from sidecar.config.schema import HistoryConfig
from sidecar.domain.history_rows import HistoryRow, encode_row
from sidecar.domain.model import Event
from sidecar.domain.offset_ranges import OffsetRange
from sidecar.domain.ports.history import HistorySegment
from sidecar.domain.position import Partition, Position
from tests.support.api import READER, Sidecar, serving
from tests.unit.cli.test_commands import within

ORDERS = Partition("memory", "orders", 0)
DAY_S, HOUR_US = 86_400, 3_600_000_000


@pytest_asyncio.fixture
async def sidecar(tmp_path: Path) -> AsyncIterator[Sidecar]:
    history, _ = build_parquet_history(HistoryConfig(url=str(tmp_path / "history")))
    history._now_us = lambda: time.time_ns() // 1_000 - 3 * HOUR_US  # an hour that is over
    for first in (0, 5):
        events = [
            Event(Position("memory", "orders", 0, first + n), None, 1_790_000_000_000 + n, 0, event_id=f"e-{first + n}")
            for n in range(3)
        ]
        lines = [encode_row(HistoryRow(event)) for event in events]
        hole = [OffsetRange(ORDERS, None, 3, 5)] if first else []
        await history.append(HistorySegment(lines, [OffsetRange(ORDERS, None, first, first + 3)], hole))
    stranger = tmp_path / "history" / "events" / "day=2026-09-21" / "hour=00" / "stranger.parquet"
    stranger.parent.mkdir(parents=True, exist_ok=True)
    stranger.write_bytes(b"not Parquet")
    async with serving(tmp_path / "token", history=history) as running:
        yield running
    await history.close()


async def test_the_state_of_the_history(sidecar: Sidecar) -> None:
    async with sidecar.http(READER) as http:
        state = (await http.get("/v1/history")).json()
    assert (state["events"], state["files"], state["oldest"]) == (6, 2, "2026-09-21T14:13:20.000Z")
    assert [(each["first"], each["last"]) for each in state["covered"]] == [("0", "2"), ("5", "7")]
    assert [(each["partition"], each["first"], each["last"]) for each in state["holes"]] == [(str(ORDERS), "3", "4")]
    assert (state["covered_count"], state["hole_count"]) == (2, 1)
    assert (state["merges"], state["merged_files"], state["deleted_files"]) == (1, 2, 0)
    assert [each["name"].rpartition("/")[2] for each in state["unusable"]] == ["stranger.parquet"]
    assert (state["keep_age_s"], state["keep_bytes"]) == (30 * DAY_S, 50_000_000_000)
    assert state["writing"] is None


async def test_the_command_prints_it(sidecar: Sidecar) -> None:
    at = {"TRACECAR_URL": sidecar.url, "TRACECAR_TOKEN": READER}
    printed = (await within("history", **at)).out
    assert "6 events in 2 files" in printed
    assert "next compaction: merges 2 files into 1" in printed
    assert f"holes:\n  {ORDERS} from 3 to 4" in printed
    assert "stranger.parquet" in printed
    assert json.loads((await within("history", "--json", **at)).out)["hole_count"] == 1


async def test_without_a_history_the_command_says_what_to_set(tmp_path: Path) -> None:
    async with serving(tmp_path / "token") as running:
        result = await within("history", TRACECAR_URL=running.url, TRACECAR_TOKEN=READER)
    assert result.code == 1
    assert "set history.url" in result.err
