"""Debezium's change events and its outbox router, as its documentation shows them."""

from __future__ import annotations

import json

import pytest

from sidecar.decoding.envelope.debezium import unwrap
from tests.support.decoding import avro, confluent, court, record

SOURCE = {
    "version": "3.0.0.Final",
    "connector": "postgresql",
    "name": "shopdb",
    "ts_ms": 1_767_225_600_123,
    "db": "shop",
    "schema": "public",
    "table": "orders",
}
CHANGE = {
    "before": None,
    "after": {"id": 17, "status": "open"},
    "source": SOURCE,
    "op": "c",
    "ts_ms": 1_767_225_600_999,
}
ROW = {
    "type": "record",
    "name": "Row",
    "fields": [{"name": "id", "type": "int"}, {"name": "status", "type": "string"}],
}
KEY = b'{"id": 17}'


def wrapped(payload):
    return {
        "schema": {"type": "struct", "optional": False, "name": "shopdb.public.orders.Envelope"},
        "payload": payload,
    }


@pytest.mark.parametrize("body", [CHANGE, wrapped(CHANGE)])
@pytest.mark.parametrize("key", [KEY, json.dumps(wrapped({"id": 17})).encode()])
def test_a_change_implies_its_words(body, key):
    with court() as it:
        event = it.one(record(body, key=key)).event
    assert (event.type, event.aggregate_type, event.aggregate_id) == ("orders.created", "orders", "17")
    assert (event.producer, event.occurred_at) == ("shopdb", 1_767_225_600_123_000)
    assert event.unchecked


@pytest.mark.parametrize(
    ("op", "verb"), [("c", "created"), ("u", "updated"), ("d", "deleted"), ("r", "read"), ("t", "truncated")]
)
def test_every_operation_has_its_verb(op, verb):
    with court() as it:
        assert it.one(record({**CHANGE, "op": op})).event.type == f"orders.{verb}"


def test_headers_and_configured_places_come_before_what_a_change_implies():
    with court(aggregate_id=["body:after.status"]) as it:
        event = it.one(record(CHANGE, {"event-type": "OrderOpened", "correlation-id": "c-1"})).event
    assert (event.type, event.aggregate_id, event.correlation_id) == ("OrderOpened", "open", "c-1")


def test_a_key_of_several_fields_stays_text():
    with court() as it:
        assert it.one(record(CHANGE, key=b'{"a":1,"b":2}')).event.aggregate_id == '{"a":1,"b":2}'


@pytest.mark.parametrize(("body", "at"), [(CHANGE, "after"), (wrapped(CHANGE), "payload.after")])
def test_the_row_is_what_a_schema_of_rows_is_about(body, at):
    with court() as it:
        it.register("orders-value", ROW)
        good = it.one(record(body))
        broken = json.loads(json.dumps(body).replace('"open"', "17"))
        bad = it.one(record(broken))
        deleted = it.one(record({**CHANGE, "op": "d", "before": CHANGE["after"], "after": None}))
    assert good.event.rejection is None
    assert bad.event.rejection.path == f"{at}.status"
    assert (deleted.event.rejection, deleted.event.type) == (None, "orders.deleted")


def test_a_schema_of_the_change_itself_is_about_the_whole():
    source = {"type": "record", "name": "Source", "fields": [{"name": "table", "type": "string"}]}
    change = {
        "type": "record",
        "name": "Envelope",
        "namespace": "shopdb.public.orders",
        "fields": [
            {"name": "before", "type": ["null", ROW]},
            {"name": "after", "type": ["null", "Row"]},
            {"name": "source", "type": source},
            {"name": "op", "type": "string"},
            {"name": "ts_ms", "type": ["null", "long"]},
        ],
    }
    with court() as it:
        id = it.id_of("orders-value", change)
        value = {"before": None, "after": CHANGE["after"], "source": {"table": "orders"}, "op": "u", "ts_ms": None}
        in_avro = it.one(record(confluent(id, avro(change, value)), key=KEY))
        in_json = it.one(record({**value, "after": {"id": "x", "status": "open"}}))
    assert (in_avro.event.type, in_avro.event.aggregate_id) == ("orders.updated", "17")
    assert in_avro.event.rejection is None
    assert in_json.event.rejection.code == "schema.mismatch"
    assert in_json.event.rejection.path.startswith("after")


