"""CloudEvents 1.0, as the specification's Kafka binding and JSON format write them."""

from __future__ import annotations

import base64

import pytest

from sidecar.domain.model import TraceOrigin
from tests.support.decoding import ORDER, ORDER_CREATED, avro, confluent, court, order, record

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
DATA = {"total": 12.5, "items": [{"sku": "a", "qty": 1}]}
STRUCTURED = {
    "specversion": "1.0",
    "id": "ce-1",
    "source": "/shop/checkout",
    "type": "shop.order.created",
    "time": "2026-01-01T00:00:00Z",
    "subject": "order-1",
    "correlationid": "corr-1",
    "causationid": "cause-1",
    "traceparent": TRACEPARENT,
    "datacontenttype": "application/json",
    "data": DATA,
}
BINARY = {
    "ce_specversion": "1.0",
    "ce_id": "ce-1",
    "ce_source": "/shop/checkout",
    "ce_type": "shop.order.created",
    "ce_time": "2026-01-01T00:00:00Z",
    "ce_subject": "order-1",
    "ce_correlationid": "corr-1",
    "ce_causationid": "cause-1",
    "ce_traceparent": TRACEPARENT,
}


def shows_all_words(event):
    assert (event.event_id, event.type, event.producer) == ("ce-1", "shop.order.created", "/shop/checkout")
    assert (event.aggregate_id, event.occurred_at) == ("order-1", 1_767_225_600_000_000)
    assert (event.correlation_id, event.causation_id) == ("corr-1", "cause-1")
    assert event.trace_id == 0x4BF92F3577B34DA6A3CE929D0E0E4736
    assert (event.trace_origin, event.span_id) == (TraceOrigin.CLOUDEVENTS, None)


@pytest.mark.parametrize("headers", [{}, {"content-type": "application/cloudevents+json; charset=UTF-8"}])
def test_structured_mode_under_its_own_names(headers):
    with court() as it:
        decoded = it.one(record(STRUCTURED, headers))
    shows_all_words(decoded.event)
    assert decoded.body == STRUCTURED
    assert decoded.event.unchecked


def test_binary_mode_with_json_and_with_avro():
    with court() as it:
        id = it.id_of("orders-value", ORDER_CREATED)
        json_event, avro_event = it.all(
            [
                record(DATA, {**BINARY, "content-type": "application/json"}, stream="free"),
                record(confluent(id, avro(ORDER_CREATED, order())), {**BINARY, "content-type": "application/avro"}),
            ]
        )
    shows_all_words(json_event.event)
    shows_all_words(avro_event.event)
    assert avro_event.event.schema.id == id
    assert avro_event.body["data"]["total"] == 12.5


def test_the_transports_traceparent_comes_before_the_starting_trace():
    with court() as it:
        event = it.one(record(STRUCTURED, {"traceparent": f"00-{7:032x}-{8:016x}-01"})).event
    assert (event.trace_id, event.span_id, event.trace_origin) == (7, 8, TraceOrigin.W3C)


def test_structured_data_is_what_the_schema_is_about():
    with court() as it:
        it.register("orders-value", ORDER)
        good, bad = it.all(
            [record(STRUCTURED), record({**STRUCTURED, "data": {"total": 1.5, "items": [{"sku": "a", "qty": "two"}]}})]
        )
    assert (good.event.rejection, good.event.unchecked) == (None, False)
    assert bad.event.rejection.code == "schema.mismatch"
    assert bad.event.rejection.path == "data.items[0].qty"
    assert bad.event.rejection.message.startswith("data.items[0].qty: expected")
    assert bad.event.event_id == "ce-1"


def test_a_schema_of_the_whole_cloudevent_is_about_the_whole():
    attributes = [{"name": name, "type": "string"} for name in ("specversion", "id", "source", "type")]
    schema = {"type": "record", "name": "Ce", "fields": [*attributes, {"name": "data", "type": "int"}]}
    with court() as it:
        it.register("orders-value", schema)
        event = it.one(record({"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": "x"})).event
    assert event.rejection.path == "data"


def test_the_record_name_strategy_finds_the_schema_by_type():
    with court() as it:
        it.register("orders-shop.order.created", ORDER)
        event = it.one(record(STRUCTURED)).event
    assert (event.schema.subject, event.rejection) == ("orders-shop.order.created", None)


