"""From a record to what it is."""

from __future__ import annotations

import json
from uuid import UUID
from zlib import crc32

import pytest
from fastavro.schema import fingerprint
from fastavro.schema import to_parsing_canonical_form as canonical

from sidecar.domain.errors import Outage, Refused
from sidecar.domain.model import TraceOrigin
from tests.support.decoding import NOW, ORDER, ORDER_CREATED, avro, confluent, court, order, record

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACE = 0x4BF92F3577B34DA6A3CE929D0E0E4736
SECOND = {**ORDER_CREATED, "fields": [*ORDER_CREATED["fields"], {"name": "note", "type": "string", "default": ""}]}


@pytest.fixture
def it():
    with court() as session:
        yield session


@pytest.fixture
def id(it):
    return it.id_of("orders-value", ORDER_CREATED)


def shows_all_words(event, number=1):
    assert (event.event_id, event.type, event.version) == (f"event-{number}", "OrderCreated", "2")
    assert (event.aggregate_id, event.occurred_at) == (f"order-{number}", (1_767_225_600_000 + number) * 1000)
    assert (event.trace_id, event.trace_origin) == (TRACE, TraceOrigin.W3C)


def is_good(decoded, number=1):
    shows_all_words(decoded.event, number)
    assert (decoded.event.rejection, decoded.event.unchecked) == (None, False)
    assert decoded.event.schema is not None


# --- framings -------------------------------------------------------------------------------------------------------


def test_confluents_avro(it, id):
    value = confluent(id, avro(ORDER_CREATED, order()))
    decoded = it.one(record(value, {"traceparent": TRACEPARENT}, offset=7, key=b"order-1"))
    is_good(decoded)
    event = decoded.event
    assert str(event.position) == "kafka://orders/0/7"
    assert (event.key, event.appended_at, event.observed_at) == ("order-1", 1_767_225_600_000, NOW)
    assert (event.schema.subject, event.schema.version, event.schema.id) == ("orders-value", 1, id)
    assert event.digest == crc32(value)
    assert decoded.body["data"]["items"] == [{"sku": "a", "qty": 1}, {"sku": "b", "qty": 2}]


@pytest.mark.parametrize("way", ["id", "guid", "apicurio", "apicurio global", "8 bytes", "fingerprint", "bare"])
def test_every_other_framing_of_avro(it, way):
    ref = it.register("orders-value", ORDER_CREATED)
    data = avro(ORDER_CREATED, order())
    value, headers = {
        "id": (data, {"__VALUE_schema_id": b"\0" + ref.id.to_bytes(4, "big")}),
        "guid": (data, {"__value_schema_id": b"\1" + UUID(ref.guid).bytes}),
        "apicurio": (data, {"apicurio.value.contentId": ref.id.to_bytes(8, "big")}),
        "apicurio global": (
            data,
            {"apicurio.value.globalId": (99).to_bytes(8, "big"), "apicurio.value.contentId": ref.id.to_bytes(8, "big")},
        ),
        "8 bytes": (b"\0" + ref.id.to_bytes(8, "big") + data, {}),
        "fingerprint": (
            b"\xc3\x01" + bytes.fromhex(fingerprint(canonical(ORDER_CREATED), "CRC-64-AVRO")) + data,
            {},
        ),
        "bare": (data, {}),
    }[way]
    decoded = it.one(record(value, {"traceparent": TRACEPARENT, **headers}))
    is_good(decoded)
    assert decoded.body["data"]["total"] == 12.5


def test_the_header_comes_before_the_prefix(it, id):
    it.id_of("other-value", ORDER)
    headers = {"__value_schema_id": b"\0" + id.to_bytes(4, "big"), "traceparent": TRACEPARENT}
    is_good(it.one(record(avro(ORDER_CREATED, order()), headers)))


