"""Replays on the command line: dead letters, edits, ranges and jobs."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
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
from tests.support.api import READER, Sidecar, order, serving
from tests.support.replay_commands import add_letter, at, published_bodies, replayed_bodies, run_at_terminal
from tests.unit.cli.test_commands import tracecar, within

pytestmark = pytest.mark.slow  # each test starts a process for each command
REPLAY = {
    "id", "state", "query", "to", "selected", "published", "skipped", "failed", "returned", "started_at", "ended_at",
}  # fmt: skip
"""Fields that the contract names."""


@pytest.fixture(autouse=True)
def logs() -> Iterator[None]:
    """Keep the sidecar's logs out of stdout, which it shares with the commands that run in this process."""
    with capture_logs():
        yield


@pytest_asyncio.fixture
async def sidecar(tmp_path: Path) -> AsyncIterator[Sidecar]:
    async with serving(tmp_path / "token", redact=["body:data.secret"]) as running:
        yield running


async def test_a_dry_run_says_what_would_be_sent_and_sends_nothing(sidecar: Sidecar) -> None:
    await add_letter(sidecar)
    shown = await within("dlq", "replay", "--dry-run", "--again", **at(sidecar))
    assert shown.code == 0, shown.err
    assert "1 dead letter to orders" in shown.out
    assert "Valid now: 0 of 1" in shown.out
    assert "schema.mismatch" in shown.out
    plan = (await within("dlq", "replay", "--dry-run", "--json", **at(sidecar))).rows()
    assert plan[0]["selected"] == 1
    assert not replayed_bodies(sidecar)


async def test_scripts_say_yes_and_get_the_job(sidecar: Sidecar) -> None:
    await add_letter(sidecar)
    asked = await tracecar("dlq", "replay", **at(sidecar))
    assert asked.code == 2
    assert "--yes" in asked.err
    assert not replayed_bodies(sidecar)
    sent = await tracecar("dlq", "replay", "--yes", "--again", "--json", "--comment", "fixed", **at(sidecar))
    assert sent.code == 0, sent.err
    (job,) = sent.rows()
    assert set(job) >= REPLAY
    assert (job["state"], job["published"], job["comment"]) == ("done", 1, "fixed")
    assert len(replayed_bodies(sidecar)) == 1
    nothing = await within("dlq", "replay", "--yes", "--again", **at(sidecar))
    assert nothing.code == 0
    assert "was replayed already" in nothing.out


async def test_ids_and_queries_are_distinguished(sidecar: Sidecar) -> None:
    first = await add_letter(sidecar, 1)
    await add_letter(sidecar, 2)
    mixed = await within("dlq", "replay", first, "code:schema.*", "--yes", **at(sidecar))
    assert mixed.code == 2
    assert "either ids or a query" in mixed.err
    (job,) = (await within("dlq", "replay", first, "--yes", "--again", "--json", **at(sidecar))).rows()
    assert (job["selected"], job["ids"], job["query"]) == (1, 1, None)
    partly = await within("dlq", "replay", first, "x@kafka://orders/0/99", "--yes", "--force", "--again", **at(sidecar))
    assert "1 of the ids belong to no existing dead letter: x@kafka://orders/0/99" in partly.out
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


async def test_at_a_terminal_the_plan_is_shown_and_confirmed(sidecar: Sidecar) -> None:
    await add_letter(sidecar)
    code, said = await run_at_terminal("dlq", "replay", "--again", answers="n\n", **at(sidecar))
    assert code == 1
    assert "Send 1 dead letter to orders?" in said
    assert not replayed_bodies(sidecar)
    code, said = await run_at_terminal("dlq", "replay", "--again", answers="y\n", **at(sidecar))
    assert code == 0, said
    assert "would fail: schema.mismatch" in said
    assert "100%" in said
    assert ": done" in said
    assert len(replayed_bodies(sidecar)) == 1
    code, said = await run_at_terminal("dlq", "replay", "--again", **at(sidecar))
    assert code == 0
    assert "Nothing is left to send" in said


async def test_failures_are_listed_and_set_the_exit_code(sidecar: Sidecar) -> None:
    await add_letter(sidecar)
    sent = await within(
        "dlq", "replay", "--yes", "--again", "--set", "data.nowhere.deep=1", "code:schema.*", **at(sidecar)
    )
    assert sent.code == 1
    assert "1 failed" in sent.out or "failed tracecar.shop@" in sent.out
    assert "nowhere" in sent.out
    missing = await within("dlq", "replay", "--yes", "--to", "nowhere", **at(sidecar))
    assert missing.code == 1
    assert "nowhere" in missing.out
    assert not replayed_bodies(sidecar)


