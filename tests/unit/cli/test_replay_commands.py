"""Replays on the command line: dead letters, ranges, edits, discards, exports and imports."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import sys
from collections.abc import AsyncIterator, Iterator, MutableMapping
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio
import typer
from msgspec.structs import replace
from structlog.testing import capture_logs

from sidecar.adapters.brokers.memory.log import MemoryGroup
from sidecar.api.client.body_diff import difference
from sidecar.api.client.client import Client, Unreachable
from sidecar.api.models.replays import ReplayModel, ReplayRequestModel
from sidecar.cli import edit_options
from sidecar.cli.output import replay_progress
from sidecar.domain.position import Position
from tests.support.api import OPERATOR, READER, Sidecar, order, serving
from tests.unit.cli.test_commands import Outcome, tracecar, within

pytestmark = pytest.mark.slow  # each test starts a process for each command

REPLAY = {
    "id", "state", "query", "to", "selected", "published", "skipped", "failed", "returned", "started_at", "ended_at",
}  # fmt: skip
"""The contract's fields."""


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[MutableMapping[str, Any]]]:
    """What the sidecars log: they share a process, and so its stdout, with the commands."""
    with capture_logs() as lines:
        yield lines


@pytest_asyncio.fixture
async def sidecar(tmp_path: Path) -> AsyncIterator[Sidecar]:
    async with serving(tmp_path / "token", redact=["body:data.secret"]) as running:
        yield running


def at(sidecar: Sidecar, token: str = OPERATOR) -> dict[str, str]:
    return {"TRACECAR_URL": sidecar.url, "TRACECAR_TOKEN": token}


async def letter(sidecar: Sidecar, number: int = 9, **data: Any) -> str:
    """A dead letter's id: an event whose total is a list."""
    bad = await sidecar.pass_on(order(number, data={"total": [number], "secret": "s3cret", **data}))
    return f"tracecar.shop@{bad.event.position}"


def bodies(sidecar: Sidecar, stream: str) -> list[Any]:
    parts = sidecar.log.streams.get(stream, [])
    return [json.loads(record.value or b"null") for part in parts for record in part.records]


def replayed(sidecar: Sidecar, stream: str = "orders") -> list[Any]:
    return [
        json.loads(record.value or b"null")
        for part in sidecar.log.streams[stream]
        for record in part.records
        if "tracecar.replay-id" in dict(record.headers)
    ]


