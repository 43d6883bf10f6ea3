"""Recognition of values: bytes count as a schema id only with evidence, and an outage rejects no event."""

from __future__ import annotations

import base64
import io
import json
import struct
from collections.abc import Iterator
from typing import Any

import fastavro
import pytest

from sidecar.domain.errors import Outage, Refused
from tests.support.decoding import ORDER_CREATED, Court, avro, confluent, court, order, record

LONG = b"\0\0\0\0\0\0\x12\x67"


@pytest.fixture
def it() -> Iterator[Court]:
    with court() as made:
        yield made


def outcome(it: Court, value: Any, stream: str = "numbers", **more: Any) -> tuple[bool, str | None]:
    event = it.one(record(value, stream=stream, **more)).event
    return event.unchecked, event.rejection.code if event.rejection is not None else None


NUMBERS = [
    LONG,
    b"\0",
    b"\0\1",
    b"\0" * 5,
    b"\0" * 8,
    b"\0" * 9,
    b"\0" * 16,
    struct.pack(">d", 5e-320),
    struct.pack("<d", 1.0),
    struct.pack(">q", 1_767_225_600),
    struct.pack(">q", 1_767_225_600_000),
    struct.pack(">q", 1 << 40),
    b"\xc3\x01" + b"x" * 20,
    b"\0\0\0\0\x07text",
]


@pytest.mark.parametrize("value", NUMBERS, ids=lambda value: value.hex())
def test_bytes_on_a_stream_without_subject_are_unchecked(it: Court, value: bytes) -> None:
    for number in range(200):  # ids that could also be numbers
        it.register("payments-value", {**ORDER_CREATED, "doc": str(number)})
    assert outcome(it, value) == (True, None)


def test_an_unknown_schema_id_needs_evidence_by_subject_or_header(it: Court) -> None:
    it.register("numbers-shop.OrderCreated", ORDER_CREATED)
    assert outcome(it, b"\0\0\0\0\x4dabc") == (False, "schema.unknown_id")
    header = {"__value_schema_id": b"\0\0\0\0\x4d"}
    assert outcome(it, b"abc", stream="others", headers=header) == (False, "schema.unknown_id")


def test_an_event_of_another_streams_schema_is_still_one_of_the_wrong_subject(it: Court) -> None:
    id = it.id_of("payments-value", ORDER_CREATED)
    assert outcome(it, confluent(id, avro(ORDER_CREATED, order()))) == (False, "schema.wrong_subject")


def test_bare_avro_that_looks_framed_is_read_by_the_streams_subject(it: Court) -> None:
    declared = {"type": "record", "name": "Note", "fields": [{"name": "text", "type": "string"}] + [
        {"name": name, "type": "long"} for name in "abcdefg"]}  # fmt: skip
    it.register("numbers-value", declared)
    value = {"text": "", **dict.fromkeys("abcdefg", 7)}
    decoded = it.one(record(avro(declared, value), stream="numbers"))
    assert (decoded.event.rejection, decoded.body) == (None, value)


@pytest.mark.parametrize("registered", [False, True])
def test_data_that_a_cloudevent_calls_opaque_is_unchecked(it: Court, registered: bool) -> None:
    if registered:
        it.register("numbers-value", ORDER_CREATED)
    event = {
        "specversion": "1.0", "id": "e-1", "source": "s", "type": "t",
        "datacontenttype": "application/octet-stream", "data_base64": base64.b64encode(b"\0\0\0\0\x4dabc").decode(),
    }  # fmt: skip
    assert outcome(it, event) == (True, None)
    assert it.one(record(event, stream="numbers")).event.event_id == "e-1"


def test_the_same_schema_under_a_second_subject_is_good_at_once(it: Court) -> None:
    id = it.id_of("a-value", ORDER_CREATED)
    assert outcome(it, confluent(id, avro(ORDER_CREATED, order())), stream="a") == (False, None)
    assert it.id_of("b-value", ORDER_CREATED) == id
    assert outcome(it, confluent(id, avro(ORDER_CREATED, order())), stream="b") == (False, None)


