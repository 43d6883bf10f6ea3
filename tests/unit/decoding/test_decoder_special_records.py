"""The decoder: tombstones, flat Redis entries, replays, outages, memory bounds."""

from __future__ import annotations

import json

import pytest

from sidecar.domain.errors import Outage, Refused
from tests.support.decoded_events import TRACE, TRACEPARENT, assert_accepted
from tests.support.decoding import ORDER_CREATED, avro, confluent, court, order, record


@pytest.fixture
def it():
    with court() as session:
        yield session


@pytest.fixture
def id(it):
    return it.id_of("orders-value", ORDER_CREATED)


def test_a_tombstone_is_an_ordinary_event(it, id):
    decoded = it.one(record(None, {"traceparent": TRACEPARENT}, key=b"order-1"))
    event = decoded.event
    assert (event.rejection, event.unchecked, event.aggregate_id, event.trace_id) == (None, False, "order-1", TRACE)
    assert (event.digest, decoded.body) == (0, None)
    assert it.one(record(None, stream="free")).event.unchecked


def flat_entry(**fields):
    return record(None, {name.replace("_", "-"): value for name, value in fields.items()}, system="redis", key=None)


def test_a_flat_redis_entry_is_its_own_body(it):
    decoded = it.one(
        flat_entry(eventId="e-1", eventType="Paid", amount="3", traceparent=TRACEPARENT, correlation_id="c-1")
    )
    event = decoded.event
    assert (event.event_id, event.type, event.correlation_id, event.trace_id) == ("e-1", "Paid", "c-1", TRACE)
    assert decoded.body["amount"] == "3"
    assert event.unchecked
    assert event.digest != it.one(flat_entry(eventId="e-1", eventType="Paid", amount="4")).event.digest


def test_the_text_of_a_flat_entry_is_converted_by_its_schema(it):
    fields = [
        ("eventId", "string"),
        ("amount", "int"),
        ("paid", "boolean"),
        ("tags", {"type": "array", "items": "int"}),
    ]
    schema = {"type": "record", "name": "Flat", "fields": [{"name": name, "type": type} for name, type in fields]}
    it.register("orders-value", schema)
    good = it.one(flat_entry(eventId="17", amount="3", paid="true", tags="[1, 2]"))
    assert (good.event.rejection, good.event.event_id) == (None, "17")
    assert good.body == {"eventId": "17", "amount": 3, "paid": True, "tags": [1, 2]}
    bad = it.one(flat_entry(eventId="17", amount="many", paid="true", tags="[1, 2]"))
    assert (bad.event.rejection.code, bad.event.rejection.path) == ("schema.mismatch", "amount")


def test_a_flat_entry_of_bytes_is_shown_escaped(it):
    decoded = it.one(record(None, [("eventId", b"\xff"), ("\udcfe", None)], system="redis", key=None))
    assert (decoded.event.event_id, decoded.body) == ("\\xff", {"eventId": "\\xff", "\\udcfe": None})


def test_a_replay_names_its_dead_letter(it, id):
    headers = {"traceparent": TRACEPARENT, "tracecar.replay-of": "g@kafka://orders/0/1"}
    decoded = it.one(record(confluent(id, avro(ORDER_CREATED, order())), headers))
    assert_accepted(decoded)
    assert decoded.event.replay_of == "g@kafka://orders/0/1"
    assert it.one(record(order(), headers)).event.replay_of == "g@kafka://orders/0/1"


def test_a_framed_key_is_readable(it, id):
    key = confluent(3, avro("string", "order-1"))
    event = it.one(record(b'{"a": 1}', key=key)).event
    assert (event.key, event.aggregate_id) == ("order-1", "order-1")
    event = it.one(record(b'{"a": 1}', {"__key_schema_id": b"\0\0\0\0\3"}, key=avro("long", 4711))).event
    assert event.key == "4711"