async def at_a_terminal(*arguments: str, answers: str = "", **environment: str) -> tuple[int, str]:
    """What a command says to a person at a terminal who types this, and its exit code."""
    master, slave = pty.openpty()
    read = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(read), os.fdopen(master, "rb", buffering=0)
    )
    base = {name: value for name, value in os.environ.items() if not name.startswith("TRACECAR_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sidecar", *arguments, stdin=slave, stdout=slave, stderr=slave,
        env=base | {"TERM": "xterm-256color", "COLUMNS": "100", "NO_COLOR": "1"} | environment,
    )  # fmt: skip
    os.write(master, answers.encode())
    code = await process.wait()
    os.close(slave)
    chunks = []
    while True:
        try:
            chunk = await read.read(65_536)
        except OSError:  # Linux ends a terminal's output so
            break
        if not chunk:
            break
        chunks.append(chunk)
    transport.close()
    return code, b"".join(chunks).decode()


# --- replays --------------------------------------------------------------------------------------------------------


async def test_a_dry_run_says_what_would_be_sent_and_sends_nothing(sidecar: Sidecar) -> None:
    await letter(sidecar)
    shown = await within("dlq", "replay", "--dry-run", "--again", **at(sidecar))
    assert shown.code == 0, shown.err
    assert "1 dead letter to orders" in shown.out
    assert "Valid now: 0 of 1" in shown.out
    assert "schema.mismatch" in shown.out
    plan = (await within("dlq", "replay", "--dry-run", "--json", **at(sidecar))).rows()
    assert plan[0]["selected"] == 1
    assert not replayed(sidecar)


async def test_scripts_say_yes_and_get_the_job(sidecar: Sidecar) -> None:
    await letter(sidecar)
    asked = await tracecar("dlq", "replay", **at(sidecar))
    assert asked.code == 2
    assert "--yes" in asked.err
    assert not replayed(sidecar)
    sent = await tracecar("dlq", "replay", "--yes", "--again", "--json", "--comment", "fixed", **at(sidecar))
    assert sent.code == 0, sent.err
    (job,) = sent.rows()
    assert set(job) >= REPLAY
    assert (job["state"], job["published"], job["comment"]) == ("done", 1, "fixed")
    assert len(replayed(sidecar)) == 1
    nothing = await within("dlq", "replay", "--yes", "--again", **at(sidecar))
    assert nothing.code == 0
    assert "was replayed already" in nothing.out


async def test_ids_and_queries_are_told_apart(sidecar: Sidecar) -> None:
    first = await letter(sidecar, 1)
    await letter(sidecar, 2)
    mixed = await within("dlq", "replay", first, "code:schema.*", "--yes", **at(sidecar))
    assert mixed.code == 2
    assert "either ids or a query" in mixed.err
    (job,) = (await within("dlq", "replay", first, "--yes", "--again", "--json", **at(sidecar))).rows()
    assert (job["selected"], job["ids"], job["query"]) == (1, 1, None)
    partly = await within("dlq", "replay", first, "x@kafka://orders/0/99", "--yes", "--force", "--again", **at(sidecar))
    assert "1 of the ids are of no dead letter that is there: x@kafka://orders/0/99" in partly.out
    by_query = await within(
        "dlq", "replay", "code:schema.*", "-state:replayed", "-y", "--again", "--json", **at(sidecar)
    )
    assert by_query.rows()[0]["query"] == "code:schema.* -state:replayed"
    assert by_query.rows()[0]["published"] == 1
    wrong = await within("dlq", "replay", "nonsense:1", "--yes", **at(sidecar))
    assert wrong.code == 2
    assert "^" in wrong.err
    unknown = await within("dlq", "replay", "x@kafka://orders/0/99", "--yes", **at(sidecar))
    assert unknown.code == 1
    assert "x@kafka://orders/0/99" in unknown.err


async def test_a_person_sees_the_plan_and_is_asked(sidecar: Sidecar) -> None:
    await letter(sidecar)
    code, said = await at_a_terminal("dlq", "replay", "--again", answers="n\n", **at(sidecar))
    assert code == 1
    assert "Send 1 dead letter to orders?" in said
    assert not replayed(sidecar)
    code, said = await at_a_terminal("dlq", "replay", "--again", answers="y\n", **at(sidecar))
    assert code == 0, said
    assert "would fail: schema.mismatch" in said
    assert "100%" in said
    assert ": done" in said
    assert len(replayed(sidecar)) == 1
    code, said = await at_a_terminal("dlq", "replay", "--again", **at(sidecar))
    assert code == 0
    assert "Nothing is left to send" in said


async def test_what_fails_is_told_and_the_exit_code_says_so(sidecar: Sidecar) -> None:
    await letter(sidecar)
    sent = await within(
        "dlq", "replay", "--yes", "--again", "--set", "data.nowhere.deep=1", "code:schema.*", **at(sidecar)
    )
    assert sent.code == 1
    assert "1 failed" in sent.out or "failed tracecar.shop@" in sent.out
    assert "nowhere" in sent.out
    missing = await within("dlq", "replay", "--yes", "--to", "nowhere", **at(sidecar))
    assert missing.code == 1
    assert "nowhere" in missing.out
    assert not replayed(sidecar)


async def test_a_body_is_changed_on_the_way(sidecar: Sidecar) -> None:
    id = await letter(sidecar)
    changed = ["--set", "data.total=7", "--set", 'data.note="a=b"', "--remove", "correlationId"]
    looked = await within("dlq", "replay", id, *changed, "--again", "--dry-run", **at(sidecar))
    assert looked.code == 0, looked.err
    assert "data.total: [9] -> 7" in looked.out
    sent = await within("dlq", "replay", id, *changed[:4], "--again", "--yes", "--json", **at(sidecar))
    assert sent.code == 0, (sent.out, sent.err)
    assert sent.rows()[0]["edit"] == {"set": {"data.total": 7, "data.note": "a=b"}}
    assert replayed(sidecar)[0]["data"] == {"total": 7, "secret": "s3cret", "note": "a=b"}
    shown = await within("dlq", "show", id, **at(sidecar))
    assert sent.rows()[0]["id"] in shown.out
    assert "data.total: [9] -> 7" in shown.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "data.total"], "PATH=JSON"),
        (["--set", "data.note=text"], "quotes"),
        (["--edit"], "needs a terminal"),
        (["--edit", "--remove", "a"], "choose one"),
        (["--rate", "0"], "rate"),
    ],
)
async def test_wrong_usage_says_what_to_do(sidecar: Sidecar, arguments: list[str], words: str) -> None:
    id = await letter(sidecar)
    outcome = await tracecar("dlq", "replay", id, *arguments, **at(sidecar))
    assert outcome.code == 2, outcome.out
    assert words in outcome.err
    assert not replayed(sidecar)


