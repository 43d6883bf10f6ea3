"""The decoder: framings, subjects and versions, rejections that keep the ids, batches."""

from __future__ import annotations

import json
from uuid import UUID
from zlib import crc32

import pytest
from fastavro.schema import fingerprint
from fastavro.schema import to_parsing_canonical_form as canonical

from tests.support.decoded_events import TRACE, TRACEPARENT, assert_accepted, assert_all_fields
from tests.support.decoding import NOW, ORDER, ORDER_CREATED, avro, confluent, court, order, record


@pytest.fixture
def it():
    with court() as session:
        yield session


@pytest.fixture
def id(it):
    return it.id_of("orders-value", ORDER_CREATED)


def test_confluents_framing_of_avro(it, id):
    value = confluent(id, avro(ORDER_CREATED, order()))
    decoded = it.one(record(value, {"traceparent": TRACEPARENT}, offset=7, key=b"order-1"))
    assert_accepted(decoded)
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
    assert_accepted(decoded)
    assert decoded.body["data"]["total"] == 12.5


def test_the_header_takes_precedence_over_the_prefix(it, id):
    it.id_of("other-value", ORDER)
    headers = {"__value_schema_id": b"\0" + id.to_bytes(4, "big"), "traceparent": TRACEPARENT}
    assert_accepted(it.one(record(avro(ORDER_CREATED, order()), headers)))


def test_apicurios_json_encoding_is_checked_as_json(it, id):
    headers = {"apicurio.value.contentId": id.to_bytes(8, "big"), "apicurio.value.encoding": "JSON"}
    assert_accepted(it.one(record(order(), {**headers, "traceparent": TRACEPARENT})))
    bad = it.one(record(order(eventVersion="x"), headers)).event
    assert (bad.rejection.code, bad.rejection.path) == ("schema.mismatch", "eventVersion")
    assert it.one(record(b"{broken", headers)).event.rejection.code == "decode.malformed"


def test_a_malformed_schema_header_is_a_rejection(it, id):
    event = it.one(record(order(), {"__value_schema_id": b"\0\0", "event-id": "e-1"})).event
    assert (event.rejection.code, event.event_id) == ("decode.malformed", "e-1")


def test_a_null_schema_header_is_ignored(it, id):
    headers = [("__value_schema_id", None), ("traceparent", TRACEPARENT.encode())]
    assert_accepted(it.one(record(confluent(id, avro(ORDER_CREATED, order())), headers)))


@pytest.mark.parametrize("space", [b"", b"\n  ", b"\xef\xbb\xbf"])
def test_json_is_checked_by_its_streams_subject(it, id, space):
    assert_accepted(it.one(record(space + json.dumps(order()).encode(), {"traceparent": TRACEPARENT})))


def test_json_without_a_subject_is_unchecked_and_has_its_fields(it):
    decoded = it.one(record(order(), {"traceparent": TRACEPARENT}))
    assert_all_fields(decoded.event)
    assert (decoded.event.unchecked, decoded.event.schema) == (True, None)
    assert decoded.body == order()


@pytest.mark.parametrize(
    "value", [b"", b"\0", b"\xff\xfe", b"hello", b"{broken", b"[" * 100_000, b'"text"', b"\xc3\x01", b"[1, 2]"]
)
def test_any_bytes_without_schema_and_subject_are_unchecked(it, value):
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
    assert_all_fields(framed)
    assert_all_fields(plain)


def test_an_invalid_avro_schema_leaves_its_events_unchecked(it):
    id = it.id_of("orders-value", '{"type": "record"}')
    for value in (confluent(id, b"abc"), json.dumps(order()).encode()):
        event = it.one(record(value)).event
        assert (event.unchecked, event.rejection) == (True, None)


def test_truncated_avro_keeps_the_ids_of_its_headers(it, id):
    value = confluent(id, avro(ORDER_CREATED, order())[:-4])
    headers = {"traceparent": TRACEPARENT, "event-id": "e-9", "event-type": "Paid", "correlation-id": "c-9"}
    decoded = it.one(record(value, headers, key=b"order-9"))
    event = decoded.event
    assert event.rejection.code == "decode.truncated"
    assert (event.event_id, event.type, event.correlation_id) == ("e-9", "Paid", "c-9")
    assert (event.aggregate_id, event.trace_id, event.schema.id) == ("order-9", TRACE, id)
    assert (decoded.body, event.unchecked) == (None, False)


def test_trailing_bytes_are_a_rejection(it, id):
    value = confluent(id, avro(ORDER_CREATED, order()) + b"x")
    assert it.one(record(value)).event.rejection.code == "decode.trailing_bytes"


def test_the_schema_of_another_stream_is_a_rejection_with_all_ids(it, id):
    value = confluent(id, avro(ORDER_CREATED, order()))
    decoded = it.one(record(value, {"traceparent": TRACEPARENT}, stream="payments"))
    assert decoded.event.rejection.code == "schema.wrong_subject"
    assert_all_fields(decoded.event)
    assert decoded.body["data"]["total"] == 12.5


