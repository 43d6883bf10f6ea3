"""Events and dead letters that a query matches."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings

from sidecar.domain.model import DeadLetter, Event, Record, Rejection, SchemaRef
from sidecar.domain.ports.index import Node
from sidecar.domain.position import Position
from sidecar.query import Query, parse
from tests.unit.query.test_parser import expressions

NOON = 1_769_860_800_000
AT = Position("kafka", "orders", 3, 4711)
EVENT = Event(
    AT,
    "key-1",
    NOON,
    NOON * 1000,
    event_id="e-1",
    type="OrderCreated",
    version="10",
    aggregate_id="4711",
    correlation_id="c-1",
    causation_id="e-0",
    producer="checkout",
    schema=SchemaRef("orders-value", 3, 17, "guid-1"),
)
NODE = Node(EVENT, "ok", 0x4BF92F3577B34DA6A3CE929D0E0E4736, None, False, 0)
REJECTED = Node(
    Event(AT, None, NOON, 0, rejection=Rejection("schema.mismatch", "no", "a")), "rejected", 5, None, False, 0
)
HEADERS = (("Content-Type", b"application/json"), ("n", b"5"), ("n", b"x"), ("null", None), ("bad", b"\xff"))
BODY = {
    "total": 100,
    "price": Decimal("9.90"),
    "ratio": 0.5,
    "paid": True,
    "note": None,
    "text": "hello world",
    "number": "42",
    "at": "2026-01-31T12:00:00Z",
    "when": datetime(2026, 1, 31, 12, tzinfo=UTC),
    "day": date(2026, 1, 31),
    "id": UUID(int=1),
    "raw": b"abc",
    "items": [{"sku": "a", "qty": 1}, {"sku": "b", "qty": 2, "tags": ["x", "y"]}],
    "grid": [[1, 2], [3, 4]],
    "empty": [],
    "inner": {},
    "odd key": {"a.b": 1},
}


def finds(query: str, node: Node = NODE, *, headers: Any = HEADERS, body: Any = BODY) -> bool:
    return parse(query, NOON + 60_000).matches(node, headers, body)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "*",
        "stream:orders",
        "type:Order*",
        "type:*Created",
        "type:O*C*d",
        "type:/rderC/",
        "type:/^order/i",
        "version:10",
        "version:>9",
        "version:<=10.0",
        "event:e-1",
        "trace:4bf92f3577b34da6a3ce929d0e0e4736",
        "trace:4BF9*",
        "aggregate:4711",
        "aggregate_id:4711",
        "correlation:c-1",
        "causation:e-0",
        "producer:checkout",
        "status:ok",
        "-status:rejected",
        "schema:orders-value",
        "schema:orders-value:v3",
        "schema:orders-value:3",
        "schema:17",
        "schema:guid-1",
        "schema:orders*",
        "key:key-1",
        "partition:3",
        "partition:<4",
        "position:kafka://orders/0/* OR position:kafka://orders/3/*",
        "4711",
        "e-1",
        "e-0",
        "c-1",
        "key-1",
        "key*",
        "/^4bf9/",
        "4BF92F3577B34DA6A3CE929D0E0E4736",
        "kafka://orders/3/4711",
        "since:5m",
        "since:2026-01-31T12:00:00Z",
        "until:2026-01-31T12:00:00.001Z",
        "until:30s",
        "since:5m until:30s stream:orders type:Order*",
        "-(stream:payments OR type:x)",
        "stream:payments OR 4711",
        "-code:*",
        "-group:*",
    ],
)
def test_an_event_is_found(query: str) -> None:
    assert finds(query)
    assert not finds(f"-({query})" if query else "-*")


@pytest.mark.parametrize(
    "query",
    [
        "stream:order",
        "type:order*",
        "type:O*x*d",
        "version:>10",
        "version:>2026-01-01",
        "event:e",
        "471",
        "schema:orders-value:v4",
        "since:30s",
        "until:5m",
        "until:2026-01-31T12:00:00Z",
        "stream:orders stream:payments",
        "code:*",
        "group:*",
    ],
)
def test_another_event_is_not_found(query: str) -> None:
    assert not finds(query)


def test_a_rejected_event_is_found_by_why() -> None:
    for query in ("status:rejected", "code:schema.mismatch", "code:schema.*", "stage:schema", "trace:*5"):
        assert finds(query, REJECTED)
    for query in ("code:decode.*", "stage:decode", "type:*", "schema:*", "event:*", "key:*"):
        assert not finds(query, REJECTED)


@pytest.mark.parametrize(
    "query",
    [
        "header.content-type:application/json",
        "header.CONTENT-TYPE:*json",
        "header.n:5",
        "header.n:x",
        "header.n:>4",
        "header.null:*",
        "header.bad:*",
        "-header.absent:*",
        "body.total:100",
        "body.total:100.0",
        "body.total:>99.5",
        "body.total:1*",
        "body.price:9.9",
        "body.price:<10",
        "body.ratio:0.5",
        "body.ratio:>=0.5",
        "body.paid:true",
        "body.note:null",
        "body.note:*",
        'body.text:"hello world"',
        "body.text:hello*",
        "body.text:/o w/",
        "body.number:42",
        "body.number:>41",
        "body.at:>2026-01-31",
        "body.at:2026-01-31T12:00:00Z",
        "body.when:2026-01-31T12:00:00Z",
        "body.when:>2026-01-31",
        "body.when:2026-01-31T13:00:00+01:00",
        "body.day:2026-01-31",
        "body.day:<2026-02-01",
        "body.id:00000000-0000-0000-0000-000000000001",
        "body.raw:abc",
        "body.items.sku:b",
        "body.items.qty:>1",
        "body.items[0].sku:a",
        "body.items[*].sku:b",
        "body.items.tags:y",
        "body.items[1].tags[0]:x",
        "body.grid:4",
        "body.grid[1][0]:3",
        "body.inner:*",
        '"odd key" OR body."odd key"."a.b":1',
        "-body.items[0].sku:b",
        "-body.empty:*",
        "-body.items[7].sku:*",
        "-body.total.inner:*",
        "-body.text:>5",
        "-body.paid:1",
    ],
)
def test_headers_and_bodies_are_looked_into(query: str) -> None:
    assert finds(query)


def test_a_missing_field_matches_nothing() -> None:
    assert not finds("header.n:*", headers=None)
    assert not finds("body.total:*", body=None)
    assert not finds("body.total:*", body="text")
    assert finds("body[1]:b", body=["a", "b"])


LETTER = DeadLetter(
    id="billing@kafka://orders/3/4711",
    position=Position("kafka", "orders.dlt", 3, 9),
    origin=AT,
    origin_timestamp=NOON,
    stream="orders",
    group="billing",
    code="schema.mismatch",
    message="no",
    path="a",
    event_id="e-1",
    type="OrderCreated",
    trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
    aggregate_id="4711",
    failed_at=(NOON + 1_000) * 1_000,
    attempts=1,
    dialect="tracecar",
    record=Record(AT, b"key-1", b"{}", HEADERS, NOON),
)


def test_dead_letters_are_asked_in_the_same_words() -> None:
    for query in (
        "stream:orders",
        "group:billing",
        "code:schema.mismatch",
        "stage:schema",
        "status:rejected",
        "4711",
        "key-1",
        "billing@kafka://orders/3/4711",
        "kafka://orders/3/4711",
        "kafka://orders.dlt/3/9",
        "trace:4bf9*",
        "partition:3",
        "since:5m type:Order* header.n:5 body.total:>5",
        "since:2026-01-31T12:00:01Z",
        "-version:* -producer:* -schema:*",
    ):
        assert parse(query, NOON + 60_000).matches_letter(LETTER, HEADERS, BODY), query
    assert not parse("group:other").matches_letter(LETTER)
    assert not parse("since:2026-01-31T12:00:01.001Z").matches_letter(LETTER)


def test_conditions_that_a_query_implies_are_known() -> None:
    query = parse("stream:orders (trace:a3ce929d0e0e4736 OR trace:b3ce929d0e0e4736) since:1h since:15m until:5m", NOON)
    assert query.streams == {"orders"}
    assert query.list_required_values("trace") == {
        "0000000000000000a3ce929d0e0e4736",
        "0000000000000000b3ce929d0e0e4736",
    }
    assert (query.since, query.until) == (NOON - 900_000, NOON - 300_000)
    assert not query.needs_payload
    assert parse("a (b OR header.x:y)").needs_payload
    assert not parse("header.x:y").needs_body
    assert parse("-body.x:y").needs_body
    for text in ("", "-stream:orders", "stream:ord*", "stream:orders OR type:x", "-since:5m"):
        assert (parse(text).streams, parse(text).since) == (None, None)
    assert parse("stream:a OR stream:b since:1h", NOON).streams == {"a", "b"}
    assert parse("stream:a stream:b").streams == frozenset()
    assert parse("since:1h OR since:2h", NOON).since == NOON - 7_200_000
    assert parse("4711").list_required_values(None) == {"4711"}


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(expressions)
def test_bounds_pins_and_what_is_possible_never_lose_an_event(expression: Any) -> None:
    query = Query(expression, NOON)
    if query.matches(NODE, HEADERS, BODY):
        assert query.streams is None or "orders" in query.streams
        assert query.since is None or query.since <= NOON
        assert query.until is None or query.until > NOON
        assert query.possible_decoded(EVENT)
        assert query.possible_payload(EVENT, HEADERS, BODY)
        assert query.possible_headers(HEADERS)
        assert query.possible_in(EVENT.position.log)
    if query.matches_letter(LETTER, HEADERS, BODY):
        assert query.possible_letter(LETTER)


def test_the_index_filter_uses_everything_but_headers_and_body() -> None:
    for text in ("stream:orders body.x:y", "-body.x:y", "-(body.x:y stream:orders)", "stream:x OR -header.x:y"):
        assert parse(text).possible_decoded(EVENT), text
        assert parse(text).possible_letter(LETTER), text
    for text in ("stream:x body.x:y", "-(body.x:y OR stream:orders)", "-stream:orders -body.x:y"):
        assert not parse(text).possible_decoded(EVENT), text
        assert not parse(text).possible_letter(LETTER), text


def test_what_a_decoded_event_lacks_is_left_to_the_index() -> None:
    for text in ("status:duplicate", "trace:ffff*", "anything", "-status:ok", "code:decode.limit OR stage:decode"):
        assert parse(text).possible_decoded(EVENT), text
        assert parse(text).possible_payload(EVENT, HEADERS, BODY), text
    assert not parse("status:ok stream:x").possible_decoded(EVENT)
    assert not parse("status:ok body.total:<100").possible_payload(EVENT, HEADERS, BODY)


def test_headers_and_places_exclude_records_before_they_are_decoded() -> None:
    assert not parse("type:x header.n:6").possible_headers(HEADERS)
    assert parse("type:x header.n:5").possible_headers(HEADERS)
    assert parse("type:x OR header.n:6").possible_headers(HEADERS)
    partition = EVENT.position.log
    assert parse("partition:>=0 stream:ord*").possible_in(partition)
    assert not parse("stream:pay* type:x").possible_in(partition)
    assert not parse(f"-partition:{partition.number}").possible_in(partition)


@pytest.mark.parametrize(
    "body",
    [
        {"a": 10**5_000},
        {"a": float("nan")},
        {"a": float("inf")},
        {"a": Decimal("sNaN")},
        {"a": Decimal("1e999999")},
        {"a": "\ud800"},
        {"a": "x" * 1_000_000},
        {"a": [[[[[[[[[1]]]]]]]]]},
        {"a": list(range(100_000))},
        {"a": datetime(1, 1, 1)},
        {"a": date(9999, 12, 31)},
        {"a": object()},
    ],
)
def test_no_body_breaks_a_query(body: Any) -> None:
    for value in ("1", ">1", "<2026-01-31", "*", "x*", "/(x+x+)+y/", "true"):
        finds(f"body.a:{value}", body=body)
        finds(f"body.a.b[*].c:{value}", body=body)


def test_an_expression_that_ruins_other_engines_takes_linear_time_here() -> None:
    assert not finds("body.a:/^(a+)+$/", body={"a": "a" * 60_000 + "b"})