async def test_an_editor_changes_what_differs_and_leaves_what_is_masked(sidecar: Sidecar, tmp_path: Path) -> None:
    id = await letter(sidecar)
    editor = tmp_path / "editor"
    editor.write_text(
        '#!/bin/sh\ngrep -q "\\[redacted\\]" "$1" || exit 9\nsed -i -z "s/\\[[ \\n]*9[ \\n]*\\]/12/" "$1"\n'
    )
    editor.chmod(0o755)
    code, said = await at_a_terminal(
        "dlq", "replay", id, "--edit", "--again", answers="y\n", VISUAL=str(editor), **at(sidecar)
    )
    assert code == 0, said
    assert replayed(sidecar)[0]["data"] == {"total": 12, "secret": "s3cret"}
    code, said = await at_a_terminal("dlq", "replay", id, "--edit", VISUAL="true", **at(sidecar))
    assert code == 0
    assert "nothing was changed" in said
    code, said = await at_a_terminal("dlq", "replay", id, "--edit", VISUAL="", EDITOR="", **at(sidecar))
    assert code == 2
    assert "EDITOR" in said
    code, said = await at_a_terminal("dlq", "replay", id, "--edit", VISUAL="false", **at(sidecar))
    assert code == 2
    assert "nothing was sent" in said


def test_only_differences_are_sent() -> None:
    before = {"a": 1, "b": {"c": [1, {"d": "[redacted]"}], "e f": None}, "g": [1, 2]}
    after = {"a": 1.0, "b": {"c": [1, {"d": "[redacted]"}], "e f": 2}, "g": [1], "h": {}}
    found = difference(before, after)
    assert found is not None
    assert (found.set, found.remove) == ({"a": 1.0, 'b["e f"]': 2, "g": [1], "h": {}}, [])
    assert difference(before, before) is None
    gone = difference(before, {"b": {"c": [1, {}], "e f": None}, "g": [1, 2]})
    assert gone is not None
    assert (gone.set, gone.remove) == ({}, ["a", "b.c[1].d"])
    with pytest.raises(ValueError, match=r"b\.c"):
        difference(before, {**before, "b": {"c": [1, {"d": "[redacted]"}, 3], "e f": None}})
    whole = difference({"base64": "AA=="}, {"x": 1})
    assert whole is not None
    assert whole.body == {"x": 1}
    assert edit_options.parse_settings(['a["b=c"].d={"e": "="}', "f=null"]) == {'a["b=c"].d': {"e": "="}, "f": None}
    with pytest.raises(typer.BadParameter):
        edit_options.parse_settings(["=1"])


# --- jobs -----------------------------------------------------------------------------------------------------------


async def test_jobs_are_listed_shown_paused_resumed_and_cancelled(sidecar: Sidecar) -> None:
    for number in range(3):
        await letter(sidecar, number)
    begun = await within("dlq", "replay", "--yes", "--again", "--rate", "0.5", "--detach", "--json", **at(sidecar))
    (job,) = begun.rows()
    assert job["state"] == "running"
    paused = await within("replays", "pause", job["id"], "--json", **at(sidecar))
    assert paused.rows()[0]["state"] == "paused"
    listed = await within("replays", "--json", **at(sidecar))
    assert [(one["id"], one["state"]) for one in listed.rows()] == [(job["id"], "paused")]
    assert "paused" in (await within("replays", **at(sidecar))).out
    assert (await within("replays", job["id"], "--json", **at(sidecar))).rows()[0]["changed_by"] == "operator"
    assert (await within("replays", "--json", job["id"], **at(sidecar))).rows()[0]["id"] == job["id"]
    followed = await within("replays", job["id"], "--follow", **at(sidecar))
    assert followed.code == 1
    assert "paused by operator" in followed.out
    assert (await within("replays", "resume", job["id"], "--json", **at(sidecar))).rows()[0]["state"] == "running"
    cancelled = await within("replays", "cancel", job["id"], **at(sidecar))
    assert cancelled.code == 0
    assert "cancelled" in cancelled.out
    over = await within("replays", "resume", job["id"], **at(sidecar))
    assert over.code == 1
    assert "cancelled" in over.err
    unknown = await within("replays", "nonsense", **at(sidecar))
    assert unknown.code == 1
    assert "nonsense" in unknown.err
    refused = await within("replays", "cancel", job["id"], **at(sidecar, READER))
    assert refused.code == 3
    assert "operate" in refused.err


