"""Pages and queries over HTTP, and ids and positions in paths."""

from __future__ import annotations

from urllib.parse import quote

import httpx2
import pytest

from sidecar.api.http.middleware import _one_segment
from sidecar.domain.position import Partition
from tests.support.api import BAD, Sidecar, assert_problem, get_json, order


async def test_pages_follow_one_another_without_gaps(sidecar: Sidecar, http: httpx2.AsyncClient) -> None:
    for number in range(7):
        await sidecar.pass_on(order(number))
    seen, cursor = [], None
    while True:
        page = await get_json(http, "/v1/events", limit=3, **({"cursor": cursor} if cursor else {}))
        seen += [one["event_id"] for one in page["items"]]
        cursor = page["cursor"]
        if cursor is None:
            break
    assert seen == [f"e-{number}" for number in range(6, -1, -1)]


@pytest.mark.parametrize("full", [False, True])
async def test_payload_queries_page_without_gaps(sidecar: Sidecar, http: httpx2.AsyncClient, full: bool) -> None:
    for number in range(150):
        await sidecar.pass_on(order(number), headers=(("parity", b"%d" % (number % 2)),))
    seen, cursor = [], None
    while True:
        more = {"cursor": cursor} if cursor else {}
        page = await get_json(
            http, "/v1/events", query="header.parity:1 body.data.total:>=500", limit=7, full=str(full).lower(), **more
        )
        seen += [one["event_id"] for one in page["items"]]
        cursor = page["cursor"]
        if cursor is None:
            break
    assert seen == [f"e-{number}" for number in range(149, 50, -2)]


async def test_a_payload_query_says_when_its_bound_is_reached(
    sidecar: Sidecar, http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.api.services.search.MAX_PAYLOADS_PER_SEARCH", 64)
    for number in range(200):
        await sidecar.pass_on(order(number))
    page = await get_json(http, "/v1/events", query="body.data.total:0")
    assert page["items"] == []
    assert page["cursor"] is not None
    assert "stopped before its end" in page["coverage"]["note"]


async def test_an_invalid_query_is_reported_with_its_place(http: httpx2.AsyncClient) -> None:
    problem = await assert_problem(await http.get("/v1/events", params={"query": "type:Order* nonsense:1"}), 400)
    assert problem["query"] == "type:Order* nonsense:1"
    assert problem["at"] == 12


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("/v1/events", {"limit": "-1"}),
        ("/v1/events", {"limit": "many"}),
        ("/v1/events", {"limit": "1001"}),
        ("/v1/events", {"cursor": "nonsense"}),
        ("/v1/events", {"query": "x" * 5_000}),
        ("/v1/dead-letters", {"cursor": "nonsense"}),
        ("/v1/flows", {"cursor": "nonsense"}),
    ],
)
async def test_bad_parameters_are_named(http: httpx2.AsyncClient, path: str, parameters: dict[str, str]) -> None:
    problem = await assert_problem(await http.get(path, params=parameters), 400)
    assert next(iter(parameters)) in problem["detail"] or "cursor" in problem["detail"]


@pytest.mark.parametrize(
    "path", ["/v1/events/kafka://nothing/0/1", "/v1/flows/nobody", "/v1/aggregates/nobody", "/v1/dead-letters/x@y"]
)
async def test_not_found_names_what_was_asked_for(http: httpx2.AsyncClient, path: str) -> None:
    problem = await assert_problem(await http.get(path), 404)
    assert path.rpartition("/")[2].split("/")[0] in problem["detail"]


async def test_an_unknown_path_and_method_are_problems(http: httpx2.AsyncClient) -> None:
    await assert_problem(await http.get("/v1/nonsense"), 404)
    await assert_problem(await http.post("/v1/events"), 405)


@pytest.mark.parametrize("stream", ["orders", "a b", "a/b", "50%25", "ü", "{tag}.x", "q?x#y"])
async def test_positions_work_in_paths_encoded_and_raw(sidecar: Sidecar, stream: str) -> None:
    sidecar.log.create(stream, 1)
    shown = await sidecar.pass_on({"eventId": "e"}, stream=stream)
    position = str(shown.event.position)
    async with sidecar.http() as http:
        for written in (quote(position, safe=""), quote(position, safe=":"), quote(position), position):
            response = await http.get(f"/v1/events/{written}")
            assert response.status_code == 200, (written, response.text)
            assert response.json()["position"] == position