def test_apicurios_json_encoding_is_checked_as_json(it, id):
    headers = {"apicurio.value.contentId": id.to_bytes(8, "big"), "apicurio.value.encoding": "JSON"}
    is_good(it.one(record(order(), {**headers, "traceparent": TRACEPARENT})))
    bad = it.one(record(order(eventVersion="x"), headers)).event
    assert (bad.rejection.code, bad.rejection.path) == ("schema.mismatch", "eventVersion")
    assert it.one(record(b"{broken", headers)).event.rejection.code == "decode.malformed"


def test_a_malformed_schema_header_is_a_rejection(it, id):
    event = it.one(record(order(), {"__value_schema_id": b"\0\0", "event-id": "e-1"})).event
    assert (event.rejection.code, event.event_id) == ("decode.malformed", "e-1")


def test_a_null_schema_header_says_nothing(it, id):
    headers = [("__value_schema_id", None), ("traceparent", TRACEPARENT.encode())]
    is_good(it.one(record(confluent(id, avro(ORDER_CREATED, order())), headers)))


@pytest.mark.parametrize("space", [b"", b"\n  ", b"\xef\xbb\xbf"])
def test_json_is_checked_by_its_streams_subject(it, id, space):
    is_good(it.one(record(space + json.dumps(order()).encode(), {"traceparent": TRACEPARENT})))


def test_json_without_a_subject_is_unchecked_and_has_its_words(it):
    decoded = it.one(record(order(), {"traceparent": TRACEPARENT}))
    shows_all_words(decoded.event)
    assert (decoded.event.unchecked, decoded.event.schema) == (True, None)
    assert decoded.body == order()


@pytest.mark.parametrize(
    "value", [b"", b"\0", b"\xff\xfe", b"hello", b"{broken", b"[" * 100_000, b'"text"', b"\xc3\x01", b"[1, 2]"]
)
def test_what_names_no_schema_on_a_stream_without_subject_is_unchecked_whatever_its_bytes(it, value):
    event = it.one(record(value, {"event-id": "e-1"})).event
    assert (event.unchecked, event.rejection, event.event_id, event.key) == (True, None, "e-1", "the-key")


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (b"{broken", "decode.malformed"),
        (b"[" * 100_000, "decode.limit"),
        (b'{"a":' * 100_000, "decode.limit"),
        (b"\xff\xfe", "decode.malformed"),
        (b"", "decode.malformed"),
        (b"[1, 2]", "schema.mismatch"),
        (b'{"eventId": "\xff"}', "decode.malformed"),
    ],
)
def test_the_same_bytes_on_a_stream_with_a_subject_are_rejected(it, id, value, code):
    event = it.one(record(value, {"event-id": "e-1", "event-type": "T"})).event
    assert (event.rejection.code, event.unchecked) == (code, False)
    assert (event.event_id, event.schema.id) == ("e-1", id)
    assert len(event.rejection.message) <= 2000


@pytest.mark.parametrize("kind", ["JSON", "PROTOBUF"])
def test_a_schema_that_is_not_avro_leaves_its_events_unchecked(it, kind):
    id = it.id_of("orders-value", "{}", kind)
    framed = it.one(record(confluent(id, json.dumps(order()).encode()), {"traceparent": TRACEPARENT})).event
    plain = it.one(record(order(), {"traceparent": TRACEPARENT})).event
    opaque = it.one(record(confluent(id, b"\0\x0a\x03abc"))).event
    for event in (framed, plain, opaque):
        assert (event.unchecked, event.rejection, event.schema.id) == (True, None, id)
    shows_all_words(framed)
    shows_all_words(plain)


def test_an_unusable_avro_schema_is_no_fault_of_its_events(it):
    id = it.id_of("orders-value", '{"type": "record"}')
    for value in (confluent(id, b"abc"), json.dumps(order()).encode()):
        event = it.one(record(value)).event
        assert (event.unchecked, event.rejection) == (True, None)


# --- rejections keep what can be found ------------------------------------------------------------------------------