async def test_who_interrupts_is_told_how_to_go_on(sidecar: Sidecar) -> None:
    for number in range(3):
        await letter(sidecar, number)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sidecar", "dlq", "replay", "--yes", "--again", "--rate", "0.2",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env=os.environ | at(sidecar),
    )  # fmt: skip
    assert process.stderr is not None
    said = await process.stderr.readuntil(b"selected\n")
    process.send_signal(2)
    out, err = await process.communicate()
    assert process.returncode == 130, (out, err)
    (job,) = (await within("replays", "--json", **at(sidecar))).rows()
    assert job["id"].encode() in said
    assert job["state"] == "running"
    assert f"tracecar replays {job['id']} --follow".encode() in err
    await within("replays", "cancel", job["id"], **at(sidecar))


async def test_a_range_goes_to_another_stream_or_with_its_count_into_itself(sidecar: Sidecar) -> None:
    for number in range(4):
        await sidecar.pass_on(order(number))
    sidecar.log.create("elsewhere", 1)
    for arguments, words in (
        (["--yes"], "--to-stream"),
        (["--yes", "--into-itself"], "--confirmed"),
        (["--yes", "--into-itself", "--to-stream", "payments"], "contradict"),
        (["--yes", "--to-stream", "elsewhere", "--from", "yesterday"], "15m"),
    ):
        refused = await within("replay-range", "orders", *arguments, **at(sidecar))
        assert refused.code == 2, refused.out
        assert words in refused.err
    looked = await within(
        "replay-range", "orders", "--from", "1h", "--to-stream", "elsewhere", "--dry-run", **at(sidecar)
    )
    assert "4 events to elsewhere" in looked.out, looked.err
    sent = await within(
        "replay-range", "orders", "type:Order*", "body.data.total:>=20", "--to-stream", "elsewhere", "--yes", "--json",
        **at(sidecar),
    )  # fmt: skip
    assert sent.code == 0, sent.err
    assert sent.rows()[0]["published"] == 2
    assert [one["eventId"] for one in bodies(sidecar, "elsewhere")] == ["e-2", "e-3"]
    wrong = await within("replay-range", "orders", "--into-itself", "--confirmed", "3", "--yes", **at(sidecar))
    assert wrong.code == 1
    assert "4 now" in wrong.err
    itself = await within("replay-range", "orders", "--into-itself", "--confirmed", "4", "--yes", **at(sidecar))
    assert itself.code == 0, itself.err
    assert len(replayed(sidecar)) == 4


# --- letters --------------------------------------------------------------------------------------------------------


async def test_letters_are_set_aside_and_taken_back(sidecar: Sidecar) -> None:
    id = await letter(sidecar)
    assert (await within("dlq", "discard", id, **at(sidecar))).code == 2
    done = await within("dlq", "discard", id, "--reason", "a test", "--json", **at(sidecar))
    assert done.code == 0, done.err
    assert done.rows() == [{"id": id, "done": True, "state": "discarded", "why": None}]
    shown = await within("dlq", "show", id, **at(sidecar))
    assert "discarded by operator" in shown.out
    assert "a test" in shown.out
    assert "1 restored" in (await within("dlq", "restore", id, **at(sidecar))).out
    forged = "known\n  2026-01-01T00:00:00.000Z restored by mallory"
    await within("dlq", "discard", id, "--reason", forged, **at(sidecar))
    shown = await within("dlq", "show", id, **at(sidecar))
    assert not [line for line in shown.out.splitlines() if line.startswith("  2026-01-01")]
    assert "1 restored" in (await within("dlq", "restore", id, **at(sidecar))).out
    partly = await within("dlq", "restore", id, "x@kafka://orders/0/7", **at(sidecar))
    assert partly.code == 1
    assert "nothing to undo" in partly.out
    assert "not restored: x@kafka://orders/0/7" in partly.out
    by_query = await tracecar("dlq", "discard", "code:schema.*", "--reason", "all of it", **at(sidecar))
    assert by_query.code == 2
    assert "--yes" in by_query.err
    code, said = await at_a_terminal("dlq", "discard", "code:schema.*", "-r", "known", answers="y\n", **at(sidecar))
    assert code == 0, said
    assert "Discard 1 dead letter?" in said
    assert "1 discarded" in said


