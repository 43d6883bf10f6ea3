"""Output formats, options before and after the command, --watch, completion, and modules in the current directory."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml
from structlog.testing import capture_logs

from sidecar.cli.output.tables import format_age
from tests.support.api import BAD, OPERATOR, Sidecar, order, serving
from tests.unit.cli.test_commands import ESCAPES, STYLE, on_a_terminal, tracecar, within

pytestmark = pytest.mark.slow  # a process for each command


@pytest.fixture(autouse=True)
def logs() -> Iterator[None]:
    """Keep the sidecar's logs out of stdout, which it shares with the commands that run in this process."""
    with capture_logs():
        yield


@pytest_asyncio.fixture
async def sidecar(tmp_path: Path) -> AsyncIterator[Sidecar]:
    async with serving(tmp_path / "token") as running:
        yield running


def at(sidecar: Sidecar) -> dict[str, str]:
    return {"TRACECAR_URL": sidecar.url, "TRACECAR_TOKEN": OPERATOR}


def timeless(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in ("oldest_age_s", "uptime_s")} for row in rows]


LISTS = (["events"], ["flows"], ["aggregate", "o-1"], ["dlq", "list"], ["dlq", "groups"], ["streams"], ["schemas"])


async def test_output_json_is_what_json_is(sidecar: Sidecar) -> None:
    await sidecar.pass_on(order(1))
    await sidecar.pass_on(BAD)
    for arguments in (*LISTS, ["event", "e-1"], ["flow", "e-1"], ["dialects"], ["audit"], ["replays"], ["groups"]):
        plain = await within(*arguments, "--json", **at(sidecar))
        for option in (["-o", "json"], ["--output", "json"], ["-ojson"], ["--json", "-o", "json"]):
            other = await within(*arguments, *option, **at(sidecar))
            assert (other.code, timeless(other.rows())) == (0, timeless(plain.rows())), (arguments, option)


async def test_yaml_is_the_same_data(sidecar: Sidecar) -> None:
    await sidecar.pass_on(order(1, aggregateId=ESCAPES + "größe", data={"total": 10**20}))
    await sidecar.pass_on(BAD)
    for arguments in (*LISTS, ["event", "e-1"], ["events", "--full"], ["status"]):
        plain = await within(*arguments, "--json", **at(sidecar))
        shown = await within(*arguments, "-o", "yaml", **at(sidecar))
        documents = list(yaml.safe_load_all(shown.out))
        assert timeless(documents) == timeless(plain.rows()), arguments
        assert not [c for c in shown.out if not c.isprintable() and c != "\n"], arguments


async def test_names_are_what_the_next_command_takes(sidecar: Sidecar) -> None:
    await sidecar.pass_on(order(1))
    await sidecar.pass_on(BAD)
    for listing, showing in (
        (["events"], ["event"]),
        (["events", "--scan"], ["event"]),
        (["flows"], ["flow"]),
        (["dlq", "list"], ["dlq", "show"]),
        (["schemas"], ["schemas"]),
    ):
        names = (await within(*listing, "-o", "name", **at(sidecar))).out.splitlines()
        assert names, listing
        for name in names:
            assert (await within(*showing, name, "--json", **at(sidecar))).code == 0, name


async def test_wide_shows_all_columns_uncut_and_ages_beside_times(sidecar: Sidecar) -> None:
    await sidecar.pass_on(order(1, aggregateId="a" * 100))
    narrow = STYLE.sub("", await on_a_terminal("events", columns=80, NO_COLOR="1", **at(sidecar))).splitlines()
    assert "AGE" in narrow[0].split()
    assert "APPENDED" not in narrow[0]
    wide = STYLE.sub("", await on_a_terminal("events", "-o", "wide", columns=80, NO_COLOR="1", **at(sidecar)))
    head, row = wide.replace("\r", "").splitlines()[:2]
    assert "APPENDED AT" in head
    assert "AGE" in head.split()
    assert "a" * 100 in row