def test_absurd_timestamps_of_the_broker_are_kept(it):
    for timestamp in (-1, 0, 1 << 62):
        assert it.one(record(order(), timestamp=timestamp)).event.appended_at == timestamp


@pytest.mark.parametrize("value", ["framed", "json", "header", "8 bytes", "base64", "dataschema", "json object"])
def test_in_an_outage_events_are_unchecked_with_the_fields_that_can_be_found(it, id, value):
    ce = {"specversion": "1.0", "id": "e-1", "source": "s", "type": "t"}
    value, headers = {
        "framed": (confluent(id, avro(ORDER_CREATED, order())), {}),
        "json": (json.dumps([1]).encode(), {}),
        "json object": (json.dumps(order()).encode(), {}),
        "header": (avro(ORDER_CREATED, order()), {"__value_schema_id": b"\0" + id.to_bytes(4, "big")}),
        "8 bytes": (b"\0" + id.to_bytes(8, "big") + b"x", {}),
        "base64": (json.dumps({**ce, "data_base64": "AAAAAAFhYmM="}).encode(), {}),
        "dataschema": (json.dumps({**ce, "dataschema": "/schemas/ids/1", "data": {}}).encode(), {}),
    }[value]
    events = [record(value, {**headers, "event-id": "e-1", "traceparent": TRACEPARENT})]
    event = it.judge.decode_batch(events, unchecked=True).decoded[0].event
    assert (event.unchecked, event.rejection, event.event_id, event.trace_id) == (True, None, "e-1", TRACE)


def test_a_cached_schema_still_checks_in_an_outage(it, id):
    good = record(confluent(id, avro(ORDER_CREATED, order())), {"traceparent": TRACEPARENT})
    it.one(good)
    it.registry.trouble = Outage("gone")
    decoded = it.judge.decode_batch([good, record(confluent(id, b"\2"))], unchecked=True).decoded
    assert_accepted(decoded[0])
    assert decoded[1].event.rejection.code == "decode.truncated"


def test_decoding_unchecked_never_asks_the_registry(it, id):
    value = record(confluent(id, avro(ORDER_CREATED, order())))
    assert it.judge.decode_batch([value], unchecked=True).decoded[0].event.unchecked
    it.one(value)
    assert it.judge.decode_batch([value], unchecked=True).decoded[0].body["eventId"] == "event-1"


@pytest.mark.parametrize("trouble", [None, Outage("gone"), Refused("no")])
def test_opening_a_record_fetches_its_schema(it, id, trouble):
    it.registry.trouble = trouble
    decoded = it.opened(record(confluent(id, avro(ORDER_CREATED, order()))))
    assert decoded.event.unchecked == (trouble is not None)
    assert (decoded.body is None) == (trouble is not None)


def test_an_unexpected_error_is_a_rejection_and_logged_once(it, monkeypatch, capsys):
    def surprise(*args, **more):
        raise ZeroDivisionError

    monkeypatch.setattr("sidecar.decoding.decoder.examine", surprise)
    for _ in range(3):
        event = it.one(record(b"[1]", key=b"\xff" * 5_000)).event
        assert event.rejection.code == "decode.malformed"
        assert "ZeroDivisionError" in event.rejection.message
    assert capsys.readouterr().out.count("cannot be decoded") == 1


def test_cached_names_and_plans_are_bounded(it):
    for number in range(3_000):
        it.one(record({f"field-{number}": 1}, {f"header-{number}": "x"}))
    it.one(record({"x" * 100_000: 1}, {"y" * 100_000: "x"}))
    it.one(record({f"f{n}": n for n in range(1_000)}, {f"h{n}": "x" for n in range(1_000)}))
    assert len(it.judge._json_plans) <= 1_024
    assert len(it.judge._headings) <= 1_024
    assert all(sum(map(len, names)) < 5_000 for names in it.judge._headings)
    assert all(sum(map(len, fields)) < 5_000 for _, fields in it.judge._json_plans)
