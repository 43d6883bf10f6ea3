"""A sidecar with a history: its answers over HTTP combine index, history and broker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from sidecar.adapters.history.memory import MemoryHistory
from sidecar.api.client.client import NotFound
from sidecar.api.services.picture import broker_search
from sidecar.domain.derived_ids import derive_trace_id
from sidecar.domain.errors import Outage
from sidecar.domain.history_rows import HistoryRow, encode_row
from sidecar.domain.json_safe import encode_json, to_json_values
from sidecar.domain.model import Decoded
from sidecar.domain.offset_ranges import OffsetRange
from sidecar.domain.ports.history import HistorySegment
from sidecar.domain.position import Partition
from tests.support.api import READER, Sidecar, order, serving

LOG = Partition("memory", "orders", 0)


@pytest_asyncio.fixture
async def sidecar(tmp_path: Path) -> AsyncIterator[Sidecar]:
    async with serving(tmp_path / "token", redact=["body:data.card.*"], history=MemoryHistory()) as running:
        yield running


async def archive(sidecar: Sidecar, decoded: Sequence[Decoded], *, bodies: bool = False) -> None:
    """Move events from the index to the history, and delete their records from the broker."""
    rows = []
    for each in decoded:
        body = encode_json(to_json_values(sidecar.redactor.body(each.body))) if bodies else None
        headers = msgspec.json.encode([(name, (value or b"").decode()) for name, value in each.record.headers])
        rows.append(HistoryRow(sidecar.redactor.stored_event(each.event), None, body, headers if bodies else None))
    assert sidecar.history is not None
    end = max(each.event.position.offset for each in decoded) + 1
    covered = [OffsetRange(LOG, None, 0, end)]
    await sidecar.history.append(HistorySegment(lines=[encode_row(row) for row in rows], covered=covered))
    for log in {each.event.position.log for each in decoded}:
        sidecar.index.discard(log, time.time_ns() // 1000)
        sidecar.cache.discard(log)
        sidecar.log.trim(log, end)
    for each in decoded:
        while await sidecar.index.at(each.event.position) is not None:  # the index removes them in steps
            await asyncio.sleep(0)


async def ask(sidecar: Sidecar, path: str, status: int = 200, **parameters: Any) -> Any:
    async with sidecar.http(READER) as http:
        response = await http.get(path, params=parameters)
    assert response.status_code == status, response.text
    return response.json()


async def test_a_flow_can_begin_in_the_history_and_continue_in_the_index(sidecar: Sidecar) -> None:
    old = [await sidecar.pass_on(order(n, correlationId="c-1", aggregateId="o-7")) for n in (1, 2)]
    await archive(sidecar, old)
    await sidecar.pass_on(order(3, correlationId="c-1", aggregateId="o-7", causationId="e-2"))
    for id in ("c-1", "o-7", "e-1", "e-3", str(old[0].event.position)):
        flow = await ask(sidecar, f"/v1/flows/{id}")
        assert [(event["event_id"], event["source"]) for event in flow["events"]] == [
            ("e-1", "history"), ("e-2", "history"), ("e-3", "index"),
        ]  # fmt: skip
        assert flow["events"][2]["parent"] == str(old[1].event.position)
    assert flow["coverage"]["history"]["events"] == 2
    aggregate = await ask(sidecar, "/v1/aggregates/o-7")
    assert [event["source"] for event in aggregate["events"]] == ["history", "history", "index"]
    assert (await ask(sidecar, "/v1/flows"))["items"][0]["event_count"] == 3


async def test_lists_page_from_the_index_into_the_history(sidecar: Sidecar) -> None:
    old = [await sidecar.pass_on(order(n)) for n in range(5)]
    await archive(sidecar, old)
    for n in range(5, 8):
        await sidecar.pass_on(order(n))
    ids, sources, cursor = [], [], None
    while True:
        page = await ask(sidecar, "/v1/events", limit=2, **({} if cursor is None else {"cursor": cursor}))
        ids += [event["event_id"] for event in page["items"]]
        sources += [event["source"] for event in page["items"]]
        if (cursor := page["cursor"]) is None:
            break
    assert ids == [f"e-{n}" for n in range(7, -1, -1)]
    assert sources == ["index"] * 3 + ["history"] * 5
    matched = await ask(sidecar, "/v1/events", query="aggregate:o-1 OR aggregate:o-6")
    assert [event["event_id"] for event in matched["items"]] == ["e-6", "e-1"]
    assert [event["event_id"] for event in (await ask(sidecar, "/v1/events", query="event:e-2"))["items"]] == ["e-2"]


async def test_a_duplicate_of_an_event_in_the_history_is_one(sidecar: Sidecar) -> None:
    await archive(sidecar, [await sidecar.pass_on(order(1))])
    again = await sidecar.pass_on(order(1))
    assert (await ask(sidecar, f"/v1/events/{again.event.position}"))["status"] == "duplicate"


async def test_bodies_that_the_broker_lost_come_from_the_history_where_it_keeps_them(sidecar: Sidecar) -> None:
    body = order(1, data={"total": 5, "card": "secret"})
    kept = await sidecar.pass_on(body, headers=(("trace", b"yes"),))
    await archive(sidecar, [kept], bodies=True)
    event = await ask(sidecar, f"/v1/events/{kept.event.position}")
    assert (event["source"], event["body"]["data"]) == ("history", {"total": 5, "card": "[redacted]"})
    assert event["headers"] == [["trace", "yes"]]
    assert "the history keeps" in event["payload_note"]
    lost = await sidecar.pass_on(order(2))
    await archive(sidecar, [lost])
    event = await ask(sidecar, f"/v1/events/{lost.event.position}")
    assert (event["source"], event["body"]) == ("history", None)
    assert "no longer has this record" in event["payload_note"]
    state = await ask(sidecar, "/v1/aggregates/o-1", at="now")
    assert state["state"] == {"total": 5, "card": "[redacted]"}


async def test_not_found_names_the_sources_that_were_searched(sidecar: Sidecar) -> None:
    await archive(sidecar, [await sidecar.pass_on(order(1))])
    for path in ("/v1/flows/unknown", "/v1/aggregates/unknown", "/v1/events/unknown"):
        detail = (await ask(sidecar, path, 404))["detail"]
        assert "among the 0 events of the index, the 1 event of the history since" in detail, detail
        assert detail.endswith("and the brokers, which hold no other records")
    async with sidecar.client(READER) as client:
        with pytest.raises(NotFound, match="of the history"):
            await client.flow("unknown")


async def test_hidden_ids_find_nothing_in_the_history(tmp_path: Path) -> None:
    async with serving(tmp_path / "token", redact=["body:aggregateId"], history=MemoryHistory()) as sidecar:
        await archive(sidecar, [await sidecar.pass_on(order(1))])
        await ask(sidecar, "/v1/aggregates/o-1", 404)
        await ask(sidecar, "/v1/flows/o-1", 404)
        assert (await ask(sidecar, "/v1/flows/e-1"))["event_count"] == 1


async def test_events_outside_of_index_and_history_are_found_in_the_broker(sidecar: Sidecar) -> None:
    await archive(sidecar, [await sidecar.pass_on(order(1, correlationId="c-1"))])
    unseen = [sidecar.publish(order(n, correlationId="c-1", causationId=f"e-{n - 1}")) for n in (2, 3)]
    sidecar.publish(order(9, correlationId="c-9"))
    by_derived_id = await ask(sidecar, f"/v1/flows/{derive_trace_id('c-9'):032x}")
    assert [event["event_id"] for event in by_derived_id["events"]] == ["e-9"]
    flow = await ask(sidecar, "/v1/flows/e-3")
    assert [(event["event_id"], event["source"], event["depth"]) for event in flow["events"]] == [
        ("e-1", "history", 0), ("e-2", "broker", 1), ("e-3", "broker", 2),
    ]  # fmt: skip
    assert (await ask(sidecar, "/v1/aggregates/o-2"))["events"][0]["source"] == "broker"
    assert (await ask(sidecar, "/v1/events/e-2"))["position"] == str(unseen[0])
    assert (await ask(sidecar, "/v1/aggregates/o-3", at="now"))["state"] == {"total": 30}


async def test_a_search_of_the_broker_is_bounded_and_says_so(sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_search, "OFFSETS_PER_STEP", 2)
    monkeypatch.setattr(broker_search, "MAX_SEARCHED_RECORDS", 4)
    for n in range(10):
        sidecar.publish(order(n))
    assert (
        "the latest 4 records of the brokers that are not covered by these; 6 older ones were not looked at"
        in (await ask(sidecar, "/v1/flows/e-0", 404))["detail"]
    )
    assert (await ask(sidecar, "/v1/flows/e-9"))["event_count"] == 1  # the latest are searched first


async def test_unreachable_brokers_are_reported(sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away() -> Any:
        raise Outage("kafka is away")

    monkeypatch.setattr(sidecar.broker, "status", away)
    detail = (await ask(sidecar, "/v1/flows/unknown", 404))["detail"]
    assert "the brokers could not be searched: kafka is away" in detail