def test_an_unknown_schema_id_is_a_rejection(it, id):
    event = it.one(record(confluent(id + 100, b"abc"), {"event-id": "e-1"})).event
    assert (event.rejection.code, event.event_id, event.schema) == ("schema.unknown_id", "e-1", None)


def test_json_behind_an_unknown_schema_id_has_its_fields(it):
    event = it.one(record(confluent(77, json.dumps(order()).encode()), {"traceparent": TRACEPARENT})).event
    assert event.rejection.code == "schema.unknown_id"
    assert_all_fields(event)


def test_a_mismatch_has_its_path_and_keeps_all_ids(it, id):
    value = order()
    value["data"]["items"][1]["qty"] = "two"
    event = it.one(record(value, {"traceparent": TRACEPARENT})).event
    assert (event.rejection.code, event.rejection.path) == ("schema.mismatch", "data.items[1].qty")
    assert event.rejection.message.startswith("data.items[1].qty: expected int")
    assert "orders-value v1" in event.rejection.message
    assert_all_fields(event)


def test_a_schema_can_describe_the_data_alone(it):
    it.register("orders-OrderCreated", ORDER)
    assert_accepted(it.one(record(order(), {"traceparent": TRACEPARENT})))
    event = it.one(record(order(data={"total": "x", "items": []}))).event
    assert (event.rejection.code, event.rejection.path) == ("schema.mismatch", "data.total")
    assert event.rejection.message.startswith("data.total: ")


def test_require_rejects_events_without_schema_except_tombstones():
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


def test_a_configured_place_names_the_version():
    with court(version=["body:data.v"]) as it:
        it.register("orders-value", {"type": "record", "name": "R", "fields": []})
        event = it.one(record({"data": {"v": 9}})).event
    assert (event.rejection.code, event.version) == ("schema.unknown_version", "9")


def test_the_version_in_the_body_is_the_events_own(it, id):
    assert it.one(record(order(eventVersion=9))).event.rejection is None


def test_the_type_defaults_to_the_name_of_the_record(it):
    schema = {"type": "record", "name": "Ping", "namespace": "shop.v1", "fields": [{"name": "n", "type": "int"}]}
    id = it.id_of("pings-value", schema)
    for value in (confluent(id, avro(schema, {"n": 3})), b'{"n": 3}'):
        assert it.one(record(value, stream="pings")).event.type == "Ping"
    assert it.one(record(b'{"n": 3}', {"event-type": "Pong"}, stream="pings")).event.type == "Pong"


def test_avro_that_is_no_record_has_a_body_and_no_fields(it):
    id = it.id_of("orders-value", '"string"')
    decoded = it.one(record(confluent(id, avro("string", "hello"))))
    assert (decoded.body, decoded.event.type, decoded.event.rejection) == ("hello", None, None)


def test_a_mixed_batch_keeps_its_order(it, id):
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
        assert_all_fields(decoded[number].event, number)


def test_events_decoded_before_a_missing_schema_are_kept(it, id):
    records = [record(None, stream="free"), record(confluent(id, avro(ORDER_CREATED, order()))), record(None)]
    it.one(records[0])
    result = it.judge.decode_batch(records)
    assert result.missing is not None
    assert [each.record for each in result.decoded] == records[:1]
    assert len(it.all(records)) == 3


@pytest.mark.parametrize("turns", [(0, 0, 0), (0, 1, 0, 1), (1, 0, 2, 1, 0, 2, 2)])
def test_an_id_in_a_header_is_read_like_one_before_the_value(it, id, turns):
    """Also where records with and without the header, and JSON, alternate."""
    trace = ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    batch = []
    for number, turn in enumerate(turns):
        value = confluent(id, avro(ORDER_CREATED, order(number)))
        named = [trace, ("__value_schema_id", value[:5])]
        forms = (record(value, [trace], offset=number), record(value[5:], named, offset=number))
        batch.append((*forms, record(order(number), [trace], offset=number))[turn])
    decoded = it.all(batch)
    assert [each.event.event_id for each in decoded] == [f"event-{number}" for number in range(len(turns))]
    for each, turn in zip(decoded, turns, strict=True):
        assert each.event.rejection is None
        assert each.event.schema.id == id
        assert (each.event.trace_id, each.event.type) == (0x4BF92F3577B34DA6A3CE929D0E0E4736, "OrderCreated")
        assert each.body["data"] == order()["data"]
        assert isinstance(each.content if turn < 2 else each.body, dict)


@pytest.mark.parametrize("named", [None, b"", b"\0\0\0\0", b"\0\0\0\0\0", b"\1\0\0\0\1", b"\0\xff\xff\xff\xff"])
def test_a_header_without_a_known_id_is_left_to_the_general_path(it, id, named):
    value = avro(ORDER_CREATED, order())
    good = record(value, [("__value_schema_id", b"\0" + id.to_bytes(4, "big"))])
    first, other, last = it.all([good, record(value, [("__value_schema_id", named)], offset=1), good])
    assert first.event.rejection is None
    assert last.event.rejection is None
    assert named is None or other.event.rejection is not None
