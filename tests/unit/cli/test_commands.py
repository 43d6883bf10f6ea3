"""The command line as scripts and users run it: as processes, against the real API."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import pty
import re
import sys
from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import pytest_asyncio

from sidecar.cli import main
from tests.support.api import BAD, OPERATOR, READER, Sidecar, order, serving
from tests.unit.api.test_http import CAUSE, DEAD_LETTER, EVENT, FLOW, STATUS, STREAM

pytestmark = pytest.mark.slow  # each test starts a process for each command

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m[bold]x[/bold]\u202eright\n"
"""Control sequences, markup, a mark that changes the direction of writing, and a line end."""


STYLE = re.compile(r"\x1b\[[0-9;]*m")
COLOR = re.compile(r"\x1b\[(?:[0-9]+;)*[39][0-7]m")


class Outcome:
    def __init__(self, code: int, out: bytes, err: bytes) -> None:
        self.code, self.out, self.err = code, out.decode(), err.decode()

    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


async def tracecar(*arguments: str, **environment: str) -> Outcome:
    base = {name: value for name, value in os.environ.items() if not name.startswith("TRACECAR_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sidecar", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL,
        env=base | {"HOME": "/nonexistent"} | environment,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode is not None
    return Outcome(process.returncode, out, err)


async def within(*arguments: str, **environment: str) -> Outcome:
    """Run a command in this process, which is faster than starting one."""
    out, err = io.StringIO(), io.StringIO()

    def run() -> int:
        try:
            main()
        except SystemExit as exit:
            return int(exit.code or 0)
        return 0

    with (
        patch.dict(os.environ, {"HOME": "/nonexistent", **environment}),
        patch.object(sys, "argv", ["tracecar", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = await asyncio.to_thread(run)
    return Outcome(code, out.getvalue().encode(), err.getvalue().encode())


async def on_a_terminal(*arguments: str, columns: int = 80, **environment: str) -> str:
    """Return what a command writes to a terminal of this width."""
    master, slave = pty.openpty()
    read = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(read), os.fdopen(master, "rb", buffering=0)
    )
    base = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sidecar", *arguments, stdout=slave, stderr=asyncio.subprocess.DEVNULL,
        stdin=asyncio.subprocess.DEVNULL,
        env=base | {"TERM": "xterm-256color", "COLUMNS": str(columns)} | environment,
    )  # fmt: skip
    await process.wait()
    os.close(slave)
    chunks = []
    while True:
        try:
            chunk = await read.read(65_536)
        except OSError:  # Linux reports the end of a terminal's output as an error
            break
        if not chunk:
            break
        chunks.append(chunk)
    transport.close()
    return b"".join(chunks).decode()


@pytest_asyncio.fixture
async def sidecar(tmp_path: Path) -> AsyncIterator[Sidecar]:
    async with serving(tmp_path / "token") as running:
        yield running


def _at(sidecar: Sidecar, token: str = OPERATOR) -> dict[str, str]:
    return {"TRACECAR_URL": sidecar.url, "TRACECAR_TOKEN": token}


async def test_json_has_the_contracts_fields(sidecar: Sidecar) -> None:
    at = _at(sidecar)
    for number in range(3):
        await sidecar.pass_on(order(number, correlationId="c-1"))
    await sidecar.pass_on(BAD)
    for arguments, fields, count in (
        (["events"], EVENT, 4),
        (["events", "--limit", "2"], EVENT, 2),
        (["events", "type:Order*", "-status:rejected", "OR", "e-0"], EVENT, 3),
        (["events", "--scan", "--limit", "0"], EVENT, 4),
        (["events", "--full"], EVENT | {"headers", "body"}, 4),
        (["event", "e-0"], EVENT | {"headers", "body"}, 1),
        (["flow", "c-1"], FLOW, 1),
        (["flows"], FLOW - {"events"}, 2),
        (["aggregate", "o-1"], {"aggregate_id", "events", "complete", "coverage"}, 1),
        (["aggregate", "o-1", "--at", "now"], {"at", "applied", "state"}, 1),
        (["aggregate", "o-1", "--diff", "1 hour ago"], {"at", "applied", "state", "changes"}, 1),
        (["dlq", "list"], DEAD_LETTER, 1),
        (["dlq", "groups", "code:schema.*"], CAUSE, 1),
        (["dlq", "groups", "code:decode.*"], CAUSE, 0),
        (["dialects"], {"dialect", "framework", "streams", "recognised_by", "read", "written"}, 13),
        (["streams"], STREAM, 2),
        (["schemas"], {"subject", "versions"}, 1),
        (["schemas", "orders-value"], {"subject", "text"}, 1),
        (["status"], STATUS, 1),
    ):
        outcome = await within(*arguments, "--json", **at)
        assert outcome.code == 0, (arguments, outcome.err)
        assert len(outcome.rows()) == count, arguments
        for row in outcome.rows():
            assert set(row) >= fields, arguments
    assert (await tracecar("streams", "resume", "orders", "--json", **at)).rows() == [
        {"stream": "orders", "partitions": 0, "lost": 0, "lost_positions": []}
    ]
    letter = (await within("dlq", "list", "--json", **at)).rows()[0]
    shown = await within("dlq", "show", letter["id"], "--json", **at)
    assert shown.rows()[0]["body"] == BAD


async def test_exit_codes(sidecar: Sidecar, tmp_path: Path) -> None:
    at = _at(sidecar)
    config = tmp_path / "bad.yaml"
    config.write_text("service: 1\nnonsense: 2\n")
    for arguments, environment, code, words in (
        (["status"], at, 0, ""),
        (["flow", "nobody"], at, 1, "nobody"),
        (["dlq", "show", "nobody@x"], at, 1, "nobody@x"),
        (["schemas", "nobody"], at, 1, "nobody"),
        (["nonsense"], at, 2, "nonsense"),
        (["events", "--limit", "-1"], at, 2, "limit"),
        (["events", "--follow", "--scan"], at, 2, "choose one"),
        (["events", "nonsense:1"], at, 2, "^"),
        (["run", "-c", str(tmp_path / "nowhere.yaml")], {}, 2, "nowhere.yaml"),
        (["run", "-c", str(config)], {}, 2, "nonsense"),
        (["check", "-c", str(config)], {}, 2, "sources"),
        (["status", "--url", "http://127.0.0.1:9"], {}, 3, "no sidecar answers"),
        (["events", "--follow", "--url", "http://127.0.0.1:9"], {}, 3, "no sidecar answers"),
        (["status", "--url", "ftp://x"], {}, 3, "ftp"),
        (["status"], _at(sidecar, "nonsense"), 3, "unknown to this sidecar"),
        (["streams", "resume", "orders"], _at(sidecar, READER), 3, "operate"),
    ):
        one_of_each = arguments in (["status"], ["flow", "nobody"], ["nonsense"]) and environment
        outcome = await (tracecar if one_of_each else within)(*arguments, **environment)
        assert outcome.code == code, (arguments, outcome.out, outcome.err)
        assert words in outcome.err, arguments
        assert "Traceback" not in outcome.err, arguments


async def test_help_loads_nothing_heavy() -> None:
    code = "import sidecar.cli.app, sys; print([m for m in ('rich', 'httpx2', 'aiokafka', 'litestar', 'yaml', 'fastavro') if m in sys.modules])"  # noqa: E501
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert out.strip() == b"[]"


async def test_in_a_pipe_columns_are_whole_and_plain(sidecar: Sidecar) -> None:
    await sidecar.pass_on(order(1, aggregateId="a" * 400))
    for arguments in (["events"], ["events", "--scan"]):
        outcome = await tracecar(*arguments, COLUMNS="40", **_at(sidecar))
        head, row = outcome.out.splitlines()
        assert head.split("\t") == [
            "appended_at", "stream", "type", "aggregate_id", "event_id", "trace_id", "status", "position",
        ]  # fmt: skip
        assert len(row.split("\t")) == len(head.split("\t"))
        assert "a" * 400 in row
        assert "\x1b" not in outcome.out
    assert "\t" in (await tracecar("dlq", "list", **_at(sidecar))).out


@pytest.mark.parametrize("columns", [40, 100])
async def test_on_a_terminal_tables_fit_its_width(sidecar: Sidecar, columns: int) -> None:
    await sidecar.pass_on(order(1, aggregateId="a" * 400))
    await sidecar.pass_on(BAD)
    for arguments in (["events"], ["dlq", "list"], ["dlq", "groups"], ["dialects"], ["flow", "e-9"]):
        shown = await on_a_terminal(*arguments, columns=columns, NO_COLOR="1", **_at(sidecar))
        rows = STYLE.sub("", shown).splitlines()
        assert len(rows) >= 2, arguments
        if arguments[0] != "flow":
            assert all(len(row) <= columns for row in rows), (arguments, rows)
        assert not COLOR.search(shown)
    shown = await on_a_terminal("events", columns=columns, **_at(sidecar))
    assert COLOR.search(shown)


@pytest.mark.parametrize("columns", [40, 80, 160])
async def test_streamed_rows_fit_the_terminal_and_color_the_status(sidecar: Sidecar, columns: int) -> None:
    await sidecar.pass_on(order(1, aggregateId="a" * 400))
    await sidecar.pass_on(BAD)
    shown = await on_a_terminal("events", "--scan", columns=columns, NO_COLOR="1", **_at(sidecar))
    head, *rows = STYLE.sub("", shown).splitlines()
    assert len(rows) == 2
    assert all(len(row) <= columns for row in (head, *rows))
    assert "STATUS" in head
    assert [row[head.index("STATUS") :].split()[0].rstrip("…") for row in rows] == ["ok", "rejected"]


async def test_nothing_in_an_event_reaches_the_terminal_as_control_or_markup(sidecar: Sidecar) -> None:
    at = _at(sidecar)
    hostile = order(1, eventId=ESCAPES, eventType=ESCAPES, aggregateId=ESCAPES, data={ESCAPES: ESCAPES})
    await sidecar.pass_on(hostile, headers=((ESCAPES, ESCAPES.encode()),))
    bad = await sidecar.pass_on(hostile | {"data": {ESCAPES: [1]}})
    letter = f"tracecar.shop@{bad.event.position}"
    for arguments in (
        ["events"], ["events", "--full"], ["events", "--scan"], ["event", str(bad.event.position)], ["flows"],
        ["flow", str(bad.event.position)], ["aggregate", ESCAPES],
        ["aggregate", ESCAPES, "--diff", "2020-01-01", "--steps"], ["dlq", "list"], ["dlq", "show", letter],
        ["dlq", "groups"], ["flow", ESCAPES + "nobody"], ["events", f"type:{ESCAPES}nonsense:("],
    ):  # fmt: skip
        outcome = await within(*arguments, *(["--json"] if len(arguments) % 2 else []), **at)
        for text in (outcome.out, outcome.err):
            assert not [c for c in text if not c.isprintable() and c not in "\n\t"], arguments
        assert outcome.out or outcome.code, arguments
    for arguments in (
        ["events"],
        ["event", str(bad.event.position)],
        ["flow", str(bad.event.position)],
        ["dlq", "list"],
    ):
        shown = STYLE.sub("", await on_a_terminal(*arguments, NO_COLOR="1", columns=600, **at))
        assert "[bold]" in shown, arguments
        assert not [c for c in shown if not c.isprintable() and c not in "\r\n"], arguments


async def test_a_reader_may_close_the_pipe_while_events_arrive(sidecar: Sidecar) -> None:
    reading, writing = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sidecar", "events", "--follow", "--json"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=writing,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | _at(sidecar),
    )
    os.close(writing)
    while not sidecar.live.subscribers:
        await asyncio.sleep(0.01)
    await sidecar.pass_on(order(1))
    assert await asyncio.to_thread(os.read, reading, 100)
    os.close(reading)  # like `| head -n 1`
    waiting = asyncio.ensure_future(process.wait())
    number = 2
    while not waiting.done():  # it notices when it writes
        await sidecar.pass_on(order(number))
        number += 1
        await asyncio.sleep(0.01)
    assert process.stderr is not None
    assert (process.returncode, await process.stderr.read()) == (0, b"")


async def test_following_prints_events_as_they_pass(sidecar: Sidecar) -> None:
    following = asyncio.ensure_future(tracecar("events", "-f", "--limit", "2", "--json", "type:Order*", **_at(sidecar)))
    while not sidecar.live.subscribers:
        await asyncio.sleep(0.01)
    for number in range(2):
        await sidecar.pass_on(order(number))
    outcome = await following
    assert outcome.code == 0
    assert [row["event_id"] for row in outcome.rows()] == ["e-0", "e-1"]


async def test_all_is_more_than_a_page(sidecar: Sidecar) -> None:
    for number in range(1_100):
        await sidecar.pass_on(order(number))
    outcome = await tracecar("events", "--limit", "0", "--json", **_at(sidecar))
    assert len(outcome.rows()) == 1_100


async def test_a_flow_is_a_tree(sidecar: Sidecar) -> None:
    await sidecar.pass_on(order(1, correlationId="c"))
    await sidecar.pass_on(order(2, correlationId="c", causationId="e-1"))
    await sidecar.pass_on(order(3, correlationId="c", causationId="e-1", data={"total": [1]}))
    outcome = await tracecar("flow", "c", **_at(sidecar))
    lines = outcome.out.splitlines()
    assert "3 events" in lines[0]
    assert "rejected" in lines[0]
    tree = [line for line in lines if "OrderCreated" in line]
    assert [line[:3] for line in tree] == ["Ord", "├─ ", "└─ "]
    assert "schema.mismatch" in tree[2]


async def test_a_flow_of_an_aggregate_tells_where_its_other_events_are(sidecar: Sidecar) -> None:
    for number in range(2):
        await sidecar.pass_on(order(number, aggregateId="o-7"))
    outcome = await tracecar("flow", "o-7", **_at(sidecar))
    assert "1 event in" in outcome.out
    assert "1 more event with this id" in outcome.err


async def test_the_configurations_schema_is_printed() -> None:
    outcome = await tracecar("config", "schema")
    assert outcome.code == 0
    assert "sources" in json.loads(outcome.out)["properties"]


async def test_check_lists_its_tests(tmp_path: Path) -> None:
    config = tmp_path / "tracecar.yaml"
    (tmp_path / "schemas").mkdir()
    config.write_text(
        f"service: shop\nsources:\n  redis: {{url: 'redis://127.0.0.1:9/0', streams: [orders]}}\n"
        f"registry: {{directory: '{tmp_path}/schemas'}}\n"
    )
    outcome = await tracecar("check", "-c", str(config), "--json")
    assert outcome.code == 1, outcome.err
    findings = outcome.rows()
    assert all(set(finding) == {"what", "ok", "detail"} for finding in findings)
    assert any(finding["ok"] and "orders.dlt" in finding["detail"] for finding in findings)
    assert any(not finding["ok"] and finding["what"].startswith("sources.redis") for finding in findings)
    assert any(finding["ok"] and finding["what"].startswith("registry") for finding in findings)
    config.write_text(config.read_text() + "index: {redis: {url: 'redis://127.0.0.1:9'}}\n")
    outcome = await tracecar("check", "-c", str(config), "--json")
    assert any(not finding["ok"] and finding["what"] == "index.redis" for finding in outcome.rows())


async def test_a_link_that_names_no_place_is_wrong_usage() -> None:
    outcome = await within("tui", "https://tracecar.example/#/nowhere/1")
    assert outcome.code == 2
    assert "#/flow/4711" in outcome.err


@pytest.mark.parametrize("arguments", [["flow", "e-1"], ["flow", "e-1", "-o", "html"], ["event", "e-1"], ["status"]])
async def test_a_reader_may_read_the_first_line_alone(sidecar: Sidecar, arguments: list[str]) -> None:
    await sidecar.pass_on(order(1))
    reading, writing = os.pipe()
    os.close(reading)  # like `| head -n 1` which has ended already
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sidecar", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=writing,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | _at(sidecar),
    )
    os.close(writing)
    _, said = await process.communicate()
    assert (process.returncode, said) == (0, b"")


async def test_the_version_is_printed() -> None:
    outcome = await within("--version")
    assert (outcome.code, outcome.out) == (0, f"tracecar {version('tracecar')}\n")


async def test_what_was_probably_meant_is_printed(sidecar: Sidecar) -> None:
    await sidecar.pass_on(order(1))
    wrong = await within("events", "status=rejected", **_at(sidecar))
    assert wrong.code == 2
    assert wrong.err.endswith("did you mean: status:rejected\n")
    for arguments in (["events"], ["events", "--json"], ["dlq", "list"], ["dlq", "groups"], ["events", "--scan"]):
        fruitless = await within(*arguments, "order", "2063", "failed", **_at(sidecar))
        assert fruitless.code == 0
        assert fruitless.err.endswith("did you mean: 'aggregate:*2063 status:rejected'\n"), arguments
