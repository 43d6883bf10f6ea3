"""Messages that frameworks wrap into the fields of a Redis entry."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from sidecar.decoding.envelope.packed_texts import pack_texts, unpack_texts
from sidecar.decoding.envelope.transport import read_watermill_metadata, replace_watermill_metadata, unwrap_message
from sidecar.domain.json_safe import encode_json
from sidecar.domain.model import Headers, Record
from sidecar.domain.position import Position
from sidecar.domain.redacted_payload import body_to_json
from sidecar.domain.redaction import Redactor
from tests.support.decoding import court, record

TRACEPARENT = b"00-0af7651916cd43dd8448eb211c80f5f5-b7ad6b7169203331-01"
BODY = b'{"eventId":"fs-1","eventType":"OrderPlaced","aggregateId":"o-fs"}'


def binary(headers: dict[str, bytes], body: bytes = BODY, version: int = 1) -> bytes:
    """Encode a message in FastStream's documented binary format."""
    block = len(headers).to_bytes(2, "big")
    for name, value in headers.items():
        block += len(name).to_bytes(2, "big") + name.encode() + len(value).to_bytes(2, "big") + value
    start = b"\x89BIN\r\n\x1a\n" + version.to_bytes(2, "big")
    return start + (18).to_bytes(4, "big") + (18 + len(block)).to_bytes(4, "big") + block + body


def entry(*fields: tuple[str, bytes | None], value: bytes | None = None) -> Record:
    return record(value, fields, stream="fs", key=None, system="redis")


@pytest.mark.parametrize(
    "wrapped",
    [
        binary({"correlation_id": b"c-1", "traceparent": TRACEPARENT}),
        json.dumps(
            {"data": BODY.decode(), "headers": {"correlation_id": "c-1", "traceparent": TRACEPARENT.decode()}}
        ).encode(),
        json.dumps(
            {"data": json.loads(BODY), "headers": {"correlation_id": "c-1", "traceparent": TRACEPARENT.decode()}}
        ).encode(),
    ],
    ids=["binary", "json", "json with an object"],
)
def test_faststreams_headers_and_body_are_read(wrapped: bytes) -> None:
    raw = entry(("__data__", wrapped))
    with court() as here:
        decoded = here.one(raw)
    event = decoded.event
    assert (event.event_id, event.type, event.aggregate_id) == ("fs-1", "OrderPlaced", "o-fs")
    assert (event.correlation_id, event.trace_id) == ("c-1", 0x0AF7651916CD43DD8448EB211C80F5F5)
    assert decoded.body["aggregateId"] == "o-fs"
    assert decoded.record == raw
    assert event.rejection is None


def test_a_wrapped_body_is_checked_by_the_streams_subject() -> None:
    schema = {"type": "record", "name": "O", "fields": [{"name": "total", "type": "int"}]}
    with court() as here:
        here.register("fs-value", schema)
        good = here.one(entry(("__data__", binary({}, b'{"total":1}')))).event
        bad = here.one(entry(("__data__", binary({}, b'{"total":"x"}')))).event
    assert (good.rejection, good.unchecked) == (None, False)
    assert bad.rejection is not None
    assert bad.rejection.path == "total"


def test_watermills_metadata_are_headers_with_its_own_names_last() -> None:
    metadata = msgspec.msgpack.encode({"name": "shop.OrderPlaced", "correlation_id": "c-1"})
    fields = (("_watermill_message_uuid", b"w-1"), ("metadata", metadata))
    with court() as here:
        plain = here.one(entry(*fields, value=b'{"aggregateId":"w"}')).event
        named = here.one(entry(*fields, value=b'{"eventId":"e-1","eventType":"OrderPlaced"}')).event
        on_kafka = here.one(record({"a": 1}, [("_watermill_message_uuid", b"w-1"), ("correlation_id", b"c-1")])).event
    assert (plain.event_id, plain.type, plain.correlation_id) == ("w-1", "shop.OrderPlaced", "c-1")
    assert (named.event_id, named.type) == ("e-1", "OrderPlaced")
    assert (on_kafka.event_id, on_kafka.correlation_id) == ("w-1", "c-1")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"just text", "just text"),
        (b"\0\1\xff", {"base64": "AAH/"}),
        (b"", ""),
        (b'{"n":0.12345678901234567890123}', msgspec.Raw(b'{"n":0.12345678901234567890123}')),
    ],
)
def test_a_wrapped_body_is_shown_as_it_is(value: bytes, shown: object) -> None:
    with court() as here:
        for fields in (
            (("__data__", binary({"correlation_id": b"c"}, value)),),
            (("_watermill_message_uuid", b"w"), ("metadata", b""), ("payload", value)),
        ):
            decoded = here.one(entry(*fields))
            body = body_to_json(Redactor([]), decoded)
            assert encode_json(body) == encode_json(shown)
            if not isinstance(decoded.body, dict):
                assert body_to_json(Redactor(["body:secret"]), decoded) != body or value == b""


def test_metadata_that_is_not_utf8_keeps_its_bytes() -> None:
    texts = (("n\udcff", b"\xff\xfe"), ("correlation_id", b"c-1"), ("none", None), ("long", b"x" * 70_000))
    for many in (texts, (*texts, *[(f"h{number}", b"v" * number) for number in range(300)])):
        fields = (("_watermill_message_uuid", b"w-1"), ("metadata", pack_texts(many)))
        raw = entry(*fields, value=b"{}")
        with court() as here:
            event = here.one(raw).event
        assert (event.event_id, event.correlation_id) == ("w-1", "c-1")
        assert read_watermill_metadata(raw) == many
        assert read_watermill_metadata(replace(raw, headers=replace_watermill_metadata(fields, many[1:]))) == many[1:]


@given(st.dictionaries(st.text(max_size=40), st.text(max_size=300), max_size=40))
def test_metadata_is_read_as_messagepack_says(metadata: dict[str, str]) -> None:
    expected = tuple([(name, value.encode()) for name, value in metadata.items()])
    assert unpack_texts(msgspec.msgpack.encode(metadata), 100) == expected
    assert msgspec.msgpack.decode(pack_texts(expected)) == metadata


@pytest.mark.parametrize(
    "fields",
    [
        (("__data__", None),),
        (("__data__", b"{}"),),
        (("__data__", b'{"data": "x", "headers": [1]}'),),
        (("__data__", b"\x89BIN\r\n\x1a\n"),),
        (("__data__", binary({}, version=2)),),
        (("__data__", binary({"a": b"b"})[:24]),),
        (("_watermill_message_uuid", b"w"), ("metadata", b"\xff")),
    ],
)
def test_other_forms_stay_a_flat_map(fields: Headers) -> None:
    assert unwrap_message(Record(Position("redis", "s", 0, 1), None, None, fields, 0)) is None
    with court() as here:
        decoded = here.one(entry(*fields))
    assert decoded.event.rejection is None
    assert set(decoded.body) == {name for name, _ in fields}


@given(st.binary(max_size=60), st.booleans())
def test_no_bytes_raise(data: bytes, magic: bool) -> None:
    wrapped = b"\x89BIN\r\n\x1a\n\x00\x01" + data if magic else data
    unwrap_message(entry(("__data__", wrapped)))
    unwrap_message(entry(("_watermill_message_uuid", b"w"), ("metadata", data)))
