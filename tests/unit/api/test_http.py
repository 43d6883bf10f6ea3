"""The API over HTTP: what it answers, to whom, and how it says what is wrong."""

from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
import pytest_asyncio

from sidecar.api.http.middleware import _one_segment
from sidecar.domain.model import Outgoing
from sidecar.domain.position import Partition
from tests.support.api import OPERATOR, READER, REPORTER, SCHEMA, Sidecar, order, serving

EVENT = {
    "position", "stream", "partition", "key", "event_id", "type", "version", "occurred_at", "appended_at",
    "observed_at", "aggregate_id", "aggregate_type", "trace_id", "span_id", "parent_span_id", "correlation_id",
    "causation_id", "producer", "schema", "status", "replay_of", "rejection", "trace_origin",
}  # fmt: skip
"""The contract's fields."""
FLOW = {
    "trace_id", "started_at", "ended_at", "duration_ms", "status", "aggregates", "streams", "producers", "events",
}  # fmt: skip
DEAD_LETTER = {
    "id", "position", "origin", "stream", "group", "stage", "code", "message", "path", "event_id", "type", "trace_id",
    "aggregate_id", "failed_at", "attempts", "root_cause", "dialect", "state", "cause", "groups",
}  # fmt: skip
CAUSE = {
    "cause", "stream", "stage", "code", "message", "path", "root_cause", "type", "schema", "count", "first_seen",
    "last_seen", "oldest_age_s", "rate", "aggregates", "some_aggregates", "groups", "dialects", "states", "latest",
}  # fmt: skip
STATUS = {
    "service", "version", "ready", "filling", "streams", "index", "exporters", "registry", "uptime_s",
}  # fmt: skip
STREAM = {"stream", "partitions", "settled_here", "lag", "events", "rejected", "rate", "held"}
BAD = order(9, data={"total": [1]})
"""An event that breaks its schema."""


@pytest_asyncio.fixture
async def sidecar(tmp_path: Path) -> AsyncIterator[Sidecar]:
    async with serving(tmp_path / "token") as running:
        yield running


@pytest_asyncio.fixture
async def http(sidecar: Sidecar) -> AsyncIterator[httpx2.AsyncClient]:
    async with sidecar.http() as client:
        yield client


async def _json(http: httpx2.AsyncClient, path: str, **parameters: Any) -> Any:
    response = await http.get(path, params=parameters)
    assert response.status_code == 200, response.text
    return response.json()


