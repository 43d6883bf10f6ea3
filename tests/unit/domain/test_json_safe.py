"""Every value that a body can contain becomes JSON."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.domain.json_safe import (
    bytes_to_json,
    encode_json,
    parse_float,
    read_lenient_json,
    to_json,
    with_all_digits,
)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Decimal("1.10"), "1.10"),
        (Decimal("1E+400"), "1E+400"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (datetime(2026, 1, 31, 12, tzinfo=UTC), "2026-01-31T12:00:00Z"),
        (date(2026, 1, 31), "2026-01-31"),
        (time(12, 0, 0, 1), "12:00:00.000001"),
        (timedelta(seconds=1.5), 1.5),
        (b"text\n", "text\n"),
        (b"\x1b[31m", {"base64": "G1szMW0="}),
        (b"\xff", {"base64": "/w=="}),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (1 << 63, 1 << 63),
        (1 << 64, 1 << 64),
        (-(1 << 63) - 1, -(1 << 63) - 1),
        ("\ud800", "\\ud800"),
        ({1: (True, None)}, {"1": [True, None]}),
        (object, "<class 'object'>"),
    ],
)
def test_values(value: Any, shown: Any) -> None:
    assert to_json(value) == shown
    assert type(to_json(value)) is type(shown)


@pytest.mark.slow
def test_huge_numbers_and_depth_are_bounded() -> None:
    assert to_json(1 << 100_000).startswith("0x")
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    assert b"deeper than" in msgspec.json.encode(to_json(deep))


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()))
    | st.binary()
    | st.decimals()
    | st.datetimes()
    | st.dates()
    | st.times()
    | st.uuids(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=())), inner),
)


@pytest.mark.slow
@given(VALUES)
def test_everything_becomes_json(value: Any) -> None:
    msgspec.json.decode(msgspec.json.encode(to_json(value)))


@given(st.binary())
def test_bytes_survive_a_round_trip(data: bytes) -> None:
    import base64

    shown = bytes_to_json(data)
    assert (shown.encode() if isinstance(shown, str) else base64.b64decode(shown["base64"])) == data


def test_numbers_of_a_json_text_keep_all_their_digits() -> None:
    text = b'{"id": 12345678901234567890, "rate": 1.2345678901234567890123456, "n": 1.50, "far": 1e400, "s": "x"}'
    shown = to_json(with_all_digits(text, msgspec.json.decode(text.replace(b"1e400", b"1.0"))))
    assert shown["n"] == 1.5  # another text: the body stays
    body = {"id": 12345678901234567890, "rate": 1.2345678901234567, "n": 1.5, "far": float("inf"), "s": "x"}
    sent = msgspec.json.encode(to_json(with_all_digits(text, body)))
    assert sent == b'{"id":12345678901234567890,"rate":1.2345678901234567890123456,"n":1.5,"far":1e400,"s":"x"}'
    received = msgspec.json.Decoder(float_hook=parse_float).decode(sent)
    assert encode_json(received) == sent


@pytest.mark.parametrize("number", [b"1E400", b"0.12345678901234567890123", b"12345678901234567890123", b"-0.0"])
@pytest.mark.parametrize("text", [rb'"\ud800x"', rb'"\udc00"', rb'"\ud800\ud800\udc00"', rb'"\\ud800"'])
def test_numbers_keep_their_digits_beside_lone_surrogates(number: bytes, text: bytes) -> None:
    body = read_lenient_json(b'{"text":%b,"number":%b}' % (text, number))
    assert encode_json(body["number"]).lower() == number.lower()
    assert encode_json(with_all_digits(b'{"text":%b,"number":%b}' % (text, number), body)) == encode_json(body)


def test_what_is_json_already_stays_as_it_is() -> None:
    body = read_lenient_json(b'{"a":[9999999999999999999.00000000000000000001],"b":1e400,"c":"x","d":null}')
    once = to_json(body)
    assert encode_json(to_json(once)) == encode_json(once) == encode_json(body)
