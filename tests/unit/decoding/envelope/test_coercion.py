"""Coercion of values to ids and times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.decoding.envelope.coercion import EARLIEST_US, LATEST_US, to_micros, to_text

MOMENT = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)
MICROS = 1_769_860_800_123_456


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("order-1", "order-1"),
        (b"order-1", "order-1"),
        (b"\xff", "\\xff"),
        (17, "17"),
        (-1, "-1"),
        (1.5, "1.5"),
        (Decimal("17.50"), "17.50"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ("x" * 512, "x" * 512),
    ],
)
def test_ids_are_text(value, expected):
    assert to_text(value) == expected


@pytest.mark.parametrize(
    "value",
    [None, "", b"", "x" * 513, b"x" * 9_999, True, {}, [], {"a": 1}, float("nan"), float("inf"), 10**500, MOMENT,
     Decimal("NaN"), Decimal("Infinity"), Decimal("1e999999")],
)  # fmt: skip
def test_values_that_are_no_id(value):
    assert to_text(value) is None


@pytest.mark.parametrize(
    "value",
    [
        MOMENT,
        MOMENT.astimezone(timezone(timedelta(hours=5))),
        MOMENT.replace(tzinfo=None),
        "2026-01-31T12:00:00.123456Z",
        "2026-01-31 13:00:00.123456+01:00",
        "2026-01-31T12:00:00.123456789Z",
        " 2026-01-31T12:00:00.123456 ",
        b"2026-01-31T12:00:00.123456Z",
        1_769_860_800.123456,
        MICROS,
        MICROS * 1000 + 789,
        str(MICROS),
        Decimal("1769860800.123456"),
        "1769860800.123456",
    ],
)
def test_every_way_to_write_a_time(value):
    assert to_micros(value) == MICROS


@pytest.mark.parametrize("value", [1_769_860_800, 1_769_860_800_000, "1769860800", "1769860800000", "20260131T120000Z"])
def test_seconds_and_milliseconds_are_distinguished_by_size(value):
    assert to_micros(value) == 1_769_860_800_000_000


def test_a_number_that_iso_8601_would_take_for_a_time_of_long_ago_is_a_number():
    # As ISO 8601 it would be 1712-01-01, separator 1, 20:30; it is a number of milliseconds.
    assert to_micros("1712010112030") == 1_712_010_112_030_000


@pytest.mark.parametrize(
    "value",
    [None, "", "yesterday", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", 0, -1, 17,
     10**30, -(10**30), float("nan"), float("inf"), True, {}, [], "1" * 1_000_000, "2026-13-01", "\uff11" * 10,
     Decimal("NaN"), Decimal("1e400"), "\u00b2" * 9, datetime.max, datetime.min.replace(tzinfo=UTC)],
)  # fmt: skip
def test_values_that_are_no_time(value):
    assert to_micros(value) is None


@given(st.integers() | st.floats() | st.text() | st.binary() | st.datetimes() | st.decimals())
def test_anything_is_a_sane_time_or_none(value):
    micros = to_micros(value)
    assert micros is None or EARLIEST_US <= micros < LATEST_US


@given(st.integers() | st.floats() | st.text() | st.binary() | st.decimals() | st.booleans())
def test_any_value_becomes_a_short_id_or_none(value):
    found = to_text(value)
    assert found is None or 0 < len(found) <= 512


def test_a_json_string_in_a_header_loses_its_quotes():
    assert to_text(b'"11111111-2222-3333-4444-555555555555"') == "11111111-2222-3333-4444-555555555555"
    assert to_text(b'"a\\"b"') == 'a"b'
    assert to_text(b'"open') == '"open'
    assert to_text(b'""') is None
    assert to_micros(b'"2026-01-31T12:00:00Z"') == to_micros("2026-01-31T12:00:00Z")