async def test_what_is_exported_can_be_imported_once(tmp_path: Path) -> None:
    async with serving(tmp_path / "token") as sidecar:
        for number in range(3):
            await letter(sidecar, number)
        file = tmp_path / "letters.ndjson"
        out = await within("dlq", "export", "code:schema.*", "-o", str(file), **at(sidecar))
        assert out.code == 0, out.err
        assert "3 dead letters exported" in out.err
        assert not [name for name in os.listdir(tmp_path) if name.endswith(".part")]
        lines = file.read_bytes().splitlines()
        assert (await tracecar("dlq", "export", **at(sidecar))).out.encode().splitlines() == lines
        again = await within("dlq", "import", str(file), "--json", **at(sidecar))
        assert again.code == 0, again.err
        assert [(one["done"], one["why"]) for one in again.rows()] == [(True, "it is still there")] * 3
    async with serving(tmp_path / "token") as empty:
        for turn in range(2):
            taken = await within("dlq", "import", str(file), **at(empty))
            assert taken.code == 0, taken.err
            assert "3 dead letters are in their streams" in taken.err, turn
        assert len((await within("dlq", "list", "--json", **at(empty))).rows()) == 3
        file.write_bytes(lines[0] + b"\n\nnonsense\n")
        broken = await within("dlq", "import", str(file), **at(empty))
        assert broken.code == 1
        assert "line 3" in broken.err
        assert (await within("dlq", "import", "nowhere.ndjson", **at(empty))).code == 2


async def test_an_export_without_what_is_hidden_says_so(sidecar: Sidecar, tmp_path: Path) -> None:
    await letter(sidecar)
    file = tmp_path / "letters.ndjson"
    out = await within("dlq", "export", "-o", str(file), **at(sidecar))
    assert "1 of them are redacted" in out.err
    assert b"s3cret" not in file.read_bytes()
    async with serving(tmp_path / "token") as elsewhere:
        taken = await within("dlq", "import", str(file), **at(elsewhere))
        assert taken.code == 1
        assert "not imported: tracecar.shop@" in taken.out
    nowhere = await within("dlq", "export", "-o", str(tmp_path / "no" / "x"), **at(sidecar))
    assert nowhere.code == 1
    assert "can be written" in nowhere.err


async def test_no_client_writes_the_mask_in_the_place_of_what_it_hides(sidecar: Sidecar) -> None:
    id = await letter(sidecar)
    async with sidecar.http() as http:
        for edit in ({"body": order(9, data={"total": 1, "secret": "[redacted]"})}, {"set": {"data": ["[redacted]"]}}):
            refused = await http.post("/v1/replays", json={"ids": [id], "again": True, "edit": edit})
            assert refused.status_code == 400
            assert "[redacted]" in refused.json()["detail"]
    assert not replayed(sidecar)


async def test_history_is_masked(sidecar: Sidecar) -> None:
    id = await letter(sidecar)
    sent: Outcome = await within(
        "dlq", "replay", id, "--set", 'data.secret="n3w"', "--set", "data.total=1", "--again", "--yes", "--json",
        **at(sidecar),
    )  # fmt: skip
    assert sent.code == 0, (sent.out, sent.err)
    assert replayed(sidecar)[0]["data"]["secret"] == "n3w"
    for arguments in (["dlq", "show", id], ["replays"], ["replays", sent.rows()[0]["id"]]):
        for more in ([], ["--json"]):
            shown = await within(*arguments, *more, **at(sidecar))
            assert shown.code == 0
            assert "n3w" not in shown.out
            assert "s3cret" not in shown.out
    assert "n3w" not in sent.out


