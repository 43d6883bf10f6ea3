"""Keys as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.decoding.record_key import MAX_KEY_CHARACTERS, key_text
from tests.support.decoding import avro, confluent


def test_text_stays_as_it_is_and_no_key_is_none():
    assert key_text(None) is None
    assert key_text(b"") == ""
    assert key_text("bestellung-ü".encode()) == "bestellung-ü"


def test_bytes_that_are_no_text_are_escaped():
    assert key_text(b"a\xff\x01z") == "a\\xff\x01z"


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
