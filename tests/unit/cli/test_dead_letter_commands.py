"""Dead letters on the command line: discards, exports, imports, masked values."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from tests.support.api import Sidecar, order, serving
from tests.support.replay_commands import add_letter, at, replayed_bodies, run_at_terminal
from tests.unit.cli.test_commands import Outcome, tracecar, within

pytestmark = pytest.mark.slow  # each test starts a process for each command


@pytest.fixture(autouse=True)
def logs() -> Iterator[None]:
    """Keep the sidecar's logs out of stdout, which it shares with the commands that run in this process."""
    with capture_logs():
        yield


@pytest_asyncio.fixture
async def sidecar(tmp_path: Path) -> AsyncIterator[Sidecar]:
    async with serving(tmp_path / "token", redact=["body:data.secret"]) as running:
        yield running


async def test_letters_are_discarded_and_restored(sidecar: Sidecar) -> None:
    id = await add_letter(sidecar)
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
    assert "nothing to restore" in partly.out
    assert "not restored: x@kafka://orders/0/7" in partly.out
    by_query = await tracecar("dlq", "discard", "code:schema.*", "--reason", "all of it", **at(sidecar))
    assert by_query.code == 2
    assert "--yes" in by_query.err
    code, said = await run_at_terminal("dlq", "discard", "code:schema.*", "-r", "known", answers="y\n", **at(sidecar))
    assert code == 0, said
    assert "Discard 1 dead letter?" in said
    assert "1 discarded" in said


async def test_exported_letters_are_imported_once(tmp_path: Path) -> None:
    async with serving(tmp_path / "token") as sidecar:
        for number in range(3):
            await add_letter(sidecar, number)
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


async def test_a_redacted_export_says_so(sidecar: Sidecar, tmp_path: Path) -> None:
    await add_letter(sidecar)
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


async def test_no_client_can_write_a_mask_over_its_value(sidecar: Sidecar) -> None:
    id = await add_letter(sidecar)
    async with sidecar.http() as http:
        for edit in ({"body": order(9, data={"total": 1, "secret": "[redacted]"})}, {"set": {"data": ["[redacted]"]}}):
            refused = await http.post("/v1/replays", json={"ids": [id], "again": True, "edit": edit})
            assert refused.status_code == 400
            assert "[redacted]" in refused.json()["detail"]
    assert not replayed_bodies(sidecar)


async def test_history_is_masked(sidecar: Sidecar) -> None:
    id = await add_letter(sidecar)
    sent: Outcome = await within(
        "dlq", "replay", id, "--set", 'data.secret="n3w"', "--set", "data.total=1", "--again", "--yes", "--json",
        **at(sidecar),
    )  # fmt: skip
    assert sent.code == 0, (sent.out, sent.err)
    assert replayed_bodies(sidecar)[0]["data"]["secret"] == "n3w"
    for arguments in (["dlq", "show", id], ["replays"], ["replays", sent.rows()[0]["id"]]):
        for more in ([], ["--json"]):
            shown = await within(*arguments, *more, **at(sidecar))
            assert shown.code == 0
            assert "n3w" not in shown.out
            assert "s3cret" not in shown.out
    assert "n3w" not in sent.out
