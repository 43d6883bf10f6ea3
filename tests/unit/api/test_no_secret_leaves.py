"""A hundred secrets with unusual names and forms: no output of the process contains one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from sidecar.api import models
from sidecar.api.models.replays import EditRequest, ReplayRequestModel
from sidecar.domain.json_path import print_steps
from sidecar.domain.model import Outgoing
from tests.support.api import READER, Sidecar, serving

MARK = "zqx"
"""A text that every secret contains, and nothing else."""
NAMES = [
    "größe", "4711", "a.b", 'a"b', "a[0]", "a]b", "two words", "x" * 200, "\U0001f600", "tab\there", "new\nline",
    "back\\slash", "…", "-", "0", "null", "string", "shop.Card", "Card", "ünï", "a:b", "(a)", "$ref", "@type",
    "esc\x1b", "Straße", "a/b", "%41", "ключ", "键",
]  # fmt: skip
DECOMPOSED = {"größe": "gro\u0308ße", "ünï": "u\u0308ni\u0308"}
HIDDEN_PLACES = [f"body:{print_steps(('limits', name))}" for name in NAMES]
REDACT = [*HIDDEN_PLACES, "body:cards", "body:*.pin", "header:authorization", "header:x-*"]
SCHEMA = json.dumps(
    {
        "type": "record",
        "name": "Payment",
        "fields": [
            {"name": "eventId", "type": ["null", "string"], "default": None},
            {"name": "n", "type": "int", "default": 0},
            {"name": "limits", "type": {"type": "map", "values": ["int", {"type": "map", "values": "int"}]}},
            {"name": "cards", "type": {"type": "map", "values": "int"}, "default": {}},
        ],
    }
)


def secrets() -> list[str]:
    return [f"{MARK}-{number:03d}-{MARK}" for number in range(400)]


def bodies(values: list[str]) -> list[Any]:
    """Build events that break their schema at a redacted path, or contain a secret in another form."""
    found: list[Any] = []
    for name in NAMES:
        found.append({"limits": {name: values.pop()}})
        found.append({"limits": {name: {values.pop(): "one"}}})
        found.append({"limits": {DECOMPOSED.get(name, name): {"deep": values.pop()}}})
    found += [
        {"limits": {}, "cards": {values.pop(): "a name is the secret"}},
        {"limits": {}, "cards": {"x" * 300: {values.pop() * 30: 1}}},
        {"limits": {}, "cards": values.pop()},
        {"limits": {}, "cards": json.dumps({"number": values.pop()})},
        {"limits": {}, "cards": [values.pop(), [values.pop()]]},
        {"limits": {}, "owner": {"pin": values.pop()}},
        {"limits": {}, "owner": {"string": {"pin": values.pop()}}},
        {"limits": {}, "owner": [{"pin": {"map": values.pop()}}]},
        {"limits": {"größe": values.pop()}, "n": "broken elsewhere"},
        [{"cards": values.pop()}],
    ]
    return found


async def planted(sidecar: Sidecar) -> list[Any]:
    """Publish the secrets as events, and as dead letters of other frameworks. Returns the bodies."""
    sidecar.registry.register("payments-value", SCHEMA)
    values = secrets()
    events = bodies(values)
    for body in events:
        await sidecar.pass_on(body, "payments", headers=(("Authorization", values.pop().encode()), ("X-Token", b"zqx")))
    await sidecar.pass_on(f'{{"limits": {{"größe": "{values.pop()}"'.encode(), "payments")
    spring = (
        ("kafka_dlt-exception-fqcn", b"java.lang.IllegalStateException"),
        ("kafka_dlt-exception-message", f"no such card {values.pop()}".encode()),
        (
            "kafka_dlt-exception-stacktrace",
            f"java.lang.X: {values.pop()}\n\tat A.b\nCaused by: Y: {values.pop()}".encode(),
        ),
        ("kafka_dlt-original-topic", b"payments"),
    )
    sidecar.log.create("payments-dlt", 1)
    sidecar.log.append(Outgoing("payments-dlt", None, json.dumps({"limits": {}}).encode(), spring, partition=0))
    return events


@pytest.mark.slow  # asks every route
@pytest.mark.parametrize("token", [None, READER])
async def test_no_answer_contains_a_secret(
    tmp_path: Path, token: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(tmp_path / "token", redact=REDACT) as sidecar:
        await planted(sidecar)
        async with sidecar.http(token) if token else sidecar.http() as http:
            letters = (await http.get("/v1/dead-letters", params={"limit": 0})).json()["items"]
            events = (await http.get("/v1/events", params={"limit": 0})).json()["items"]
            assert len(letters) > 90
            assert len(events) > 100
            paths = [
                "/v1/events?full=true&limit=0", "/v1/dead-letters?limit=0", "/v1/dead-letters/groups?limit=0",
                "/v1/flows?limit=0", "/v1/scan?full=true", "/v1/audit", "/v1/replays", "/v1/dead-letters/export",
                "/v1/schemas", "/metrics",
                *(f"/v1/events/{quote(event['position'], safe='')}" for event in events),
                *(f"/v1/dead-letters/{quote(letter['id'], safe='')}" for letter in letters),
            ]  # fmt: skip
            for path in paths:
                answer = await http.get(path)
                if answer.status_code == 200 or path != "/v1/dead-letters/export":
                    assert MARK not in answer.text, (path, answer.text[max(0, answer.text.index(MARK) - 200) :][:400])
            for query in (f"/{MARK}/", f"body.limits:/{MARK}/", f"message:/{MARK}/", f"header.x-token:{MARK}"):
                for path in ("/v1/events", "/v1/dead-letters"):
                    assert (await http.get(path, params={"query": query})).json()["items"] == [], query
    assert MARK not in "".join(capsys.readouterr())


async def test_edits_leave_no_secret_behind(tmp_path: Path) -> None:
    async with serving(tmp_path / "token", redact=REDACT) as sidecar:
        await planted(sidecar)
        paths = [
            'limits["größe"]',
            'limits["4711"]',
            "cards",
            'cards["zqx-1"]',
            "owner.pin",
            'owner["pin"]',
            "limits.größe",
        ]
        async with sidecar.client() as client, sidecar.http(READER) as reader:
            ids = [letter.id for letter in (await client.dead_letters("stream:payments")).items][:3]
            for path in paths:
                request = {"ids": ids[:1], "edit": {"set": {path: "zqx-9"}}, "dry_run": True}
                answer = await reader.post("/v1/replays", json=request)
                assert answer.status_code == 403, "a dry run would confirm a guess"
                edit = EditRequest(set={path: "zqx-9", "n": 1})
                plan = await client.plan(ReplayRequestModel(ids=ids, edit=edit, force=True))
                assert MARK not in str(plan), path
                job = await client.replay(ReplayRequestModel(ids=ids, edit=edit, force=True))
                assert MARK not in str(job), path
            edit = EditRequest(remove=['cards["zqx-2"]'], set={"limits": {"größe": "zqx-3"}})
            assert MARK not in str(await client.plan(ReplayRequestModel(ids=ids, edit=edit, force=True)))
            await client.replay(ReplayRequestModel(ids=ids, edit=edit, force=True))
            for _ in range(200):
                jobs = await client.replays()
                if all(job.state != "running" for job in jobs):
                    break
            assert MARK not in str(jobs)
            assert MARK not in str(await client.audit())
            for id in ids:
                letter: models.DeadLetterModel = await client.dead_letter(id)
                assert MARK not in str(letter)
        assert MARK.encode() not in str(sidecar.log.ledger).encode()


async def test_a_scan_by_key_is_refused_where_keys_are_redacted(tmp_path: Path) -> None:
    async with serving(tmp_path / "token", redact=["body:aggregateId"]) as sidecar, sidecar.http(READER) as http:
        await sidecar.pass_on({"aggregateId": "4711", "limits": {}}, "payments", key=b"4711")
        guesses = [await http.get("/v1/scan", params={"key": key}) for key in ("4711", "4712")]
        assert [(guess.status_code, "4711" in guess.text) for guess in guesses] == [(400, False)] * 2
