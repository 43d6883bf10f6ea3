"""The schema that a value names, and the beginning of its body."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.decoding.wire_format import SchemaId, WireForm, frame
from sidecar.domain.model import Rejection

GUID = "89791762-2336-4186-9674-299b90a802e2"


def test_confluents_prefix():
    framed = frame(b"\0\0\0\0\x2aavro", {})
    assert (framed.form, framed.start, framed.ids) == (WireForm.SCHEMA, 5, (SchemaId("id", 42),))


def test_an_8_byte_id_shows_as_a_4_byte_id_of_zero():
    framed = frame(b"\0" + (77).to_bytes(8, "big") + b"avro", {})
    assert (framed.form, framed.start) == (WireForm.SCHEMA, 9)
    assert framed.ids == (SchemaId("global_id", 77), SchemaId("content_id", 77))


def test_a_prefix_of_zero_that_is_too_short_for_8_bytes_is_id_zero():
    assert frame(b"\0\0\0\0\0abc", {}).ids == (SchemaId("id", 0),)


@pytest.mark.parametrize("value", [b"\0", b"\0\0\0\1"])
def test_a_prefix_cut_short_names_no_schema(value):
    assert frame(value, {}) == frame(b"\xff\xfe", {})
    assert frame(value, {}).form is WireForm.OPAQUE


def test_single_object_encoding_writes_its_fingerprint_little_endian():
    framed = frame(b"\xc3\x01" + (0x1122334455667788).to_bytes(8, "little") + b"avro", {})
    assert (framed.form, framed.start) == (WireForm.SCHEMA, 10)
    assert framed.ids == (SchemaId("fingerprint", 0x1122334455667788),)


@pytest.mark.parametrize(
    ("stated", "id"),
    [
        (b"\0\0\0\0\7", SchemaId("id", 7)),
        (b"\1" + UUID(GUID).bytes, SchemaId("guid", GUID)),
    ],
)
def test_the_schema_header_comes_before_the_prefix(stated, id):
    framed = frame(b"\0\0\0\0\1body", {"__value_schema_id": stated})
    assert (framed.form, framed.start, framed.ids) == (WireForm.SCHEMA, 0, (id,))


@pytest.mark.parametrize("stated", [b"", b"\0", b"\0\0\0\0\0\7", b"\1short", b"\2\0\0\0\7", b"7"])
def test_a_schema_header_that_cannot_be_read_is_malformed(stated):
    rejection = frame(b"{}", {"__value_schema_id": stated})
    assert isinstance(rejection, Rejection)
    assert rejection.code == "decode.malformed"
    assert "__value_schema_id" in rejection.message


def test_apicurios_headers_global_id_first():
    headers = {"apicurio.value.globalid": (9).to_bytes(8, "big"), "apicurio.value.contentid": (3).to_bytes(8, "big")}
    framed = frame(b"avro", headers)
    assert (framed.form, framed.ids) == (WireForm.SCHEMA, (SchemaId("global_id", 9), SchemaId("content_id", 3)))


def test_apicurio_may_say_that_the_body_is_json():
    headers = {"apicurio.value.contentid": (3).to_bytes(8, "big"), "apicurio.value.encoding": b"JSON"}
    assert frame(b'{"a": 1}', headers).form is WireForm.JSON


def test_apicurios_malformed_header():
    rejection = frame(b"", {"apicurio.value.globalid": b"nine"[:3]})
    assert isinstance(rejection, Rejection)
    assert rejection.path == "header:apicurio.value.globalid"


def test_an_encoding_header_alone_names_no_schema():
    assert frame(b"\0\0\0\0\1x", {"apicurio.value.encoding": b"BINARY"}).ids == (SchemaId("id", 1),)


@pytest.mark.parametrize(
    ("value", "start"), [(b"{}", 0), (b"[1]", 0), (b" \r\n\t{}", 4), (b"\xef\xbb\xbf{}", 3), (b"\xef\xbb\xbf  [", 5)]
)
def test_json_begins_like_json(value, start):
    assert (frame(value, {}).form, frame(value, {}).start) == (WireForm.JSON, start)


@pytest.mark.parametrize("value", [b"", b" ", b"hello", b"17", b"\xc3\x01short", b" " * 100 + b"{}"])
def test_everything_else_is_opaque(value):
    assert frame(value, {}).form is WireForm.OPAQUE


@given(st.binary(max_size=40), st.dictionaries(st.sampled_from(sorted({"__value_schema_id"})), st.binary(max_size=20)))
def test_any_bytes_have_a_frame_within_them(value, headers):
    framed = frame(value, headers)
    if not isinstance(framed, Rejection):
        assert 0 <= framed.start <= len(value)
