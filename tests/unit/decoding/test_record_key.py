"""Record keys as text."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.decoding.record_key import MAX_KEY_CHARACTERS, KeyReader, key_identity
from tests.support.decoding import avro, confluent


def key_text(key: bytes | None, framed: bool = False) -> str | None:
    """Convert one key, the first of its stream."""
    return KeyReader().text("orders", key, framed)


def test_text_stays_as_it_is_and_no_key_is_none():
    assert key_text(None) is None
    assert key_text(b"") == ""
    assert key_text("bestellung-ü".encode()) == "bestellung-ü"


def test_bytes_that_are_mostly_text_are_escaped_and_others_are_hex():
    assert key_text(b"caf\xe9") == "caf\\xe9"
    assert key_text(b"a\xff\x01z!") == "61ff017a21"


def test_four_and_eight_bytes_are_numbers_where_the_other_keys_agree():
    keys = KeyReader()
    assert [keys.text("pay", (number).to_bytes(4, "big", signed=True)) for number in (7, 8, -1)] == ["7", "8", "-1"]
    assert keys.text("pay", b"ABCD") == "1094861636", "among numbers, four letters are a number"
    assert keys.text("pay", b"no-int") == "no-int"
    assert [keys.text("ids", number.to_bytes(8, "big")) for number in (7, 1 << 40)] == ["7", str(1 << 40)]
    for name in (b"o-1", b"o-2", b"ABCD"):
        assert keys.text("orders", name) == name.decode()
    assert keys.text("orders", (7).to_bytes(4, "big")) == "00000007", "among texts, four bytes are no number"
    hashes = [bytes(range(0x80, 0x80 + width)) for width in (8, 12, 20, 4)]
    assert [keys.text("hashes", key) for key in hashes][1:] == [key.hex() for key in hashes][1:]


def test_sixteen_bytes_are_a_uuid_where_they_have_its_version():
    keys = KeyReader()
    id = UUID("0b8e1d4c-2a6f-4f30-9d0b-7f6f1f0f9a11")
    assert keys.text("a", id.bytes) == str(id)
    digest = bytes(range(0xE0, 0xF0))
    assert keys.text("b", digest) == digest.hex()


def test_a_number_is_distinguished_from_a_schema_id():
    keys = KeyReader()
    assert keys.text("n", bytes.fromhex("0000000000001267")) == str(0x1267)
    assert keys.text("n", confluent(7, avro("string", "ab"))) == str(0x0000000007046162), "the others are numbers"
    assert key_text(confluent(7, avro("string", "ab"))) == "ab"
    assert key_text(confluent(7, avro("string", "order-0017"))) == "order-0017"


@pytest.mark.parametrize(
    ("key", "identity"),
    [
        (b'"o-77"', "o-77"),
        (b'{"id":5}', "5"),
        (b'{"schema":{"type":"string"},"payload":"o-77"}', "o-77"),
        (b'{"schema":{"type":"struct"},"payload":{"id":2}}', "2"),
        (b'{"schema":{"type":"struct"},"payload":{"order":2,"line":1}}', '{"order":2,"line":1}'),
        (b'{"order":2,"line":1}', '{"order":2,"line":1}'),
        (b'{"id":[1]}', '{"id":[1]}'),
        (b'{"id": broken', '{"id": broken'),
        (b'"' + b"x" * 600 + b'"', None),
        (b"o-77", "o-77"),
        (b"", None),
        (None, None),
    ],
)
def test_the_id_inside_of_a_json_key(key, identity):
    assert key_identity(key, key_text(key)) == identity


def test_a_long_key_is_cut():
    text = key_text(b"x" * 1_000_000)
    assert len(text) == MAX_KEY_CHARACTERS
    assert text.endswith("…")


@pytest.mark.parametrize(
    ("schema", "value", "text"),
    [("string", "order-17", "order-17"), ("string", "ü" * 40, "ü" * 40), ("long", 4711, "4711"), ("int", -3, "-3")],
)
def test_a_framed_key_shows_what_its_serialiser_wrote(schema, value, text):
    assert key_text(confluent(7, avro(schema, value))) == text
    assert key_text(b"\0" + (7).to_bytes(8, "big") + avro(schema, value)) == text
    assert key_text(avro(schema, value), framed=True) == text


def test_a_framed_json_key():
    assert key_text(confluent(7, b'"order-17"')) == "order-17"
    assert key_text(confluent(7, b'{"id":17}')) == '{"id":17}'


def test_a_key_framed_by_header_that_is_plain_text_after_all():
    assert key_text(b"order-17", framed=True) == "order-17"


@given(st.binary(max_size=600), st.booleans())
def test_any_key_is_short_text(key, framed):
    text = key_text(key, framed)
    assert len(text) <= MAX_KEY_CHARACTERS
    text.encode()
