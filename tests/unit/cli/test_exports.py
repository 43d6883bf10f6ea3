"""Lists as NDJSON, CSV and Parquet, and the manual page."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sidecar.cli.app import COMMANDS
from tests.support.api import BAD, Sidecar, order
from tests.unit.cli.test_commands import on_a_terminal, within
from tests.unit.cli.test_output_formats import LISTS, at, logs, sidecar

__all__ = ["logs", "sidecar"]
pytestmark = pytest.mark.slow  # a process for each command


async def test_csv_has_a_row_for_each_item_and_the_same_columns_whatever_is_absent(sidecar: Sidecar) -> None:
    await sidecar.pass_on(order(1, eventType='a "quoted", text\nof two lines'))
    await sidecar.pass_on(BAD)
    for arguments in (*LISTS, ["events", "--full"], ["events", "--scan"]):
        plain = await within(*arguments, "--json", **at(sidecar))
        shown = await within(*arguments, "-o", "csv", **at(sidecar))
        rows = list(csv.DictReader(io.StringIO(shown.out)))
        assert shown.code == 0, shown.err
        expected = plain.rows()[0]["events"] if arguments[0] == "aggregate" else plain.rows()
        assert len(rows) == len(expected), arguments
    rejected, passed = csv.DictReader(io.StringIO((await within("events", "-o", "csv", **at(sidecar))).out))
    assert passed["type"] == 'a "quoted", text\nof two lines'
    assert passed["rejection.code"] == ""
    assert rejected["rejection.code"] == "schema.mismatch"
    (alone,) = csv.DictReader(io.StringIO((await within("events", "status:ok", "-o", "csv", **at(sidecar))).out))
    assert list(alone) == list(rejected)


async def test_ndjson_is_json_by_lines(sidecar: Sidecar) -> None:
    await sidecar.pass_on(order(1))
    assert (await within("events", "-o", "ndjson", **at(sidecar))).out == (
        await within("events", "--json", **at(sidecar))
    ).out


async def test_parquet_is_a_file_that_duckdb_reads(sidecar: Sidecar, tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    await sidecar.pass_on(order(1))
    await sidecar.pass_on(BAD)
    file = tmp_path / "events.parquet"
    with file.open("wb") as target:
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "sidecar", "events", "-o", "parquet"],
            stdout=target, stderr=subprocess.PIPE, check=False, env={**os.environ, **at(sidecar)},
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = duckdb.execute("SELECT event_id, status, rejection.code FROM read_parquet(?)", [str(file)]).fetchall()
    assert rows == [("e-9", "rejected", "schema.mismatch"), ("e-1", "ok", None)]


async def test_files_are_refused_where_they_make_no_sense(sidecar: Sidecar) -> None:
    await sidecar.pass_on(order(1))
    for arguments in (
        ["event", "e-1", "-o", "csv"],
        ["status", "-o", "parquet"],
        ["events", "--follow", "-o", "csv"],
        ["events", "--watch", "-o", "parquet"],
    ):
        refused = await within(*arguments, **at(sidecar))
        assert refused.code == 2, arguments
        assert "--output" in refused.err
    assert await on_a_terminal("events", "-o", "parquet", **at(sidecar)) == ""


async def test_the_manual_page_describes_every_command() -> None:
    page = await within("man")
    assert page.code == 0
    for name in COMMANDS:
        assert f".SS tracecar {name.replace('-', chr(92) + '-')} " in page.out, name
    for section in ("NAME", "SYNOPSIS", "OPTIONS", "COMMANDS", "ENVIRONMENT", "FILES", "EXIT STATUS"):
        assert f"\n.SH {section}\n" in page.out
    assert "\n.SS tracecar replays show" not in page.out
    if (groff := shutil.which("groff")) is not None:
        checked = await asyncio.to_thread(
            subprocess.run, [groff, "-man", "-ww", "-z"], input=page.out, text=True, capture_output=True, check=True
        )
        assert checked.stderr == ""