def test_truncated_avro_keeps_the_ids_of_its_headers(it, id):
    value = confluent(id, avro(ORDER_CREATED, order())[:-4])
    headers = {"traceparent": TRACEPARENT, "event-id": "e-9", "event-type": "Paid", "correlation-id": "c-9"}
    decoded = it.one(record(value, headers, key=b"order-9"))
    event = decoded.event
    assert event.rejection.code == "decode.truncated"
    assert (event.event_id, event.type, event.correlation_id) == ("e-9", "Paid", "c-9")
    assert (event.aggregate_id, event.trace_id, event.schema.id) == ("order-9", TRACE, id)
    assert (decoded.body, event.unchecked) == (None, False)


def test_trailing_bytes(it, id):
    value = confluent(id, avro(ORDER_CREATED, order()) + b"x")
    assert it.one(record(value)).event.rejection.code == "decode.trailing_bytes"


def test_the_schema_of_another_stream_is_a_rejection_with_all_ids(it, id):
    value = confluent(id, avro(ORDER_CREATED, order()))
    decoded = it.one(record(value, {"traceparent": TRACEPARENT}, stream="payments"))
    assert decoded.event.rejection.code == "schema.wrong_subject"
    shows_all_words(decoded.event)
    assert decoded.body["data"]["total"] == 12.5


def test_a_schema_id_that_nobody_knows(it, id):
    event = it.one(record(confluent(id + 100, b"abc"), {"event-id": "e-1"})).event
    assert (event.rejection.code, event.event_id, event.schema) == ("schema.unknown_id", "e-1", None)


def test_json_behind_an_id_that_nobody_knows_still_gives_its_words(it):
    event = it.one(record(confluent(77, json.dumps(order()).encode()), {"traceparent": TRACEPARENT})).event
    assert event.rejection.code == "schema.unknown_id"
    shows_all_words(event)


def test_a_mismatch_says_exactly_where_and_keeps_all_ids(it, id):
    value = order()
    value["data"]["items"][1]["qty"] = "two"
    event = it.one(record(value, {"traceparent": TRACEPARENT})).event
    assert (event.rejection.code, event.rejection.path) == ("schema.mismatch", "data.items[1].qty")
    assert event.rejection.message.startswith("data.items[1].qty: expected int")
    assert "orders-value v1" in event.rejection.message
    shows_all_words(event)


def test_a_schema_of_the_data_alone_is_about_the_data(it):
    it.register("orders-OrderCreated", ORDER)
    is_good(it.one(record(order(), {"traceparent": TRACEPARENT})))
    event = it.one(record(order(data={"total": "x", "items": []}))).event
    assert (event.rejection.code, event.rejection.path) == ("schema.mismatch", "data.total")
    assert event.rejection.message.startswith("data.total: ")


# --- subjects and versions ------------------------------------------------------------------------------------------


def test_require_rejects_what_has_no_schema_but_no_tombstone():
    with court(require=True) as it:
        for value in (order(), b"\xff", b""):
            assert it.one(record(value)).event.rejection.code == "schema.unknown_subject"
        assert it.one(record(None)).event.rejection is None


def test_a_header_names_the_version_to_check_against(it, id):
    it.register("orders-value", {**ORDER_CREATED, "fields": [{"name": "eventId", "type": "int"}]})
    assert it.one(record(order())).event.rejection.code == "schema.mismatch"
    named = it.one(record(order(), {"event-version": "1"})).event
    assert (named.rejection, named.schema.version) == (None, 1)
    assert it.one(record(order(), {"event-version": "9"})).event.rejection.code == "schema.unknown_version"


def test_a_configured_place_names_the_version_too():
    with court(version=["body:data.v"]) as it:
        it.register("orders-value", {"type": "record", "name": "R", "fields": []})
        event = it.one(record({"data": {"v": 9}})).event
    assert (event.rejection.code, event.version) == ("schema.unknown_version", "9")


