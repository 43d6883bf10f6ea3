"""Large payloads in answers: the event loop stays responsive, and few payloads are in memory at the same time."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest

from sidecar.api.services import payloads
from tests.support.api import serving
from tests.support.loop_steps import watch_steps

MAX_STEP_S = 0.1
"""Maximum processor time of one step. The work on these bodies takes several times as long."""
VALUES = b"[" + b",".join([b'{"n":0.10}'] * 60_000) + b"]"
GOOD = b'{"eventId":"e-1","list":%b}' % VALUES
BAD = b'{"eventId":"e-2","eventType":3,"list":%b}' % VALUES


@pytest.mark.slow
@pytest.mark.parametrize("redact", [[], ["body:list.n"]], ids=["plain", "redacted"])
async def test_a_large_body_keeps_no_step_of_the_event_loop(tmp_path: Path, redact: list[str]) -> None:
    async with serving(tmp_path / "token", redact=redact) as sidecar, sidecar.http() as http:
        good, bad = await sidecar.pass_on(GOOD, "free"), await sidecar.pass_on(BAD)
        (letter,) = (await http.get("/v1/dead-letters")).json()["items"]
        paths = [
            f"/v1/events/{quote(str(good.event.position), safe='')}",
            f"/v1/events/{quote(str(bad.event.position), safe='')}",
            f"/v1/dead-letters/{quote(letter['id'], safe='')}",
            "/v1/events?query=body.list[59999].n:0.1",
            "/v1/events?query=stream:orders&full=true",
            "/v1/dead-letters?query=body.eventId:e-2",
            "/v1/scan?query=body.eventId:e-2&full=true",
        ]
        for path in paths:
            with watch_steps() as steps:
                answer = await http.get(path)
            assert answer.status_code == 200, answer.text[:500]
            assert steps.longest_s < MAX_STEP_S, (path, steps.longest)
        body = (await http.get(paths[0])).content
        shown = msgspec.json.Decoder(float_hook=str).decode(body)["body"]["list"]
        assert len(shown) == 60_000
        assert shown[0] == {"n": "[redacted]" if redact else "0.1"}


async def test_few_large_payloads_are_held_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payloads, "MAX_HELD_BYTES", 1_000_000)
    asked: list[int] = []
    async with serving(tmp_path / "token") as sidecar, sidecar.http() as http:
        whole = sidecar.payloads.all

        async def counted(positions: list[object]) -> object:
            asked.append(len(positions))
            return await whole(positions)

        monkeypatch.setattr(sidecar.payloads, "all", counted)
        for number in range(200):
            await sidecar.pass_on({"eventId": f"e-{number}", "text": "x" * (10 if number < 150 else 300_000)}, "free")
        page = (await http.get("/v1/events?query=body.eventId:e-*&limit=1000")).json()
        assert [event["event_id"] for event in page["items"]] == [f"e-{number}" for number in reversed(range(200))]
        assert max(asked) == 32
        assert asked[1:10] == [3] * 9  # 300 kB each
