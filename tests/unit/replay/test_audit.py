"""The audit log (who, what, when, from where) in the API, on the command line and in the log; never with a secret."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from sidecar.api.client.client import Client, Unauthorized
from sidecar.api.models import replays as models
from sidecar.dead_letters.ledger_entries import LedgerAction
from sidecar.replay.audit import _AuditBatch
from tests.support.api import OPERATOR, READER, REPORTER, Sidecar, order, serving
from tests.unit.cli.test_commands import within


@pytest_asyncio.fixture
async def sidecar(tmp_path: Path) -> AsyncIterator[Sidecar]:
    async with serving(tmp_path / "token", redact=["body:data.secret"]) as running:
        yield running


async def letters(sidecar: Sidecar, count: int) -> list[str]:
    found = []
    for number in range(count):
        bad = await sidecar.pass_on(order(number, data={"total": [number]}))
        found.append(f"tracecar.shop@{bad.event.position}")
    return found


async def acts(client: Client) -> list[tuple[str, str, int]]:
    return [(one.act, one.by, one.letters) for one in (await client.audit()).items]


async def test_every_act_is_a_line_the_latest_first(sidecar: Sidecar) -> None:
    first, *_ = await letters(sidecar, 3)
    with capture_logs() as logs:
        async with sidecar.client() as client, sidecar.client(REPORTER) as service:
            await client.discard([], "test data", query="code:schema.*")
            await client.restore([first])
            passed = await sidecar.pass_on(order(7))
            await service.report(
                models.FailureRequest(
                    position=str(passed.event.position), group="billing", error=models.FailureError(type="NoPrice")
                )
            )
            edit = models.EditRequest(set={"data.secret": "s3cret", "data.total": 1})
            job = await client.replay(
                models.ReplayRequestModel(ids=[first], again=True, edit=edit, comment="price is back", rate=0.4)
            )
            lines = (await client.audit()).items
            assert [(one.act, one.by, one.letters) for one in lines] == [
                ("replay.started", "operator", 1),
                ("dead_letters.reported", "svc", 1),
                ("dead_letters.restored", "operator", 1),
                ("dead_letters.discarded", "operator", 3),
            ]
            started, _, restored, discarded = lines
            assert (started.replay, started.why, started.address) == (job.id, "price is back", "127.0.0.1")
            assert started.edit == {"set": {"data.secret": "[redacted]", "data.total": 1}}
            assert (restored.ids, discarded.why, len(discarded.ids)) == ([first], "test data", 3)
            assert [one.act for one in (await client.audit(limit=2)).items] == [one.act for one in lines[:2]]
    said = {one["event"] for one in logs}
    assert {"dead_letters.discarded", "dead_letters.restored", "dead_letters.reported", "replay.started"} <= said
    for one in logs:
        if one["event"].startswith(("dead_letters.", "replay.started")):
            assert one["by"] in ("operator", "svc")
            assert one["address"] == "127.0.0.1"
        assert not any(secret in str(one) for secret in (OPERATOR, REPORTER, "s3cret"))


async def test_decisions_about_a_replay_outlive_its_progress(sidecar: Sidecar) -> None:
    await letters(sidecar, 4)
    async with sidecar.client() as client:
        job = await client.replay(models.ReplayRequestModel(again=True, rate=2))
        await client.pause_replay(job.id)
        await client.resume_replay(job.id)
        async with asyncio.timeout(30):
            while (await client.replay_job(job.id)).state == "running":
                await asyncio.sleep(0.02)
        assert (await client.replay_job(job.id)).published == 4
        assert [act for act, _, _ in await acts(client)] == ["replay.resumed", "replay.paused", "replay.started"]


async def test_a_reader_may_look_and_a_service_may_not(sidecar: Sidecar) -> None:
    async with sidecar.client(READER) as reader:
        assert await acts(reader) == []
    async with sidecar.client(REPORTER) as service:
        with pytest.raises(Unauthorized, match="'report'; this needs a token with the role 'read'"):
            await service.audit()


async def test_on_the_command_line(sidecar: Sidecar) -> None:
    first, *_ = await letters(sidecar, 1)
    async with sidecar.client() as client:
        await client.discard([first], "known\nline")
    with capture_logs():
        at = {"TRACECAR_URL": sidecar.url, "TRACECAR_TOKEN": READER}
        shown = await within("audit", **at)
        head, row = shown.out.splitlines()
        assert head.split("\t") == ["at", "by", "from", "act", "letters", "what", "why", "link"]
        *cells, link = row.split("\t")[1:]
        assert cells == ["operator", "127.0.0.1", "dead_letters.discarded", "1", first, "known\\nline"]
        (entry,) = (await within("audit", "--json", **at)).rows()
        assert entry["ids"] == [first]
        assert link == entry["link"]
        assert quote(first, safe="") in link


def test_the_audit_log_is_bounded_and_keeps_the_latest() -> None:
    found = _AuditBatch(10)
    for at in [*range(5_000), *range(2_000)]:
        found.add(LedgerAction(act="reported", at=at, by="svc"), f"id-{at}", f"entry-{at}")
    lines = sorted((line.at for line in found.lines()), reverse=True)
    assert len(lines) <= 1_020
    assert lines[:10] == list(range(4_999, 4_989, -1))
    assert all(line.letters == 1 for line in found.lines())