def test_the_version_in_the_body_is_the_events_own(it, id):
    assert it.one(record(order(eventVersion=9))).event.rejection is None


def test_the_type_is_the_records_name_where_nothing_else_says(it):
    schema = {"type": "record", "name": "Ping", "namespace": "shop.v1", "fields": [{"name": "n", "type": "int"}]}
    id = it.id_of("pings-value", schema)
    for value in (confluent(id, avro(schema, {"n": 3})), b'{"n": 3}'):
        assert it.one(record(value, stream="pings")).event.type == "Ping"
    assert it.one(record(b'{"n": 3}', {"event-type": "Pong"}, stream="pings")).event.type == "Pong"


def test_avro_that_is_no_record_has_a_body_and_no_words(it):
    id = it.id_of("orders-value", '"string"')
    decoded = it.one(record(confluent(id, avro("string", "hello"))))
    assert (decoded.body, decoded.event.type, decoded.event.rejection) == ("hello", None, None)


# --- tombstones, flat entries, replays ------------------------------------------------------------------------------


def test_a_tombstone_is_an_ordinary_event(it, id):
    decoded = it.one(record(None, {"traceparent": TRACEPARENT}, key=b"order-1"))
    event = decoded.event
    assert (event.rejection, event.unchecked, event.aggregate_id, event.trace_id) == (None, False, "order-1", TRACE)
    assert (event.digest, decoded.body) == (0, None)
    assert it.one(record(None, stream="free")).event.unchecked


def flat(**fields):
    return record(None, {name.replace("_", "-"): value for name, value in fields.items()}, system="redis", key=None)


def test_a_flat_redis_entry_is_its_own_body(it):
    decoded = it.one(flat(eventId="e-1", eventType="Paid", amount="3", traceparent=TRACEPARENT, correlation_id="c-1"))
    event = decoded.event
    assert (event.event_id, event.type, event.correlation_id, event.trace_id) == ("e-1", "Paid", "c-1", TRACE)
    assert decoded.body["amount"] == "3"
    assert event.unchecked
    assert event.digest != it.one(flat(eventId="e-1", eventType="Paid", amount="4")).event.digest


def test_a_flat_entrys_text_is_read_as_its_schema_wants(it):
    fields = [
        ("eventId", "string"),
        ("amount", "int"),
        ("paid", "boolean"),
        ("tags", {"type": "array", "items": "int"}),
    ]
    schema = {"type": "record", "name": "Flat", "fields": [{"name": name, "type": type} for name, type in fields]}
    it.register("orders-value", schema)
    good = it.one(flat(eventId="17", amount="3", paid="true", tags="[1, 2]"))
    assert (good.event.rejection, good.event.event_id) == (None, "17")
    assert good.body == {"eventId": "17", "amount": 3, "paid": True, "tags": [1, 2]}
    bad = it.one(flat(eventId="17", amount="many", paid="true", tags="[1, 2]"))
    assert (bad.event.rejection.code, bad.event.rejection.path) == ("schema.mismatch", "amount")


def test_a_flat_entry_of_bytes_is_shown_escaped(it):
    decoded = it.one(record(None, [("eventId", b"\xff"), ("\udcfe", None)], system="redis", key=None))
    assert (decoded.event.event_id, decoded.body) == ("\\xff", {"eventId": "\\xff", "\\udcfe": None})


def test_a_replay_names_its_dead_letter(it, id):
    headers = {"traceparent": TRACEPARENT, "tracecar.replay-of": "g@kafka://orders/0/1"}
    decoded = it.one(record(confluent(id, avro(ORDER_CREATED, order())), headers))
    is_good(decoded)
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


# --- batches, outages, looking --------------------------------------------------------------------------------------