async def test_a_body_is_edited_before_it_is_sent(sidecar: Sidecar) -> None:
    id = await add_letter(sidecar)
    changed = ["--set", "data.total=7", "--set", 'data.note="a=b"', "--remove", "correlationId"]
    looked = await within("dlq", "replay", id, *changed, "--again", "--dry-run", **at(sidecar))
    assert looked.code == 0, looked.err
    assert "data.total: [9] -> 7" in looked.out
    sent = await within("dlq", "replay", id, *changed[:4], "--again", "--yes", "--json", **at(sidecar))
    assert sent.code == 0, (sent.out, sent.err)
    assert sent.rows()[0]["edit"] == {"set": {"data.total": 7, "data.note": "a=b"}}
    assert replayed_bodies(sidecar)[0]["data"] == {"total": 7, "secret": "s3cret", "note": "a=b"}
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
    id = await add_letter(sidecar)
    outcome = await tracecar("dlq", "replay", id, *arguments, **at(sidecar))
    assert outcome.code == 2, outcome.out
    assert words in outcome.err
    assert not replayed_bodies(sidecar)


async def test_an_editor_changes_only_what_differs_and_no_masked_values(sidecar: Sidecar, tmp_path: Path) -> None:
    id = await add_letter(sidecar)
    editor = tmp_path / "editor"
    editor.write_text(
        '#!/bin/sh\ngrep -q "\\[redacted\\]" "$1" || exit 9\nsed -i -z "s/\\[[ \\n]*9[ \\n]*\\]/12/" "$1"\n'
    )
    editor.chmod(0o755)
    code, said = await run_at_terminal(
        "dlq", "replay", id, "--edit", "--again", answers="y\n", VISUAL=str(editor), **at(sidecar)
    )
    assert code == 0, said
    assert replayed_bodies(sidecar)[0]["data"] == {"total": 12, "secret": "s3cret"}
    code, said = await run_at_terminal("dlq", "replay", id, "--edit", VISUAL="true", **at(sidecar))
    assert code == 0
    assert "nothing was changed" in said
    code, said = await run_at_terminal("dlq", "replay", id, "--edit", VISUAL="", EDITOR="", **at(sidecar))
    assert code == 2
    assert "EDITOR" in said
    code, said = await run_at_terminal("dlq", "replay", id, "--edit", VISUAL="false", **at(sidecar))
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


async def test_jobs_are_listed_shown_paused_resumed_and_cancelled(sidecar: Sidecar) -> None:
    for number in range(3):
        await add_letter(sidecar, number)
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


async def test_an_interrupt_says_how_to_follow_the_job(sidecar: Sidecar) -> None:
    for number in range(3):
        await add_letter(sidecar, number)
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


async def test_a_range_goes_to_another_stream_or_with_a_confirmed_count_into_its_own(sidecar: Sidecar) -> None:
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
    assert [one["eventId"] for one in published_bodies(sidecar, "elsewhere")] == ["e-2", "e-3"]
    wrong = await within("replay-range", "orders", "--into-itself", "--confirmed", "3", "--yes", **at(sidecar))
    assert wrong.code == 1
    assert "4 now" in wrong.err
    itself = await within("replay-range", "orders", "--into-itself", "--confirmed", "4", "--yes", **at(sidecar))
    assert itself.code == 0, itself.err
    assert len(replayed_bodies(sidecar)) == 4


@pytest.mark.parametrize("terminal", [True, False])
async def test_each_outage_of_the_sidecar_is_reported_once(
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


async def test_letters_kept_back_set_the_exit_code(sidecar: Sidecar) -> None:
    kept, _ = await add_letter(sidecar), await add_letter(sidecar, 1)
    passed = sidecar.log.groups["billing"] = MemoryGroup()
    position = Position.parse(kept.partition("@")[2])
    passed.committed[position.log] = position.offset + 1
    out = await tracecar("dlq", "replay", "--yes", **at(sidecar))
    assert out.code == 1
    assert "1 dead letter was sent, and 1 dead letter is still open: consumer groups have consumed" in out.err
    assert "--again to send them to every group" in out.err
    (job,) = (await within("replays", "--json", **at(sidecar))).rows()
    assert (job["published"], job["kept_back"]) == (1, 1)


async def test_a_replay_with_nothing_to_send_leaves_no_job(sidecar: Sidecar) -> None:
    id = await add_letter(sidecar)
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


async def test_letters_that_groups_have_consumed_name_the_options_to_send_them(sidecar: Sidecar) -> None:
    id = await add_letter(sidecar)
    passed = sidecar.log.groups["billing"] = MemoryGroup()
    for partition in sidecar.log.partitions("orders"):
        passed.committed[partition] = 1_000
    said = "--again to send them to every group anyway, --group NAME for one group, or --to STREAM"
    sent = await tracecar("dlq", "replay", id, "--yes", "--json", **at(sidecar))
    assert sent.code == 1
    assert (sent.rows()[0]["state"], sent.rows()[0]["published"], sent.rows()[0]["kept_back"]) == ("done", 0, 1)
    assert "nothing was sent, and 1 dead letter is still open" in sent.err
    assert said in sent.err
    code, shown = await run_at_terminal("dlq", "replay", id, **at(sidecar))
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
