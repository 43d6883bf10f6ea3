"""A new broker is a package and a line in the wiring: one that only tests have runs through the whole sidecar."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sidecar.config.schema import ApiConfig, Config, EnvelopeConfig, SourcesConfig
from sidecar.domain.model import Outgoing
from sidecar.domain.position import Position
from sidecar.runtime import wiring
from tests.support.conditions import until
from tests.support.paper_broker import PaperAdapter
from tests.support.service import running_service

TOKEN = "paper"


@pytest.fixture
async def book(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[tuple[PaperAdapter, str]]:
    adapter = PaperAdapter("sales")
    monkeypatch.setattr(wiring, "BROKER_ADAPTERS", (*wiring.BROKER_ADAPTERS, adapter))
    config = Config(
        service="shop",
        sources=SourcesConfig(),
        envelope=EnvelopeConfig(required=["type"]),
        api=ApiConfig(port=0, token=TOKEN, token_file=str(tmp_path / "token")),
    )
    async with running_service(config) as url:
        yield adapter, url


async def tracecar(url: str, *words: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sidecar", *words, "--url", url, "--token", TOKEN), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


async def test_a_broker_of_the_tests_runs_through_pipeline_index_api_and_command_line(
    book: tuple[PaperAdapter, str],
) -> None:
    adapter, url = book
    good = {"eventId": "e-1", "eventType": "Sold", "correlationId": "c-1"}
    adapter.log.append(Outgoing("sales", None, json.dumps(good).encode(), ()))
    adapter.log.append(Outgoing("sales", None, json.dumps({**good, "eventId": "e-2"}).encode(), ()))
    adapter.log.append(Outgoing("sales", None, None, (("eventType", b"Sold"), ("eventId", b"e-3"))))
    bad = adapter.log.append(Outgoing("sales", None, b'{"eventId": "e-4"}', ()))
    assert str(bad) == "paper://sales/2.1"
    assert Position.parse("paper://sales/2.1") == bad

    async with httpx2.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}) as http:

        async def events() -> list[dict[str, Any]]:
            found = (await http.get("/v1/events")).raise_for_status().json()["items"]
            return found if len(found) == 4 else []

        await until(events)
        shown = await events()
        assert {event["position"]: event["status"] for event in shown} == {
            "paper://sales/1.1": "unchecked",
            "paper://sales/1.2": "unchecked",
            "paper://sales/1.3": "unchecked",
            "paper://sales/2.1": "rejected",
        }
        one = (await http.get("/v1/events/paper://sales/1.3")).raise_for_status().json()
        assert one["body"] == {"eventType": "Sold", "eventId": "e-3"}
        flow = (await http.get("/v1/flows/paper://sales/1.1")).raise_for_status().json()
        assert {event["position"] for event in flow["events"]} == {"paper://sales/1.1", "paper://sales/1.2"}
        wrong = await http.get("/v1/events/paper://sales/7.9")
        assert wrong.status_code == 400
        assert "paper://BOOK/PAGE.LINE" in wrong.text

        async def letters() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = (await http.get("/v1/dead-letters")).raise_for_status().json()["items"]
            return found

        await until(letters)
        (letter,) = await letters()
        assert letter["id"] == "tracecar.shop@paper://sales/2.1"
        status = (await http.get("/v1/status")).raise_for_status().json()
        assert [(stream["system"], stream["stream"], stream["lag"]) for stream in status["streams"]] == [
            ("paper", "sales", 0)
        ]
    rows = [json.loads(line) for line in (await tracecar(url, "events", "--json")).splitlines()]
    assert {row["position"] for row in rows} == {event["position"] for event in shown}
    assert "paper://sales/2.1" in await tracecar(url, "dlq", "show", "tracecar.shop@paper://sales/2.1")