@pytest.mark.parametrize(
    ("seconds", "age"), [(-5, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (7_200, "2h"), (172_800, "2d")]
)
def test_ages_are_those_of_kubectl(seconds: int, age: str) -> None:
    assert format_age("2026-01-31T12:00:00Z", 1_769_860_800 + seconds) == age


def test_a_value_that_is_no_time_has_no_age() -> None:
    assert format_age(None, 0.0) == "-"


async def test_contradicting_formats_are_refused(sidecar: Sidecar) -> None:
    for arguments in (["--json", "-o", "yaml"], ["-o", "xml"]):
        assert (await within("events", *arguments, **at(sidecar))).code == 2


async def test_options_are_accepted_before_and_after_the_command(sidecar: Sidecar) -> None:
    await sidecar.pass_on(BAD)
    place = ["--url", sidecar.url, "--token", OPERATOR]
    wrong = {"TRACECAR_URL": "http://127.0.0.1:9", "TRACECAR_TOKEN": "nonsense"}
    for arguments in (
        [*place, "status", "--json"],
        ["status", *place, "--json"],
        [*place, "dlq", "list", "--json"],
        ["dlq", *place, "list", "--json"],
        [*place, "streams", "--json"],
        [*place, "streams", "--json", "resume", "orders"],
        ["streams", *place, "--json", "resume", "orders"],
        ["streams", "resume", "orders", *place, "--json"],
        [*place, "--url", sidecar.url, "replays", "--json"],
        ["--url", "http://127.0.0.1:9", "status", *place, "--json"],
    ):
        outcome = await within(*arguments, **wrong)
        assert outcome.code == 0, (arguments, outcome.err)
        assert all(isinstance(row, dict) for row in outcome.rows()), arguments


async def test_a_negation_is_no_output_option(sidecar: Sidecar) -> None:
    for number in range(2):
        await sidecar.pass_on(order(number))
    assert len((await within("events", "-e-1", "--json", **at(sidecar))).rows()) == 1
    assert len((await within("events", "-order", "--json", **at(sidecar))).rows()) == 2


async def test_watch_prints_what_is_new_in_a_pipe(sidecar: Sidecar) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "sidecar", "events", "--watch", "-o", "name"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | at(sidecar),
    )
    assert process.stdout is not None
    positions = []
    for number in range(3):
        positions.append(str((await sidecar.pass_on(order(number))).event.position))
        assert (await asyncio.wait_for(process.stdout.readline(), 20)).decode().strip() == positions[-1]
    process.send_signal(2)
    assert await process.wait() == 130


async def test_ids_and_streams_are_completed_from_the_sidecar(sidecar: Sidecar) -> None:
    bad = await sidecar.pass_on(BAD)

    async def completions(line: str, **environment: str) -> list[str]:
        words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("tracecar")),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "_TRACECAR_COMPLETE": "complete_bash", **words, **at(sidecar), **environment},
        )
        out, _ = await process.communicate()
        return out.decode().split()

    async def completions_in_time(line: str) -> list[str]:
        """Ask again if a busy machine gave no answer within the time limit of a completion."""
        for _ in range(5):
            if found := await completions(line):
                return found
        return []

    letter = f"tracecar.shop@{bad.event.position}"
    assert await completions("tracecar sta") == ["status"]
    assert await completions_in_time("tracecar streams resume or") == ["orders"]
    assert await completions_in_time("tracecar dlq show tracecar.") == [letter]
    assert str(bad.event.position) in await completions_in_time("tracecar event memory")
    assert "orders-value" in await completions_in_time("tracecar schemas ord")
    assert await completions("tracecar schemas ch") == ["check"]
    assert await completions_in_time("tracecar events stream:ord") == ["stream:orders"]
    assert sorted(await completions("tracecar events stat")) == ["state:", "status:"]
    assert await completions("tracecar events status:rej") == ["status:rejected"]
    began = time.monotonic()
    assert await completions("tracecar streams resume or", TRACECAR_URL="http://127.0.0.1:9") == []
    assert time.monotonic() - began < 5


async def test_run_and_check_take_the_file_in_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ("run", "check"):
        missing = await within(command)
        assert missing.code == 2
        assert "tracecar.yaml" in missing.err
        assert "-c FILE" in missing.err
    (tmp_path / "tracecar.yaml").write_text("nonsense: 1\n")
    for command in ("run", "check"):
        assert "nonsense" in (await within(command)).err


def test_a_module_in_the_current_directory_is_not_imported(tmp_path: Path) -> None:
    """The demo and the web dashboard start their child processes with -P."""
    from sidecar.demo import sidecar_process
    from tui import web_server

    (tmp_path / "structlog.py").write_text("raise SystemExit('imported from the current directory')\n")
    (tmp_path / "tracecar.yaml").write_text("nonsense: 1\n")
    for module in (sidecar_process, web_server):
        source = Path(module.__file__).read_text()
        assert source.count("sys.executable") == source.count('sys.executable, "-P", "-m", "sidecar"') == 1
    done = subprocess.run(
        [sys.executable, "-P", "-m", "sidecar", "check"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "current directory" not in done.stderr


@pytest.mark.parametrize("command", [["status"], ["dlq", "show", "x"]])
async def test_a_sidecar_that_is_not_there_is_exit_code_3_in_every_format(command: list[str]) -> None:
    for output in ("json", "yaml", "name", "wide"):
        outcome = await tracecar(*command, "-o", output, TRACECAR_URL="http://127.0.0.1:9")
        assert (outcome.code, outcome.out) == (3, "")


def test_json_lines_stay_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    from sidecar.cli.output.tables import print_json

    print_json({"text": "a\nb\x1b"})
    assert json.loads(capsys.readouterr().out) == {"text": "a\nb\x1b"}


@pytest.mark.parametrize("listing", [["events"], ["flows"], ["aggregate", "o-1"], ["dlq", "list"], ["dlq", "groups"]])
async def test_a_terminal_of_80_columns_shows_whole_ids(sidecar: Sidecar, listing: list[str]) -> None:
    await sidecar.pass_on(order(1))
    await sidecar.pass_on(BAD)
    shown = STYLE.sub("", await on_a_terminal(*listing, columns=80, NO_COLOR="1", **at(sidecar)))
    (name, *_) = (await within(*listing, "-o", "name", **at(sidecar))).out.splitlines()
    assert name in shown, shown
    assert max(map(len, shown.splitlines())) <= 80