def test_an_event_without_data_has_nothing_to_check():
    with court() as it:
        it.register("orders-value", ORDER)
        event = it.one(record({name: value for name, value in STRUCTURED.items() if name != "data"})).event
    assert (event.rejection, event.unchecked) == (None, False)


def with_base64(data: bytes, **more):
    body = {name: value for name, value in STRUCTURED.items() if name != "data"}
    return {**body, "data_base64": base64.b64encode(data).decode(), **more}


def test_binary_data_that_names_its_schema():
    with court() as it:
        id = it.id_of("orders-value", ORDER)
        decoded = it.one(record(with_base64(confluent(id, avro(ORDER, DATA)))))
        broken = it.one(record(with_base64(confluent(id, avro(ORDER, DATA)[:-3]))))
    assert (decoded.event.rejection, decoded.event.schema.id) == (None, id)
    assert decoded.body["data"] == DATA
    shows_all_words(decoded.event)
    assert broken.event.rejection.code == "decode.truncated"
    shows_all_words(broken.event)


def test_binary_data_that_names_none_is_read_by_the_subject():
    with court() as it:
        it.register("orders-value", ORDER)
        bare = {**DATA, "total": 1.1}  # its bytes do not begin like a schema id
        decoded = it.one(record(with_base64(avro(ORDER, bare))))
        garbage = it.one(record(with_base64(b"\xff" * 9)))
    assert decoded.body["data"] == bare
    shows_all_words(decoded.event)
    assert garbage.event.rejection.code == "decode.malformed"
    shows_all_words(garbage.event)


def test_data_that_is_no_base64_is_malformed():
    with court() as it:
        event = it.one(record({**with_base64(b""), "data_base64": "not base64!"})).event
    assert (event.rejection.code, event.rejection.path) == ("decode.malformed", "data_base64")
    shows_all_words(event)


def test_dataschema_may_name_the_version_or_the_id():
    older = {**ORDER, "fields": ORDER["fields"][:1]}
    with court() as it:
        first = it.id_of("orders-value", older)
        it.register("orders-value", ORDER)
        uri = "https://registry.example/subjects/orders-value/versions/{}"
        by_version = it.one(record({**STRUCTURED, "dataschema": uri.format(1), "data": {"total": 1.5}}))
        latest = it.one(record({**STRUCTURED, "data": {"total": 1.5}}))
        unknown = it.one(record({**STRUCTURED, "dataschema": uri.format(9)}))
        by_id = it.one(record({**STRUCTURED, "dataschema": f"/schemas/ids/{first}", "data": {"total": "x"}}))
        binary = it.one(record({"total": 1.5}, {**BINARY, "ce_dataschema": uri.format(1)}))
    assert (by_version.event.rejection, by_version.event.schema.version) == (None, 1)
    assert latest.event.rejection.code == "schema.mismatch"
    assert unknown.event.rejection.code == "schema.unknown_version"
    assert (by_id.event.schema.id, by_id.event.rejection.path) == (first, "data.total")
    assert (binary.event.rejection, binary.event.schema.version) == (None, 1)


def test_configured_places_come_before_cloudevents_own():
    with court(event_id=["body:data.uid"], producer=["header:x-who"]) as it:
        event = it.one(record({**STRUCTURED, "data": {"uid": "u-1"}}, {"x-who": "me"})).event
    assert (event.event_id, event.producer) == ("u-1", "me")


@pytest.mark.parametrize("name", ["specversion", "id", "source", "type"])
def test_an_object_that_lacks_an_attribute_is_no_cloudevent(name):
    with court() as it:
        event = it.one(record({key: value for key, value in STRUCTURED.items() if key != name})).event
    assert event.event_id is None


def test_the_content_type_makes_a_cloudevent_of_an_incomplete_one():
    body = {key: value for key, value in STRUCTURED.items() if key != "source"}
    with court() as it:
        event = it.one(record(body, {"Content-Type": "application/cloudevents+json"})).event
    assert (event.event_id, event.producer) == ("ce-1", None)


@pytest.mark.parametrize("value", [7, None, {}, "x" * 5_000_000, "ü"])
def test_attributes_of_any_kind_are_harmless(value):
    body = {**STRUCTURED, "traceparent": value, "dataschema": value, "time": value, "subject": value}
    with court() as it:
        event = it.one(record(body)).event
    assert (event.event_id, event.trace_id, event.rejection) == ("ce-1", None, None)