async def _problem(response: httpx2.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    return problem


# --- shapes ---------------------------------------------------------------------------------------------------------


async def test_events_are_shown_newest_first_with_the_contracts_fields(
    sidecar: Sidecar, http: httpx2.AsyncClient
) -> None:
    for number in range(3):
        await sidecar.pass_on(order(number))
    page = await _json(http, "/v1/events")
    assert [one["event_id"] for one in page["items"]] == ["e-2", "e-1", "e-0"]
    assert set(page["items"][0]) >= EVENT
    assert not {"headers", "body"} & set(page["items"][0])
    assert page["items"][0]["schema"] == {
        "subject": "orders-value",
        "version": 1,
        "id": 1,
        "guid": page["items"][0]["schema"]["guid"],
    }
    assert page["items"][0]["trace_origin"] == "derived"
    assert page["coverage"]["events"] == 3


async def test_one_event_comes_with_its_headers_and_body(sidecar: Sidecar, http: httpx2.AsyncClient) -> None:
    shown = await sidecar.pass_on(order(1), headers=(("a", b"1"), ("a", b"\xff"), ("b", None)))
    position = str(shown.event.position)
    event = await _json(http, f"/v1/events/{quote(position, safe='')}")
    assert set(event) >= EVENT | {"headers", "body"}
    assert event["headers"] == [["a", "1"], ["a", {"base64": "/w=="}], ["b", None]]
    assert event["body"]["data"] == {"total": 10}


async def test_a_rejected_event_says_why_and_shows_its_bytes(sidecar: Sidecar, http: httpx2.AsyncClient) -> None:
    await sidecar.pass_on(BAD)
    await sidecar.pass_on(b"\x00\x01\x02\xff")
    page = await _json(http, "/v1/events", query="status:rejected", full="true")
    undecodable, broken = page["items"]
    assert broken["rejection"]["code"] == "schema.mismatch"
    assert broken["rejection"]["stage"] == "schema"
    assert broken["rejection"]["path"]
    assert undecodable["status"] == "rejected"
    assert undecodable["body"] == {"base64": "AAEC/w=="}


async def test_flows_and_aggregates(sidecar: Sidecar, http: httpx2.AsyncClient) -> None:
    await sidecar.pass_on(order(1, correlationId="c-1"))
    await sidecar.pass_on(order(2, correlationId="c-1", causationId="e-1"))
    flow = await _json(http, "/v1/flows/c-1")
    assert set(flow) >= FLOW
    first, second = flow["events"]
    assert set(first) >= EVENT | {"parent", "parent_inferred", "depth"}
    assert (first["parent"], second["parent"], second["depth"]) == (None, first["position"], 1)
    assert flow["aggregates"] == ["o-1", "o-2"]
    assert (await _json(http, "/v1/flows/e-2"))["trace_id"] == flow["trace_id"]
    listed = await _json(http, "/v1/flows")
    assert [one["trace_id"] for one in listed["items"]] == [flow["trace_id"]]
    assert "events" not in listed["items"][0]
    aggregate = await _json(http, "/v1/aggregates/o-2")
    assert aggregate["aggregate_id"] == "o-2"
    assert [one["event_id"] for one in aggregate["events"]] == ["e-2"]


async def test_a_flow_of_an_aggregate_tells_that_there_are_others(sidecar: Sidecar, http: httpx2.AsyncClient) -> None:
    for number in range(3):
        await sidecar.pass_on(order(number, aggregateId="o-7"))
    flow = await _json(http, "/v1/flows/o-7")
    assert [event["event_id"] for event in flow["events"]] == ["e-2"]
    assert flow["elsewhere"] == 2
    assert (await _json(http, "/v1/flows/e-2"))["elsewhere"] == 0


async def test_dead_letters_are_listed_searched_and_shown(sidecar: Sidecar, http: httpx2.AsyncClient) -> None:
    broken = await sidecar.pass_on(BAD, headers=(("h", b"1"),))
    await sidecar.pass_on(b"\x00\x00\x00\x00\x63rest")
    listed = await _json(http, "/v1/dead-letters")
    assert len(listed["items"]) == 2
    assert set(listed["items"][0]) >= DEAD_LETTER
    found = await _json(http, "/v1/dead-letters", query="code:schema.mismatch body.data.total:1")
    assert [one["origin"] for one in found["items"]] == [str(broken.event.position)]
    letter = await _json(http, f"/v1/dead-letters/{quote(found['items'][0]['id'], safe='')}")
    assert letter["body"] == BAD
    assert letter["headers"] == [["h", "1"]]
    assert letter["groups"] == ["tracecar.shop"]
    first = await _json(http, "/v1/dead-letters", limit=1)
    second = await _json(http, "/v1/dead-letters", limit=1, cursor=first["cursor"])
    assert {first["items"][0]["id"], second["items"][0]["id"]} == {one["id"] for one in listed["items"]}
    assert second["cursor"] is None


async def test_dead_letters_read_as_their_causes(sidecar: Sidecar, http: httpx2.AsyncClient) -> None:
    for number in range(7):
        await sidecar.pass_on(order(number, data={"total": [number]}))
    await sidecar.pass_on(b"\x00\x00\x00\x00\x63rest")
    page = await _json(http, "/v1/dead-letters/groups")
    assert [one["count"] for one in page["items"]] == [7, 1]
    assert (page["letters"], page["folded"], page["note"]) == (8, 0, None)
    most = page["items"][0]
    assert set(most) == CAUSE
    assert (most["stream"], most["stage"], most["path"]) == ("orders", "schema", "data.total")
    assert (most["aggregates"], most["some_aggregates"]) == (7, [f"o-{number}" for number in range(5)])
    assert (most["groups"], most["dialects"]) == (["tracecar.shop"], ["tracecar"])
    assert most["first_seen"] <= most["last_seen"]
    assert most["rate"] == round(7 / 60, 3)
    letters = (await _json(http, "/v1/dead-letters", query="code:schema.mismatch"))["items"]
    assert {one["cause"] for one in letters} == {most["cause"]}
    assert most["latest"] in {one["id"] for one in letters}
    of_it = (await _json(http, "/v1/dead-letters", query=f"cause:{most['cause']} dialect:tracecar"))["items"]
    assert len(of_it) == 7
    for query, count in (("aggregate:o-3", 1), ("body.data.total:3", 1), ("stream:payments", 0), ("since:1h", 8)):
        found = await _json(http, "/v1/dead-letters/groups", query=query)
        assert found["letters"] == count, query
    assert len((await _json(http, "/v1/dead-letters/groups", limit=1))["items"]) == 1
    await _problem(await http.get("/v1/dead-letters/groups", params={"query": "code:("}), 400)


async def test_a_letter_without_the_record_is_shown_from_its_origin(sidecar: Sidecar, http: httpx2.AsyncClient) -> None:
    passed = await sidecar.pass_on(order(4), headers=(("h", b"1"),), key=b"o-4")
    at = passed.event.position
    origin = [("topic", at.stream), ("partition", str(at.partition)), ("offset", str(at.offset))]
    headers = [(f"__dlq.errors.{name}", value.encode()) for name, value in (*origin, ("group", "billing"))]
    sidecar.log.create("orders-dlt", 1)
    sidecar.log.append(Outgoing("orders-dlt", None, None, tuple(headers)))
    gone = [headers[0], headers[1], ("__dlq.errors.offset", b"99"), headers[3]]
    sidecar.log.append(Outgoing("orders-dlt", b"k", b"kept", tuple(gone)))
    letters = (await _json(http, "/v1/dead-letters", query="code:delivery.exhausted"))["items"]
    assert [one["dialect"] for one in letters] == ["share-group", "share-group"]
    lost, found = [await _json(http, f"/v1/dead-letters/{quote(one['id'], safe='')}") for one in letters]
    assert (found["origin"], found["body"], found["headers"]) == (str(at), order(4), [["h", "1"]])
    assert (found["key"], found["group"], found["omitted"]) == ("o-4", "billing", ["body", "headers", "key"])
    assert (lost["body"], lost["headers"]) == ("kept", [])
    assert "headers" in lost["payload_note"]


async def test_schemas_tell_what_is_registered_and_seen(sidecar: Sidecar, http: httpx2.AsyncClient) -> None:
    await sidecar.pass_on(order(1))
    page = await _json(http, "/v1/schemas")
    assert page["items"][0]["subject"] == "orders-value"
    assert page["items"][0]["versions"] == [1]
    assert page["items"][0]["seen"] == [{"version": 1, "id": 1, "streams": ["orders"]}]
    one = await _json(http, "/v1/schemas/orders-value")
    assert "OrderCreated" not in one["items"][0]["text"]
    assert one["items"][0]["compatibility"] == "BACKWARD"
    await _problem(await http.get("/v1/schemas/nothing-value"), 404)


async def test_status_and_streams(sidecar: Sidecar, http: httpx2.AsyncClient) -> None:
    sidecar.held["orders"] = 2
    status = await _json(http, "/v1/status")
    assert set(status) >= STATUS
    assert set(status["streams"][0]) >= STREAM
    assert set(status["streams"][0]["held"]) >= {"since", "reason"}
    assert set(status["index"]) >= {"events", "max_events", "evicted", "coverage"}
    assert set(status["registry"]) >= {"reachable", "schemas"}
    assert (await _json(http, "/v1/streams"))["items"] == status["streams"]


# --- pages and queries ----------------------------------------------------------------------------------------------


async def test_pages_follow_one_another_without_gaps(sidecar: Sidecar, http: httpx2.AsyncClient) -> None:
    for number in range(7):
        await sidecar.pass_on(order(number))
    seen, cursor = [], None
    while True:
        page = await _json(http, "/v1/events", limit=3, **({"cursor": cursor} if cursor else {}))
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
        page = await _json(
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
    page = await _json(http, "/v1/events", query="body.data.total:0")
    assert page["items"] == []
    assert page["cursor"] is not None
    assert "stopped before its end" in page["coverage"]["note"]


async def test_a_bad_query_says_where(http: httpx2.AsyncClient) -> None:
    problem = await _problem(await http.get("/v1/events", params={"query": "type:Order* nonsense:1"}), 400)
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
    problem = await _problem(await http.get(path, params=parameters), 400)
    assert next(iter(parameters)) in problem["detail"] or "cursor" in problem["detail"]


@pytest.mark.parametrize(
    "path", ["/v1/events/kafka://nothing/0/1", "/v1/flows/nobody", "/v1/aggregates/nobody", "/v1/dead-letters/x@y"]
)
async def test_what_is_not_there_says_what_was_looked_for(http: httpx2.AsyncClient, path: str) -> None:
    problem = await _problem(await http.get(path), 404)
    assert path.rpartition("/")[2].split("/")[0] in problem["detail"]


async def test_an_unknown_path_and_method_are_problems(http: httpx2.AsyncClient) -> None:
    await _problem(await http.get("/v1/nonsense"), 404)
    await _problem(await http.post("/v1/events"), 405)


# --- positions in paths ---------------------------------------------------------------------------------------------


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


async def test_a_slash_that_a_proxy_took_away_comes_back(sidecar: Sidecar, http: httpx2.AsyncClient) -> None:
    shown = await sidecar.pass_on(BAD)
    raw = str(shown.event.position).replace("://", ":/")
    assert (await http.get(f"/v1/events/{raw}")).status_code == 200
    assert (await http.get(f"/v1/dead-letters/tracecar.shop@{raw}")).status_code == 200


async def test_aggregate_ids_may_hold_anything(sidecar: Sidecar, http: httpx2.AsyncClient) -> None:
    for id in ("a/b", "100%", "a b", "x@kafka", "?#&", "ü", "a%2Fb"):
        await sidecar.pass_on(order(1, eventId=id, aggregateId=id))
        found = await _json(http, f"/v1/aggregates/{quote(id, safe='')}")
        assert [one["event_id"] for one in found["events"]] == [id]


async def test_ids_that_are_not_utf8_are_looked_for_like_others(sidecar: Sidecar, http: httpx2.AsyncClient) -> None:
    for path in ("/v1/flows/%ff%fe", "/v1/aggregates/%ff", "/v1/events/redis%3A%2F%2F%25FF%2F1-1", "/v1/schemas/%80"):
        await _problem(await http.get(path), 404)
    await _problem(await http.post("/v1/streams/%ff/resume"), 404)


async def test_a_record_that_is_not_there_is_told_from_one_that_is_gone(
    sidecar: Sidecar, http: httpx2.AsyncClient
) -> None:
    sidecar.publish(order(1), stream="payments")
    sidecar.log.trim(Partition("memory", "payments", 0), 1)
    for position, why in (
        ("memory://orders/9/0", "does not have memory://orders/9"),
        ("memory://payments/0/5", "does not have a record there yet"),
        ("memory://payments/0/0", "any more (retention"),
    ):
        assert why in (await _problem(await http.get(f"/v1/events/{position}"), 404))["detail"], position


async def test_only_watched_streams_and_their_dead_letters_are_shown(
    sidecar: Sidecar, http: httpx2.AsyncClient
) -> None:
    sidecar.log.create("salaries", 1)
    sidecar.publish({"eventId": "secret-1"}, stream="salaries")
    answer = await http.get("/v1/events/memory://salaries/0/0")
    assert "does not watch" in (await _problem(answer, 404))["detail"]
    scanned = await http.get("/v1/scan", params={"query": "stream:salaries", "full": True})
    assert "secret-1" not in scanned.text
    assert "event: problem" in scanned.text
    bad = await sidecar.pass_on(BAD)
    assert (await http.get(f"/v1/events/{bad.event.position}")).status_code == 200
    scanned = await http.get("/v1/scan", params={"query": "stream:orders.dlt"})
    assert "event: event" in scanned.text


async def test_ids_typed_without_encoding_are_utf8() -> None:
    assert _one_segment("/v1/aggregates/\u00fc/1", "") == "/v1/aggregates/%C3%BC%2F1"


# --- who may ask ----------------------------------------------------------------------------------------------------


async def test_everything_but_health_needs_a_token(sidecar: Sidecar) -> None:
    async with sidecar.http(None) as http:
        for path in ("/v1/events", "/v1/status", "/schema", "/nonsense", "/v1/live", "/", "//healthz", "/healthz/x"):
            for header in (None, "Bearer nonsense", f"Basic {OPERATOR}", "Bearer", "Bearer " + "x" * 8_000):
                response = await http.get(path, headers={"Authorization": header} if header else {})
                await _problem(response, 401)
                assert response.headers["www-authenticate"].startswith("Bearer")


async def test_health_needs_no_token(sidecar: Sidecar) -> None:
    async with sidecar.http(None) as http:
        assert (await http.get("/healthz")).status_code == 200
        assert (await http.get("/readyz")).status_code == 200
        metrics = (await http.get("/metrics")).text
        sidecar.ready = False
        assert (await http.get("/readyz")).status_code == 503
        assert (await http.get("/healthz")).status_code == 200
    assert 'tracecar_events_total{system="memory",stream="orders"} 7' in metrics
    assert "tracecar_ready 1" in metrics


async def test_roles(sidecar: Sidecar) -> None:
    sidecar.held["orders"] = 1
    for token, reading, acting in ((OPERATOR, 200, 200), (READER, 200, 403), (REPORTER, 403, 403)):
        async with sidecar.http(token) as http:
            assert (await http.get("/v1/events")).status_code == reading
            response = await http.post("/v1/streams/orders/resume")
            assert response.status_code == acting
            if acting == 403:
                assert "operate" in (await _problem(response, 403))["detail"]
    assert sidecar.asked == [("resume", "orders")]


async def test_a_token_is_made_and_kept_for_its_user_alone(tmp_path: Path) -> None:
    from sidecar.config.token_file import read_or_create_token
    from sidecar.domain.errors import Refused

    file = tmp_path / "state" / "tracecar" / "token"
    token = read_or_create_token(file)
    assert len(token) > 30
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_or_create_token(file) == token
    file.chmod(0o644)
    with pytest.raises(Refused, match="other users can read"):
        read_or_create_token(file)
    file.chmod(0o600)
    file.write_text("")
    with pytest.raises(Refused, match="contains no token"):
        read_or_create_token(file)


async def test_other_names_are_not_answered_on_loopback(sidecar: Sidecar, http: httpx2.AsyncClient) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", ""):
        await _problem(await http.get("/healthz", headers={"Host": host}), 421)
    for host in ("localhost:1", "127.0.0.1", "[::1]:80", "x.localhost"):
        assert (await http.get("/healthz", headers={"Host": host})).status_code == 200


async def test_answers_are_not_kept_or_framed(http: httpx2.AsyncClient) -> None:
    for response in (await http.get("/v1/events"), await http.get("/v1/events/x"), await http.get("/healthz")):
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in response.headers["content-security-policy"]


async def test_requests_have_limits(http: httpx2.AsyncClient) -> None:
    await _problem(await http.get("/v1/events?query=" + "x" * 20_000), 414)
    response = await http.post("/v1/streams/orders/resume", content=b"x" * (2 << 20))
    assert response.status_code in (200, 413)


# --- acting ---------------------------------------------------------------------------------------------------------


async def test_streams_go_on(sidecar: Sidecar, http: httpx2.AsyncClient) -> None:
    sidecar.held["orders"] = 3
    problem = await _problem(await http.post("/v1/streams/orders/skip"), 409)
    assert "lose dead letters" in problem["detail"]
    released = (await http.post("/v1/streams/orders/resume")).json()
    assert released == {"stream": "orders", "partitions": 3, "lost": 0, "lost_positions": []}
    await _problem(await http.post("/v1/streams/nothing/resume"), 404)
    await _problem(await http.post("/v1/streams/a%2Fb/resume"), 404)


# --- description ----------------------------------------------------------------------------------------------------


async def test_the_api_describes_itself(http: httpx2.AsyncClient) -> None:
    document = await _json(http, "/schema")
    assert document["openapi"].startswith("3.")
    assert {"/v1/events", "/v1/events/{position}", "/v1/flows/{id}", "/v1/live", "/v1/status"} <= set(document["paths"])
    assert set(document["components"]["schemas"]) & {"Event", "Flow", "DeadLetter"}


async def test_probes_have_a_listener_of_their_own(tmp_path: Path) -> None:
    async with serving(tmp_path / "token", probes=True) as sidecar:
        assert sidecar.serving.probes_url is not None
        async with httpx2.AsyncClient(base_url=sidecar.serving.probes_url, trust_env=False) as http:
            assert (await http.get("/healthz")).status_code == 200
            assert (await http.get("/metrics")).status_code == 200
            assert (await http.get("/v1/events")).status_code == 404


async def test_a_port_that_is_taken_is_said(sidecar: Sidecar) -> None:
    from sidecar.api.http.server import HttpListener
    from sidecar.domain.errors import Refused

    with pytest.raises(Refused, match="cannot listen"):
        HttpListener(None, "127.0.0.1", int(sidecar.url.rpartition(":")[2]), "api")  # type: ignore[arg-type]


def test_serving_loads_nothing_that_is_not_used() -> None:
    code = (
        "import sys; from sidecar.api.http.app import build_probes; build_probes(None, None, loopback=True);"
        "print([m for m in ('pydantic', 'attrs', 'jinja2', 'httpx2', 'websockets') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


async def test_a_version_of_a_schema_is_shown(sidecar: Sidecar) -> None:
    newer = SCHEMA.replace('"name": "Order"', '"name": "Order", "doc": "newer"')
    sidecar.registry.register("orders-value", newer)
    async with sidecar.http() as http:
        texts = [
            (await http.get(f"/v1/schemas/orders-value?version={one}")).json()["items"][0]["text"] for one in (1, 2)
        ]
        assert texts == [SCHEMA, newer]
        assert (await http.get("/v1/schemas/orders-value")).json()["items"][0]["text"] == newer
        answer = await http.get("/v1/schemas/orders-value?version=7")
        assert (answer.status_code, answer.json()["detail"]) == (404, "'orders-value' has no version 7; it has 1, 2")


# --- hostile and unusual bodies


@pytest.mark.parametrize("depth", [200, 900, 3_000, 100_000])
@pytest.mark.parametrize("opening", [b"[", b'{"edit":{"set":{"a":', b'{"ids":["x"],"dry_run":true,"edit":{"body":'])
async def test_a_body_that_is_nested_deeply_is_a_bad_request(
    http: httpx2.AsyncClient, depth: int, opening: bytes
) -> None:
    closing = b"}" * opening.count(b"{")
    for path in ("failures", "replays", "dead-letters/discard", "dead-letters/restore", "dead-letters/import"):
        for body in (opening + b"[" * depth, opening + b"[" * depth + b"]" * depth + closing):
            answer = await http.post(f"/v1/{path}", content=body, headers={"content-type": "application/json"})
            assert answer.status_code == 400, (path, answer.text)


async def test_the_message_of_a_reported_failure_may_be_null(sidecar: Sidecar, http: httpx2.AsyncClient) -> None:
    position = sidecar.publish(order(1))
    report = {"position": str(position), "group": "billing", "error": {"type": "KeyError", "message": None}}
    answer = await http.post("/v1/failures", json=report)
    assert answer.status_code == 201, answer.text
    letter = (await http.get(f"/v1/dead-letters/{quote(answer.json()['id'], safe='')}")).json()
    assert letter["message"] == "KeyError"


async def test_the_description_says_which_routes_need_no_token(http: httpx2.AsyncClient) -> None:
    paths = (await http.get("/schema")).json()["paths"]
    without = {path for path, methods in paths.items() for one in methods.values() if one.get("security") == [{}]}
    assert without == {"/healthz", "/readyz", "/metrics"}