def test_a_batch_of_everything_keeps_its_order(it, id):
    values = [
        confluent(id, avro(ORDER_CREATED, order(0))),
        json.dumps(order(1)).encode(),
        confluent(id, avro(ORDER_CREATED, order(2))),
        b"\xff",
        confluent(id, b"\2"),
        None,
        confluent(id, avro(ORDER_CREATED, order(6))),
    ]
    headers = {"traceparent": TRACEPARENT}
    records = [
        record(value, headers if n % 2 else {**headers, "x": str(n)}, offset=n, stream="orders" if n else "others")
        for n, value in enumerate(values)
    ]
    decoded = it.all(records)
    assert [each.event.position.offset for each in decoded] == list(range(7))
    codes = [each.event.rejection.code if each.event.rejection else None for each in decoded]
    assert codes == ["schema.wrong_subject", None, None, "decode.malformed", "decode.truncated", None, None]
    for number in (0, 1, 2, 6):
        shows_all_words(decoded[number].event, number)


def test_what_was_judged_before_a_missing_schema_is_kept(it, id):
    records = [record(None, stream="free"), record(confluent(id, avro(ORDER_CREATED, order()))), record(None)]
    it.one(records[0])
    result = it.judge.decode_batch(records)
    assert result.missing is not None
    assert [each.record for each in result.decoded] == records[:1]
    assert len(it.all(records)) == 3


@pytest.mark.parametrize("value", ["framed", "json", "header", "8 bytes", "base64", "dataschema", "json object"])
def test_in_an_outage_events_pass_unchecked_with_the_words_that_can_be_found(it, id, value):
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


def test_a_schema_at_hand_goes_on_checking_in_an_outage(it, id):
    good = record(confluent(id, avro(ORDER_CREATED, order())), {"traceparent": TRACEPARENT})
    it.one(good)
    it.registry.trouble = Outage("gone")
    decoded = it.judge.decode_batch([good, record(confluent(id, b"\2"))], unchecked=True).decoded
    is_good(decoded[0])
    assert decoded[1].event.rejection.code == "decode.truncated"


def test_looking_at_one_record_never_asks(it, id):
    value = record(confluent(id, avro(ORDER_CREATED, order())))
    assert it.judge.decode_batch([value], unchecked=True).decoded[0].event.unchecked
    it.one(value)
    assert it.judge.decode_batch([value], unchecked=True).decoded[0].body["eventId"] == "event-1"


@pytest.mark.parametrize("trouble", [None, Outage("gone"), Refused("no")])
def test_looking_with_the_registry_at_hand_fetches_what_it_needs(it, id, trouble):
    it.registry.trouble = trouble
    decoded = it.opened(record(confluent(id, avro(ORDER_CREATED, order()))))
    assert decoded.event.unchecked == (trouble is not None)
    assert (decoded.body is None) == (trouble is not None)


def test_a_surprise_is_a_rejection_that_names_it_and_is_logged_once(it, monkeypatch, capsys):
    def surprise(*args, **more):
        raise ZeroDivisionError

    monkeypatch.setattr("sidecar.decoding.decoder.examine", surprise)
    for _ in range(3):
        event = it.one(record(b"[1]", key=b"\xff" * 5_000)).event
        assert event.rejection.code == "decode.malformed"
        assert "ZeroDivisionError" in event.rejection.message
    assert capsys.readouterr().out.count("cannot be decoded") == 1


def test_memory_of_names_and_plans_is_bounded(it):
    for number in range(3_000):
        it.one(record({f"field-{number}": 1}, {f"header-{number}": "x"}))
    it.one(record({"x" * 100_000: 1}, {"y" * 100_000: "x"}))
    it.one(record({f"f{n}": n for n in range(1_000)}, {f"h{n}": "x" for n in range(1_000)}))
    assert len(it.judge._plans) <= 1_024
    assert len(it.judge._headings) <= 1_024
    assert all(sum(map(len, names)) < 5_000 for names in it.judge._headings)
    assert all(sum(map(len, fields)) < 5_000 for _, fields in it.judge._plans)