def test_the_outbox_routers_headers_are_built_in_places():
    headers = {"id": "6c9a1f0e-outbox", "eventType": "OrderPaid"}
    with court() as it:
        for body in ({"total": 3}, wrapped({"total": 3}), wrapped('{"total": 3}')):
            event = it.one(record(body, headers, key=b"order-1")).event
            assert (event.event_id, event.type, event.aggregate_id) == ("6c9a1f0e-outbox", "OrderPaid", "order-1")


def test_words_are_looked_for_in_what_connect_wrapped():
    with court(causation_id=["body:payload.why"]) as it:
        event = it.one(record(wrapped({"eventId": "e-1", "eventType": "T", "why": "w-1"}))).event
    assert (event.event_id, event.type, event.causation_id) == ("e-1", "T", "w-1")


def test_a_wrapped_null_has_nothing_to_check():
    with court() as it:
        it.register("orders-value", ROW)
        assert it.one(record({"schema": None, "payload": None})).event.rejection is None


@pytest.mark.parametrize(
    "body",
    [{"schema": "x", "payload": 1}, {"schema": {}, "payload": 1, "more": 1}, {"payload": 1}, [], None, "text"],
)
def test_values_that_connect_did_not_wrap(body):
    assert unwrap(body) == (body, "")


@pytest.mark.parametrize("payload", ["{broken", "[" * 100_000, "plain"])
def test_wrapped_text_that_is_no_json_stays_text(payload):
    assert unwrap({"schema": None, "payload": payload}) == (payload, "payload")


@pytest.mark.parametrize(
    "change",
    [
        {**CHANGE, "source": {"table": 7, "ts_ms": "x", "name": []}},
        {**CHANGE, "source": {}},
        {**CHANGE, "ts_ms": {}},
        {**CHANGE, "op": "?"},
        {**CHANGE, "op": 7},
        {**CHANGE, "source": 7},
        {"op": "m", "source": SOURCE, "message": {"prefix": "p"}},
    ],
)
def test_changes_of_any_kind_are_harmless(change):
    with court() as it:
        assert it.one(record(change, key=b"{" * 100_000)).event.rejection is None


LOGICAL = {"__debezium.context.connectorLogicalName": "db.shop"}


def test_a_tombstone_joins_its_row():
    with court() as here:
        by_headers = here.one(record(None, LOGICAL, stream="db.shop.public.orders", key=b'{"id":2}')).event
        elsewhere = here.one(record(None, LOGICAL, stream="other.public.orders", key=b'{"id":2}')).event
        change = {"before": {"id": 2}, "after": None, "op": "d", "source": {"table": "orders", "name": "db"}}
        here.one(record(change, stream="db.public.orders", key=b'{"id":2}'))
        by_changes = here.one(record(None, stream="db.public.orders", key=b'{"id":2}')).event
    assert (by_headers.aggregate_id, by_headers.aggregate_type) == ("2", "orders")
    assert (elsewhere.aggregate_id, elsewhere.aggregate_type) == ("2", None)
    assert (by_changes.aggregate_id, by_changes.aggregate_type) == ("2", "orders")


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({"id": 5, "__op": "c", "__table": "orders", "__source_ts_ms": 1_796_051_969_407}, {}),
        ({"id": 5}, {"__op": "c", "__source_table": "orders", "__source_ts_ms": "1796051969407"}),
        ({"id": 5, "__op": "c", "__source_ts_ms": 1_796_051_969_407}, LOGICAL),
    ],
)
def test_a_flattened_row_has_its_tables_type(body, headers):
    with court() as here:
        event = here.one(record(body, headers, stream="db.shop.public.orders", key=b'{"id":5}')).event
    assert (event.type, event.aggregate_type, event.aggregate_id) == ("orders.created", "orders", "5")
    assert event.occurred_at == 1_796_051_969_407_000


def test_a_flattened_deletion_is_recognized_for_any_operation():
    with court() as here:
        body = {"id": 5, "__deleted": "true", "__table": "orders"}
        assert here.one(record(body, key=b'{"id":5}')).event.type == "orders.deleted"


def test_cloudevents_of_debezium_name_the_table():
    attributes = {"id": "e", "source": "/debezium", "specversion": "1.0", "type": "DataChangeEvent"}
    with court() as here:
        structured = here.one(record({**attributes, "iodebeziumtable": "orders", "data": {}}, key=b'{"id":5}')).event
        binary = {f"ce_{name}": value for name, value in attributes.items()}
        headers = {**binary, "ce_iodebeziumtable": "orders"}
        in_headers = here.one(record({"after": {}}, headers, key=b'{"id":5}')).event
    for event in (structured, in_headers):
        assert (event.type, event.aggregate_type, event.aggregate_id) == ("DataChangeEvent", "orders", "5")
