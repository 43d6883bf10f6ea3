"""The HTTP API: answers of each route, acting on streams, the OpenAPI document, requests that are wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import httpx2
import pytest

from sidecar.domain.model import Outgoing
from tests.support.api import BAD, SCHEMA, Sidecar, assert_problem, get_json, order, serving

EVENT = {
    "position", "stream", "partition", "key", "event_id", "type", "version", "occurred_at", "appended_at",
    "observed_at", "aggregate_id", "aggregate_type", "trace_id", "span_id", "parent_span_id", "correlation_id",
    "causation_id", "producer", "schema", "status", "replay_of", "rejection", "trace_origin",
}  # fmt: skip
"""Fields that the contract names."""
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


async def test_events_are_shown_newest_first_with_the_contracts_fields(
    sidecar: Sidecar, http: httpx2.AsyncClient
) -> None:
    for number in range(3):
        await sidecar.pass_on(order(number))
    page = await get_json(http, "/v1/events")
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


async def test_an_event_has_its_headers_and_body(sidecar: Sidecar, http: httpx2.AsyncClient) -> None:
    shown = await sidecar.pass_on(order(1), headers=(("a", b"1"), ("a", b"\xff"), ("b", None)))
    position = str(shown.event.position)
    event = await get_json(http, f"/v1/events/{quote(position, safe='')}")
    assert set(event) >= EVENT | {"headers", "body"}
    assert event["headers"] == [["a", "1"], ["a", {"base64": "/w=="}], ["b", None]]
    assert event["body"]["data"] == {"total": 10}


async def test_a_rejected_event_says_why_and_shows_its_bytes(sidecar: Sidecar, http: httpx2.AsyncClient) -> None:
    await sidecar.pass_on(BAD)
    await sidecar.pass_on(b"\x00\x01\x02\xff")
    page = await get_json(http, "/v1/events", query="status:rejected", full="true")
    undecodable, broken = page["items"]
    assert broken["rejection"]["code"] == "schema.mismatch"
    assert broken["rejection"]["stage"] == "schema"
    assert broken["rejection"]["path"]
    assert undecodable["status"] == "rejected"
    assert undecodable["body"] == {"base64": "AAEC/w=="}


async def test_flows_and_aggregates(sidecar: Sidecar, http: httpx2.AsyncClient) -> None:
    await sidecar.pass_on(order(1, correlationId="c-1"))
    await sidecar.pass_on(order(2, correlationId="c-1", causationId="e-1"))
    flow = await get_json(http, "/v1/flows/c-1")
    assert set(flow) >= FLOW
    first, second = flow["events"]
    assert set(first) >= EVENT | {"parent", "parent_inferred", "depth"}
    assert (first["parent"], second["parent"], second["depth"]) == (None, first["position"], 1)
    assert flow["aggregates"] == ["o-1", "o-2"]
    assert (await get_json(http, "/v1/flows/e-2"))["trace_id"] == flow["trace_id"]
    listed = await get_json(http, "/v1/flows")
    assert [one["trace_id"] for one in listed["items"]] == [flow["trace_id"]]
    assert "events" not in listed["items"][0]
    aggregate = await get_json(http, "/v1/aggregates/o-2")
    assert aggregate["aggregate_id"] == "o-2"
    assert [one["event_id"] for one in aggregate["events"]] == ["e-2"]


async def test_a_flow_of_an_aggregate_counts_its_events_in_other_flows(
    sidecar: Sidecar, http: httpx2.AsyncClient
) -> None:
    for number in range(3):
        await sidecar.pass_on(order(number, aggregateId="o-7"))
    flow = await get_json(http, "/v1/flows/o-7")
    assert [event["event_id"] for event in flow["events"]] == ["e-2"]
    assert flow["elsewhere"] == 2
    assert (await get_json(http, "/v1/flows/e-2"))["elsewhere"] == 0


async def test_dead_letters_are_listed_searched_and_shown(sidecar: Sidecar, http: httpx2.AsyncClient) -> None:
    broken = await sidecar.pass_on(BAD, headers=(("h", b"1"),))
    await sidecar.pass_on(b"\x00\x00\x00\x00\x63rest")
    listed = await get_json(http, "/v1/dead-letters")
    assert len(listed["items"]) == 2
    assert set(listed["items"][0]) >= DEAD_LETTER
    found = await get_json(http, "/v1/dead-letters", query="code:schema.mismatch body.data.total:1")
    assert [one["origin"] for one in found["items"]] == [str(broken.event.position)]
    letter = await get_json(http, f"/v1/dead-letters/{quote(found['items'][0]['id'], safe='')}")
    assert letter["body"] == BAD
    assert letter["headers"] == [["h", "1"]]
    assert letter["groups"] == ["tracecar.shop"]
    first = await get_json(http, "/v1/dead-letters", limit=1)
    second = await get_json(http, "/v1/dead-letters", limit=1, cursor=first["cursor"])
    assert {first["items"][0]["id"], second["items"][0]["id"]} == {one["id"] for one in listed["items"]}
    assert second["cursor"] is None


async def test_dead_letters_are_grouped_by_cause(sidecar: Sidecar, http: httpx2.AsyncClient) -> None:
    for number in range(7):
        await sidecar.pass_on(order(number, data={"total": [number]}))
    await sidecar.pass_on(b"\x00\x00\x00\x00\x63rest")
    page = await get_json(http, "/v1/dead-letters/groups")
    assert [one["count"] for one in page["items"]] == [7, 1]
    assert (page["letters"], page["folded"], page["note"]) == (8, 0, None)
    most = page["items"][0]
    assert set(most) == CAUSE
    assert (most["stream"], most["stage"], most["path"]) == ("orders", "schema", "data.total")
    assert (most["aggregates"], most["some_aggregates"]) == (7, [f"o-{number}" for number in range(5)])
    assert (most["groups"], most["dialects"]) == (["tracecar.shop"], ["tracecar"])
    assert most["first_seen"] <= most["last_seen"]
    assert most["rate"] == round(7 / 60, 3)
    letters = (await get_json(http, "/v1/dead-letters", query="code:schema.mismatch"))["items"]
    assert {one["cause"] for one in letters} == {most["cause"]}
    assert most["latest"] in {one["id"] for one in letters}
    of_it = (await get_json(http, "/v1/dead-letters", query=f"cause:{most['cause']} dialect:tracecar"))["items"]
    assert len(of_it) == 7
    for query, count in (("aggregate:o-3", 1), ("body.data.total:3", 1), ("stream:payments", 0), ("since:1h", 8)):
        found = await get_json(http, "/v1/dead-letters/groups", query=query)
        assert found["letters"] == count, query
    assert len((await get_json(http, "/v1/dead-letters/groups", limit=1))["items"]) == 1
    await assert_problem(await http.get("/v1/dead-letters/groups", params={"query": "code:("}), 400)


async def test_a_letter_without_its_record_shows_the_origin(sidecar: Sidecar, http: httpx2.AsyncClient) -> None:
    passed = await sidecar.pass_on(order(4), headers=(("h", b"1"),), key=b"o-4")
    at = passed.event.position
    origin = [("topic", at.stream), ("partition", str(at.partition)), ("offset", str(at.offset))]
    headers = [(f"__dlq.errors.{name}", value.encode()) for name, value in (*origin, ("group", "billing"))]
    sidecar.log.create("orders-dlt", 1)
    sidecar.log.append(Outgoing("orders-dlt", None, None, tuple(headers)))
    gone = [headers[0], headers[1], ("__dlq.errors.offset", b"99"), headers[3]]
    sidecar.log.append(Outgoing("orders-dlt", b"k", b"kept", tuple(gone)))
    letters = (await get_json(http, "/v1/dead-letters", query="code:delivery.exhausted"))["items"]
    assert [one["dialect"] for one in letters] == ["share-group", "share-group"]
    lost, found = [await get_json(http, f"/v1/dead-letters/{quote(one['id'], safe='')}") for one in letters]
    assert (found["origin"], found["body"], found["headers"]) == (str(at), order(4), [["h", "1"]])
    assert (found["key"], found["group"], found["omitted"]) == ("o-4", "billing", ["body", "headers", "key"])
    assert (lost["body"], lost["headers"]) == ("kept", [])
    assert "headers" in lost["payload_note"]


async def test_schemas_show_registered_and_used_versions(sidecar: Sidecar, http: httpx2.AsyncClient) -> None:
    await sidecar.pass_on(order(1))
    page = await get_json(http, "/v1/schemas")
    assert page["items"][0]["subject"] == "orders-value"
    assert page["items"][0]["versions"] == [1]
    assert page["items"][0]["seen"] == [{"version": 1, "id": 1, "streams": ["orders"]}]
    one = await get_json(http, "/v1/schemas/orders-value")
    assert "OrderCreated" not in one["items"][0]["text"]
    assert one["items"][0]["outline"][0] == {"depth": 0, "name": "Order", "type": "record"}
    assert "outline" not in page["items"][0]
    assert one["items"][0]["compatibility"] == "BACKWARD"
    await assert_problem(await http.get("/v1/schemas/nothing-value"), 404)


async def test_status_and_streams(sidecar: Sidecar, http: httpx2.AsyncClient) -> None:
    sidecar.held["orders"] = 2
    status = await get_json(http, "/v1/status")
    assert set(status) >= STATUS
    assert set(status["streams"][0]) >= STREAM
    assert set(status["streams"][0]["held"]) >= {"since", "reason"}
    assert set(status["index"]) >= {"events", "max_events", "evicted", "coverage"}
    assert set(status["registry"]) >= {"reachable", "schemas"}
    assert (await get_json(http, "/v1/streams"))["items"] == status["streams"]


async def test_held_streams_are_resumed_and_not_skipped_without_dead_letters(
    sidecar: Sidecar, http: httpx2.AsyncClient
) -> None:
    sidecar.held["orders"] = 3
    problem = await assert_problem(await http.post("/v1/streams/orders/skip"), 409)
    assert "lose dead letters" in problem["detail"]
    released = (await http.post("/v1/streams/orders/resume")).json()
    assert released == {"stream": "orders", "partitions": 3, "lost": 0, "lost_positions": []}
    await assert_problem(await http.post("/v1/streams/nothing/resume"), 404)
    await assert_problem(await http.post("/v1/streams/a%2Fb/resume"), 404)


async def test_the_api_describes_itself(http: httpx2.AsyncClient) -> None:
    document = await get_json(http, "/schema")
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


async def test_a_port_in_use_is_reported(sidecar: Sidecar) -> None:
    from sidecar.api.http.server import HttpListener
    from sidecar.domain.errors import Refused

    with pytest.raises(Refused, match="cannot listen"):
        HttpListener(None, "127.0.0.1", int(sidecar.url.rpartition(":")[2]), "api")  # type: ignore[arg-type]


@pytest.mark.slow  # a process
def test_serving_imports_no_unused_packages() -> None:
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