@pytest.mark.parametrize("terminal", [True, False])
async def test_a_sidecar_that_is_away_for_a_while_is_told_of_once(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], terminal: bool
) -> None:
    monkeypatch.setattr("sidecar.cli.output.replay_progress.POLL_INTERVAL_S", 0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    async with sidecar.client() as client:
        done = await client.replay(ReplayRequestModel(query="type:None"))
    running = replace(done, state="running", selected=3)
    answers: list[Any] = [*[Unreachable("no sidecar answers")] * 3, running, *[Unreachable("no sidecar answers")] * 2]

    class Away:
        async def replay_job(self, id: str) -> ReplayModel:
            answer = answers.pop(0) if answers else done
            if isinstance(answer, Exception):
                raise answer
            return cast("ReplayModel", answer)

    assert await replay_progress.await_end(cast("Client", Away()), running) is done
    assert capsys.readouterr().err.count("no sidecar answers; retrying\n") == 2


async def test_what_is_kept_back_in_part_is_no_success(sidecar: Sidecar) -> None:
    kept, _ = await letter(sidecar), await letter(sidecar, 1)
    passed = sidecar.log.groups["billing"] = MemoryGroup()
    position = Position.parse(kept.partition("@")[2])
    passed.committed[position.log] = position.offset + 1
    out = await tracecar("dlq", "replay", "--yes", **at(sidecar))
    assert out.code == 1
    assert "1 dead letter was sent, and 1 dead letter is still open: consumer groups have consumed" in out.err
    assert "--again to send them to every group" in out.err
    (job,) = (await within("replays", "--json", **at(sidecar))).rows()
    assert (job["published"], job["kept_back"]) == (1, 1)


async def test_a_replay_that_has_nothing_to_send_says_so_and_leaves_nothing(sidecar: Sidecar) -> None:
    id = await letter(sidecar)
    for arguments in (["dlq", "replay", "type:None", "--yes"], ["dlq", "replay", "type:None", "--yes", "--detach"]):
        none = await within(*arguments, **at(sidecar))
        assert (none.code, none.out) == (0, "No dead letter matches.\n")
    await within("dlq", "discard", id, "--reason", "a test", **at(sidecar))
    left = await within("dlq", "replay", id, "--yes", **at(sidecar))
    assert (left.code, left.out) == (0, "Nothing is left to send.\n1 skipped: was discarded\n")
    shown = await within("dlq", "replay", id, "--yes", "--json", **at(sidecar))
    (job,) = shown.rows()
    assert (job["state"], job["selected"]) == ("done", 0)
    assert (await within("replays", job["id"], "--json", **at(sidecar))).rows() == [job]
    assert (await within("replays", "pause", job["id"], **at(sidecar))).code == 1
    assert (await within("replays", "--json", **at(sidecar))).rows() == []


async def test_what_groups_have_passed_already_says_what_to_add(sidecar: Sidecar) -> None:
    id = await letter(sidecar)
    passed = sidecar.log.groups["billing"] = MemoryGroup()
    for partition in sidecar.log.partitions("orders"):
        passed.committed[partition] = 1_000
    said = "--again to send them to every group anyway, --group NAME for one group, or --to STREAM"
    sent = await tracecar("dlq", "replay", id, "--yes", "--json", **at(sidecar))
    assert sent.code == 1
    assert (sent.rows()[0]["state"], sent.rows()[0]["published"], sent.rows()[0]["kept_back"]) == ("done", 0, 1)
    assert "nothing was sent, and 1 dead letter is still open" in sent.err
    assert said in sent.err
    code, shown = await at_a_terminal("dlq", "replay", id, **at(sidecar))
    assert code == 1
    assert said in shown
    looked = await within("dlq", "replay", id, "--dry-run", "--json", **at(sidecar))
    assert (looked.code, looked.rows()[0]["kept_back"]) == (0, 1)
    assert [(one["group"], one["kept_back"]) for one in looked.rows()[0]["receivers"]] == [("billing", 1)]
    assert (await tracecar("dlq", "replay", id, "--yes", "--group", "billing", **at(sidecar))).code == 0
    # A letter that was sent and not kept back is done.
    assert (await tracecar("dlq", "replay", id, "--yes", **at(sidecar))).code == 0
    states = (await within("dlq", "groups", **at(sidecar))).out.splitlines()
    assert (states[0].split("\t")[-1], states[1].split("\t")[-1]) == ("states", "replayed 1")