async def test_a_slash_that_a_proxy_removed_is_restored(sidecar: Sidecar, http: httpx2.AsyncClient) -> None:
    shown = await sidecar.pass_on(BAD)
    raw = str(shown.event.position).replace("://", ":/")
    assert (await http.get(f"/v1/events/{raw}")).status_code == 200
    assert (await http.get(f"/v1/dead-letters/tracecar.shop@{raw}")).status_code == 200


async def test_aggregate_ids_may_contain_any_character(sidecar: Sidecar, http: httpx2.AsyncClient) -> None:
    for id in ("a/b", "100%", "a b", "x@kafka", "?#&", "ü", "a%2Fb"):
        await sidecar.pass_on(order(1, eventId=id, aggregateId=id))
        found = await get_json(http, f"/v1/aggregates/{quote(id, safe='')}")
        assert [one["event_id"] for one in found["events"]] == [id]


async def test_ids_that_are_not_utf8_are_not_found(sidecar: Sidecar, http: httpx2.AsyncClient) -> None:
    for path in ("/v1/flows/%ff%fe", "/v1/aggregates/%ff", "/v1/events/redis%3A%2F%2F%25FF%2F1-1", "/v1/schemas/%80"):
        await assert_problem(await http.get(path), 404)
    await assert_problem(await http.post("/v1/streams/%ff/resume"), 404)


async def test_a_missing_record_is_distinguished_from_a_deleted_one(sidecar: Sidecar, http: httpx2.AsyncClient) -> None:
    sidecar.publish(order(1), stream="payments")
    sidecar.log.trim(Partition("memory", "payments", 0), 1)
    for position, why in (
        ("memory://orders/9/0", "has no memory://orders/9"),
        ("memory://payments/0/5", "does not have a record there yet"),
        ("memory://payments/0/0", "(deleted by retention"),
    ):
        assert why in (await assert_problem(await http.get(f"/v1/events/{position}"), 404))["detail"], position


async def test_only_watched_streams_and_their_dead_letters_are_shown(
    sidecar: Sidecar, http: httpx2.AsyncClient
) -> None:
    sidecar.log.create("salaries", 1)
    sidecar.publish({"eventId": "secret-1"}, stream="salaries")
    answer = await http.get("/v1/events/memory://salaries/0/0")
    assert "does not watch" in (await assert_problem(answer, 404))["detail"]
    scanned = await http.get("/v1/scan", params={"query": "stream:salaries", "full": True})
    assert "secret-1" not in scanned.text
    assert "event: problem" in scanned.text
    bad = await sidecar.pass_on(BAD)
    assert (await http.get(f"/v1/events/{bad.event.position}")).status_code == 200
    scanned = await http.get("/v1/scan", params={"query": "stream:orders.dlt"})
    assert "event: event" in scanned.text


async def test_ids_typed_without_encoding_are_utf8() -> None:
    assert _one_segment("/v1/aggregates/\u00fc/1", "") == "/v1/aggregates/%C3%BC%2F1"


async def test_a_wrong_query_is_answered_with_the_one_that_was_probably_meant(http: httpx2.AsyncClient) -> None:
    problem = await assert_problem(await http.get("/v1/events", params={"query": "status=rejected"}), 400)
    assert problem["at"] == 6
    assert problem["did_you_mean"] == "status:rejected"


@pytest.mark.parametrize("path", ["/v1/events", "/v1/dead-letters", "/v1/dead-letters/groups"])
async def test_an_empty_list_says_what_was_probably_meant(
    sidecar: Sidecar, http: httpx2.AsyncClient, path: str
) -> None:
    await sidecar.pass_on(order(1))
    await sidecar.pass_on(BAD)
    page = await get_json(http, path, query="order 2063 failed")
    assert page["items"] == []
    assert page["did_you_mean"] == "aggregate:*2063 status:rejected"
    assert (await get_json(http, path))["did_you_mean"] is None