def test_an_event_of_a_version_registered_just_now_is_good(it: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.decoding.schema_lookup.RECHECK_S", 0)
    monkeypatch.setattr("sidecar.decoding.schema_lookup._RECHECK_PER_QUESTION", 0)
    one = {"type": "record", "name": "O", "fields": [{"name": "n", "type": "int"}]}
    it.register("orders-value", one)
    assert outcome(it, {"n": 1}, stream="orders") == (False, None)
    assert outcome(it, {"n": "x"}, stream="orders") == (False, "schema.mismatch")
    it.register("orders-value", {**one, "fields": [{"name": "n", "type": ["int", "string"]}]})
    assert outcome(it, {"n": "x"}, stream="orders") == (False, None)


@pytest.mark.parametrize("trouble", [Outage("gone"), Refused("no")])
@pytest.mark.parametrize("value", ["avro", "json", "header"])
def test_an_outage_makes_no_envelope_missing(trouble: Exception, value: str) -> None:
    with court(required=["event_id", "type"]) as it:
        id = it.id_of("orders-value", ORDER_CREATED)
        it.registry.trouble = trouble
        body = avro(ORDER_CREATED, order())
        headers = {"__value_schema_id": b"\0" + id.to_bytes(4, "big")} if value == "header" else {}
        written: Any = {"avro": confluent(id, body), "json": {"eventId": "e-1"}, "header": body}[value]
        event = it.opened(record(written, headers)).event
        assert (event.unchecked, event.rejection) == (True, None)
        it.registry.trouble = None
        assert it.one(record(confluent(id, body))).event.rejection is None
        missing = it.one(record({"eventId": "e-1"}, stream="free")).event.rejection
        assert missing is not None
        assert missing.code == "envelope.missing"


def test_an_outage_confirms_no_denial(it: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.decoding.schema_lookup.RECHECK_S", 0)
    monkeypatch.setattr("sidecar.decoding.schema_lookup._RECHECK_PER_QUESTION", 0)
    it.register("orders-value", ORDER_CREATED)
    bad, wrong = record({"eventId": 7}), record(confluent(99, b"x"))
    for broken, code in ((bad, "schema.mismatch"), (wrong, "schema.unknown_id")):
        rejection = it.one(broken).event.rejection
        assert rejection is not None
        assert rejection.code == code
    it.registry.trouble = Outage("gone")
    for broken in (bad, wrong):
        event = it.opened(broken).event
        assert (event.unchecked, event.rejection) == (True, None)


def test_an_unreadable_format_makes_no_envelope_missing() -> None:
    with court(required=["event_id"]) as it:
        id = it.id_of("orders-value", "syntax = 'proto3';", "PROTOBUF")
        assert outcome(it, confluent(id, b"\0\x0a\1x"), stream="orders") == (True, None)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (rb'{"eventId":"\ud800"}', "\\ud800"),
        (rb'{"eventId":"a\udfffb"}', "a\\udfffb"),
        (rb'{"eventId":"\ud800\ud800"}', "\\ud800\\ud800"),
        (rb'{"eventId":"\ud83d\ude00\ud800"}', "\U0001f600\\ud800"),
        (rb'{"eventId":"\\\ud800"}', "\\\\ud800"),
    ],
)
def test_a_lone_surrogate_is_accepted_and_escaped(it: Court, written: bytes, read: str) -> None:
    decoded = it.one(record(written))
    assert (decoded.event.rejection, decoded.event.event_id) == (None, read)


def test_a_lone_surrogate_does_not_excuse_broken_json(it: Court) -> None:
    it.register("orders-value", ORDER_CREATED)
    assert outcome(it, rb'{"eventId":"\ud800"', stream="orders") == (False, "decode.malformed")


# --- container files


def container(*values: Any, schema: Any = ORDER_CREATED, codec: str = "null") -> bytes:
    out = io.BytesIO()
    fastavro.writer(out, fastavro.parse_schema(json.loads(json.dumps(schema))), values, codec=codec)
    return out.getvalue()


@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_a_container_file_is_decoded(it: Court, codec: str) -> None:
    decoded = it.one(record(container(order(), codec=codec)))
    assert decoded.body["data"] == order()["data"]
    event = decoded.event
    assert (event.event_id, event.type, event.unchecked, event.rejection) == ("event-1", "OrderCreated", True, None)


@pytest.mark.parametrize("codec", ["snappy", "zstandard"])
def test_a_container_file_of_other_codecs_is_decoded(it: Court, codec: str) -> None:
    cramjam = pytest.importorskip("cramjam")
    plain = container(order())
    at = plain.index(b"avro.codec") + len(b"avro.codec")
    name = codec.encode()
    sync = plain[-16:]
    head = plain[:at] + bytes([len(name) << 1]) + name + plain[at + 1 + len(b"null") :]
    start = head.index(sync) + 16
    block = avro(ORDER_CREATED, order())
    packed = bytes(cramjam.snappy.compress_raw(block)) + b"crc!" if codec == "snappy" else bytes(
        cramjam.zstd.compress(block))  # fmt: skip
    size = avro("long", len(packed))
    decoded = it.one(record(head[:start] + b"\x02" + size + packed + sync))
    assert decoded.event.event_id == "event-1"


def test_several_values_of_a_container_file_are_a_list_and_none_an_empty_one(it: Court) -> None:
    assert [each["eventId"] for each in it.one(record(container(order(1), order(2)))).body] == ["event-1", "event-2"]
    assert it.one(record(container())).body == []


def test_a_broken_container_file_stays_bytes(it: Court) -> None:
    whole = container(order())
    for broken in (whole[:-1], whole[:40], whole.replace(b"avro.schema", b"avro.schemx"), b"Obj\x01", b"Obj\x01\xff"):
        assert outcome(it, broken) == (True, None)
    nothing = {"type": "record", "name": "N", "fields": []}
    bomb = container(*[{}] * 9_999, schema=nothing)
    assert outcome(it, bomb) == (True, None)
    huge = container("x" * 10_000_000, schema="string", codec="deflate")
    assert len(huge) < 50_000
    assert it.one(record(huge)).body is None


@pytest.mark.parametrize("padding", [0, 100_000])
def test_a_lone_surrogate_beside_a_number_that_no_float_holds_is_accepted(it: Court, padding: int) -> None:
    body = b'{"eventId":"e","n":[%b],"total":1E400,"text":"\\ud800x"}' % b",".join([b"1"] * (padding + 1))
    decoded = it.one(record(body, stream="free"))
    assert decoded.event.rejection is None
    assert (decoded.event.event_id, repr(decoded.body["total"]), decoded.body["text"]) == ("e", "1E400", "\\ud800x")
