"""Actions on dead letters over HTTP: roles, answers, and messages of refusals."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from urllib.parse import quote

from sidecar.api.models import replays as models
from sidecar.api.models.links import parse_link
from sidecar.domain.broker_traits import position_forms
from sidecar.domain.json_safe import encode_json
from sidecar.domain.redaction import HIDDEN
from tests.support.api import READER, REPORTER, Sidecar, order, serving

BAD = order(9, data={"total": [1]})
REPLAY = {
    "id",
    "state",
    "query",
    "to",
    "selected",
    "published",
    "skipped",
    "failed",
    "returned",
    "started_at",
    "ended_at",
}


async def ended(sidecar: Sidecar, id: str) -> models.ReplayModel:
    async with asyncio.timeout(20), sidecar.client() as client:
        while (found := await client.replay_job(id)).state == "running":
            await asyncio.sleep(0.01)
        return found


async def test_a_replay_from_the_dry_run_to_the_end(sidecar: Sidecar) -> None:
    for _ in range(3):
        await sidecar.pass_on(BAD)
    async with sidecar.http() as http, sidecar.client() as client:
        plan = (await http.post("/v1/replays", json={"dry_run": True, "query": "code:schema.*"})).json()
        assert (plan["selected"], plan["sendable"], plan["passes"]) == (3, 3, 0)
        assert plan["targets"] == [{"stream": "orders", "count": 3, "exists": True}]
        assert (plan["fails"][0]["code"], plan["fails"][0]["count"]) == ("schema.mismatch", 3)
        answer = await http.post("/v1/replays", json={"query": "code:schema.*", "comment": "mended"})
        assert answer.status_code == 201
        assert set(answer.json()) >= REPLAY
        job = await ended(sidecar, answer.json()["id"])
        assert (job.published, job.by, job.address, job.comment) == (3, "operator", "127.0.0.1", "mended")
        assert [one["id"] for one in (await http.get("/v1/replays")).json()["items"]] == [job.id]
        (letter, *_) = (await client.dead_letters()).items
        assert letter.state == "replayed"
        shown = (await http.get(f"/v1/dead-letters/{letter.id}")).json()
        (deed,) = shown["history"]
        assert (deed["act"], deed["by"], deed["replay"], deed["why"]) == ("replayed", "operator", job.id, "mended")
        (cause,) = (await client.causes()).items
        assert cause.states == {"replayed": 3}
        assert (await client.dead_letters("state:open")).items == []
        assert len((await client.dead_letters("state:replayed")).items) == 3


async def test_an_edit_is_checked_and_its_difference_is_kept(sidecar: Sidecar) -> None:
    await sidecar.pass_on(BAD)
    async with sidecar.client() as client, sidecar.http() as http:
        (letter,) = (await client.dead_letters()).items
        bad = await http.post("/v1/replays", json={"ids": [letter.id], "edit": {"set": {"data.total": [2]}}})
        failed = await ended(sidecar, bad.json()["id"])
        assert (failed.published, failed.failed) == (0, 1)
        assert "data.total" in failed.failures[0].why
        edit = models.EditRequest(set={"data.total": 7})
        plan = await client.plan(models.ReplayRequestModel(ids=[letter.id], edit=edit))
        assert (plan.passes, [(one.path, one.before, one.after) for one in plan.changes]) == (
            1,
            [("data.total", [1], 7)],
        )
        job = await ended(sidecar, (await client.replay(models.ReplayRequestModel(ids=[letter.id], edit=edit))).id)
        assert job.published == 1
        history = (await client.dead_letter(letter.id)).history
        assert [(one.path, one.after) for one in history[0].edit] == [("data.total", 7)]


async def test_pausing_and_cancelling_an_ended_job_is_refused(sidecar: Sidecar) -> None:
    async with sidecar.http() as http:
        id = (await http.post("/v1/replays", json={})).json()["id"]
        await ended(sidecar, id)
        for act in ("pause", "resume", "cancel"):
            answer = await http.post(f"/v1/replays/{id}/{act}")
            assert answer.status_code == 409
            assert "done" in answer.json()["detail"]
        assert (await http.get("/v1/replays/nothing")).status_code == 404


async def test_mistakes_say_what_was_expected(sidecar: Sidecar) -> None:
    async with sidecar.http() as http:
        for body, said in (
            ({"querry": "x"}, "querry"),
            ({"rate": -1}, "rate: expected records a second"),
            ({"query": "stauts:x"}, "perhaps status"),
            ({"range": {"stream": "orders", "from": "soon"}, "to": "x"}, "range.from: expected a time"),
            ({"range": {"stream": "orders", "from": "5m", "to": "6m"}, "to": "x"}, "range.to: expected a time after"),
            ({"range": {"stream": "orders", "ends": ["x"]}, "to": "x"}, "range.ends: expected kafka://TOPIC"),
            ({"range": {"stream": "orders", "ends": ["kafka://o/0/1"]}, "to": "x"}, "range.ends: expected positions"),
            ({"to": ""}, "to: expected 1 to"),
        ):
            answer = await http.post("/v1/replays", json=body)
            assert answer.status_code == 400, answer.text
            assert said in answer.json()["detail"]
        answer = await http.post("/v1/replays", content=b"{")
        assert answer.status_code == 400
        answer = await http.post("/v1/dead-letters/discard", json={"ids": ["x"], "reason": " "})
        assert "reason: expected why" in answer.json()["detail"]


async def test_a_position_that_is_none_is_a_mistake_and_not_unknown(sidecar: Sidecar) -> None:
    expected = f"expected {position_forms()}"  # the broker of a test may be among them
    assert "kafka://TOPIC/PARTITION/OFFSET or redis://STREAM/MILLISECONDS-SEQUENCE" in expected
    malformed = ("orders/0/1", "kafka://orders/0", "kafka://orders/0/-1", "kafka://orders/x/1", "redis://orders/x", "")
    malformed += (f"kafka://orders/0/{10**19}", f"kafka://orders/{2**31}/0", f"redis://orders/{2**64}-0")
    async with sidecar.http() as http:
        for position in malformed:
            failure = {"group": "billing", "position": position, "error": {"type": "E"}}
            answer = await http.post("/v1/failures", json=failure)
            assert answer.status_code == 400, position
            assert answer.json()["detail"] == f"position: {expected}, found {position!r}"
        for position in ("kafka://orders/0", "kafka://orders/0/x", f"kafka://orders/0/{10**19}", "redis://orders/x"):
            for path in ("events", "flows"):
                answer = await http.get(f"/v1/{path}/{position}")
                assert (answer.status_code, expected in answer.json()["detail"]) == (400, True), (path, position)
            answer = await http.get(f"/v1/dead-letters/billing@{position}")
            assert (answer.status_code, expected in answer.json()["detail"]) == (400, True), position
            answer = await http.post("/v1/replays", json={"ids": [f"billing@{position}"]})
            assert (answer.status_code, expected in answer.json()["detail"]) == (400, True), position
        for id, status, said in (("4711", 404, "GROUP@POSITION"), ("billing@sha256:7", 400, "64 hex digits")):
            answer = await http.get(f"/v1/dead-letters/{id}")
            assert (answer.status_code, said in answer.json()["detail"]) == (status, True)
        for path in ("events/e-9", "flows/e-9", "events/memory://orders/0/77", "dead-letters/@memory://orders/0/77"):
            assert (await http.get(f"/v1/{path}")).status_code == 404, path
        discarded = await http.post("/v1/dead-letters/discard", json={"ids": ["billing@kafka://x"], "reason": "x"})
        assert expected in discarded.json()["items"][0]["why"]


async def test_roles(sidecar: Sidecar) -> None:
    failure = {"group": "g", "position": "memory://orders/0/0", "error": {"type": "E"}}
    async with sidecar.http(READER) as reader, sidecar.http(REPORTER) as reporter:
        for path, body in (
            ("/v1/replays", {}),
            ("/v1/dead-letters/discard", {"ids": ["x"], "reason": "r"}),
            ("/v1/dead-letters/restore", {"ids": ["x"]}),
            ("/v1/failures", failure),
        ):
            answer = await reader.post(path, json=body)
            assert answer.status_code == 403
            role = "report" if path == "/v1/failures" else "operate"
            assert answer.json()["detail"] == (
                f"the token 'ada' has the role 'read'; this needs a token with the role '{role}'"
            )
        assert (await reader.get("/v1/replays")).status_code == 200
        looked = await reader.post("/v1/replays", json={"dry_run": True})
        assert (looked.status_code, looked.json()["selected"]) == (200, 0)
        for body, role in (({"dry_run": True}, "read"), ({}, "operate")):
            answer = await reporter.post("/v1/replays", json=body)
            assert answer.status_code == 403
            assert f"this needs a token with the role '{role}'" in answer.json()["detail"]
        assert (await reporter.get("/v1/replays")).status_code == 403
        assert (await reporter.post("/v1/replays", json={})).status_code == 403
        assert (await reporter.post("/v1/failures", json=failure)).status_code == 404


async def test_a_service_reports_a_failure_once(sidecar: Sidecar) -> None:
    passed = await sidecar.pass_on(order(1))
    report = {
        "group": "billing",
        "position": str(passed.record.position),
        "error": {
            "type": "java.lang.IllegalStateException",
            "message": "no such customer",
            "stacktrace": "at x\n" * 5_000,
        },
        "attempts": 4,
    }
    async with sidecar.http(REPORTER) as http, sidecar.client() as client:
        answers = await asyncio.gather(*(http.post("/v1/failures", json=report) for _ in range(5)))
        assert sorted(one.status_code for one in answers) == [200, 200, 200, 200, 201]
        (letter,) = (await client.dead_letters()).items
        assert (letter.id, letter.code, letter.attempts) == (f"billing@{passed.record.position}", "reported.error", 4)
        assert letter.message == "java.lang.IllegalStateException: no such customer"
        assert letter.event_id == "e-1"
        shown = await client.dead_letter(letter.id)
        assert (shown.body or {})["eventId"] == "e-1"
        assert "bytes left out" in (shown.stacktrace or "")
        assert shown.history[0].by == "svc"


async def test_a_service_reports_a_record_without_position(sidecar: Sidecar) -> None:
    report = {
        "group": "billing",
        "record": {
            "stream": "orders",
            "key": "aw==",
            "value": "3q0=",
            "headers": [["h", "AQ=="], ["n", None]],
            "timestamp": 5,
        },
        "error": {"type": "E", "message": "m"},
    }
    async with sidecar.http() as http, sidecar.client() as client:
        first, second = [await http.post("/v1/failures", json=report) for _ in range(2)]
        assert (first.status_code, second.status_code) == (201, 200)
        assert first.json()["id"].startswith("billing@sha256:")
        (letter,) = (await client.dead_letters()).items
        assert (letter.id, letter.stream, letter.origin) == (first.json()["id"], "orders", None)
        job = await ended(sidecar, (await client.replay(models.ReplayRequestModel())).id)
        assert job.published == 1
        sent = sidecar.log.streams["orders"][0].records + sidecar.log.streams["orders"][1].records
        sent += sidecar.log.streams["orders"][2].records + sidecar.log.streams["orders"][3].records
        assert [(one.key, one.value, one.headers[:2]) for one in sent] == [
            (b"k", b"\xde\xad", (("h", b"\x01"), ("n", None)))
        ]
        other = {**report, "record": {**report["record"], "stream": "secrets"}}
        assert (await http.post("/v1/failures", json=other)).status_code == 404
        both = {**report, "position": "memory://orders/0/0"}
        assert "either `position` or `record`" in (await http.post("/v1/failures", json=both)).json()["detail"]


async def test_discarding_by_query_and_restoring(sidecar: Sidecar) -> None:
    for _ in range(2):
        await sidecar.pass_on(BAD)
    async with sidecar.client() as client:
        done = await client.discard([], "a load test", query="code:schema.mismatch")
        assert [(one.done, one.state) for one in done] == [(True, "discarded")] * 2
        assert {one.state for one in (await client.dead_letters()).items} == {"discarded"}
        (restored,) = await client.restore([done[0].id])
        assert restored.state == "open"
        (unknown,) = await client.restore(["nobody@memory://orders/0/77"])
        assert not unknown.done


async def test_letters_are_exported_and_imported_with_exact_bytes(sidecar: Sidecar) -> None:
    await sidecar.pass_on(b"\xff\x00garbage", headers=(("h", None), ("h", b"\xff")), key=b"k")
    await sidecar.pass_on(BAD)
    async with sidecar.client() as client:
        lines = [line async for line in client.export()]
        assert len(lines) == 2
        before = {r.key: r for part in sidecar.log.streams["orders.dlt"] for r in part.records}
        (there, _) = await client.import_letters(lines)
        assert (there.done, there.why) == (True, "it is still there")
        for part in sidecar.log.streams["orders.dlt"]:
            part.trim(10)
        assert (await client.dead_letters()).items == []
        for why in (None, "it was imported before"):
            assert [(one.done, one.why) for one in await client.import_letters(lines)] == [(True, why)] * 2
        after = {r.key: r for part in sidecar.log.streams["orders.dlt"] for r in part.records}
        assert {k: (r.value, r.headers, r.position.partition, r.timestamp) for k, r in after.items()} == {
            k: (r.value, r.headers, r.position.partition, r.timestamp) for k, r in before.items()
        }
        assert sum(len(part.records) for part in sidecar.log.streams["orders.dlt"]) == 2
        elsewhere = json.loads(lines[0])
        elsewhere["position"] = "memory://orders/0/1"
        (refused,) = await client.import_letters([json.dumps(elsewhere).encode()])
        assert (refused.done, "not a dead-letter stream" in (refused.why or "")) == (False, True)


async def test_redaction_holds_in_edits_histories_and_exports(tmp_path: Path) -> None:
    async with serving(tmp_path / "token", redact=["body:data.card", "header:authorization"]) as sidecar:
        bad = order(9, data={"total": [1], "card": "4711"})
        await sidecar.pass_on(bad, headers=(("authorization", b"s3cret"),))
        async with sidecar.client() as client:
            (letter,) = (await client.dead_letters()).items
            edit = models.EditRequest(set={"data.total": 7, "data.card": "0815"})
            job = await client.replay(models.ReplayRequestModel(ids=[letter.id], edit=edit))
            assert job.edit == {"set": {"data.total": 7, "data.card": HIDDEN}}
            job = await ended(sidecar, job.id)
            assert job.published == 1
            history = (await client.dead_letter(letter.id)).history
            assert [(one.path, one.after) for one in history[0].edit] == [("data.total", 7), ("data.card", HIDDEN)]
            (line,) = [line async for line in client.export()]
            assert b"4711" not in line
            exported = json.loads(line)
            assert exported["value"] is None
            assert set(exported["hidden"]) >= {"body", "header:authorization"}
            (taken,) = await client.import_letters([line])
            assert (taken.done, taken.why) == (True, "it is still there")
        assert "0815" not in str({k: v for k, v in sidecar.log.ledger.items() if k[1].startswith("job:")})
        assert "0815" not in str(sidecar.log.ledger)


async def test_answers_are_redacted(tmp_path: Path) -> None:
    async with serving(tmp_path / "token", redact=["body:data.card"]) as sidecar:
        bad = order(9, data={"card": ["4711"]})
        await sidecar.pass_on(bad)
        async with sidecar.client() as client:
            (letter,) = (await client.dead_letters()).items
            request = models.ReplayRequestModel(ids=[letter.id], batch_growth=True)
            id = (await client.replay(request)).id
            replayed = ("tracecar.replay-id", id.encode()), ("tracecar.replay-of", letter.id.encode())
            await sidecar.pass_on(bad, headers=replayed)
            job = await ended(sidecar, id)
            assert job.state == "paused"
            assert "failed again: schema.mismatch (data.card: expected" in (job.note or "")
            assert f"found {HIDDEN}" in (job.note or "")


async def test_a_range_over_http(sidecar: Sidecar) -> None:
    for number in range(5):
        await sidecar.pass_on(order(number))
    sidecar.log.create("copies", 4)
    async with sidecar.http() as http:
        body = {"range": {"stream": "orders", "from": "1h"}, "to": "copies", "query": "event:e-3"}
        plan = (await http.post("/v1/replays", json={**body, "dry_run": True})).json()
        assert plan["selected"] == 1
        await sidecar.pass_on(order(3))
        body["range"] = plan["range"]
        job = await ended(sidecar, (await http.post("/v1/replays", json=body)).json()["id"])
        assert job.published == 1
        assert job.range is not None
        assert job.range["stream"] == "orders"


async def test_numbers_keep_all_their_digits_on_their_way_in_and_out(tmp_path: Path) -> None:
    digits = ("12345678901234567890", "1.2345678901234567890123456")
    async with serving(tmp_path / "token") as sidecar:
        text = json.dumps(order(9, data={"total": ["x"]}))[:-1] + f', "big": {digits[0]}, "rate": {digits[1]}}}'
        await sidecar.pass_on(text.encode())
        async with sidecar.client() as client, sidecar.http() as http:
            (letter,) = (await client.dead_letters()).items
            shown = (await http.get(f"/v1/dead-letters/{quote(letter.id, safe='')}")).text
            assert f'"big":{digits[0]},"rate":{digits[1]}' in shown
            assert encode_json((await client.dead_letter(letter.id)).body).decode() in shown
            edit = f'{{"set": {{"data.total": 7, "price": {digits[1]}}}}}'
            exact = f'{{"ids": {json.dumps([letter.id])}, "edit": {edit}}}'
            answer = await http.post("/v1/replays", content=exact, headers={"Content-Type": "application/json"})
            assert answer.status_code == 201, answer.text
            assert digits[1] in answer.text
            await ended(sidecar, answer.json()["id"])
        values = [record.value or b"" for part in sidecar.log.streams["orders"] for record in part.records]
        assert any(value.endswith(f'"rate": {digits[1]}, "price": {digits[1]}}}'.encode()) for value in values)


async def test_entries_of_the_audit_log_have_links_to_their_letters(sidecar: Sidecar) -> None:
    for _ in range(2):
        await sidecar.pass_on(BAD)
    async with sidecar.client() as client:
        first, second = [letter.id for letter in (await client.dead_letters()).items]
        await client.discard([first], "by mistake")
        await client.discard([second], "by mistake")
        links = [parse_link(entry.link or "") for entry in (await client.audit()).items]
    assert ("dead-letter", first) in links
    assert ("dead-letter", second) in links
