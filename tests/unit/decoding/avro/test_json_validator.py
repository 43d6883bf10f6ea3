"""Validation of JSON against Avro: common forms are accepted, and faults are reported with their path."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.decoding.formats.avro.payload_limits import MAX_DEPTH
from sidecar.domain.model import Rejection
from tests.support.avro_payloads import LINKED_LIST, ORDER, rejected, schema
from tests.support.avro_strategies import schemas

GOOD: dict[str, Any] = {
    "id": "o-1",
    "total": 12,
    "placed": "2026-01-31T12:00:00Z",
    "status": "NEW",
    "note": None,
    "items": [{"sku": "a", "qty": 1}, {"sku": "b", "qty": 2}, {"sku": "c", "qty": 3.0}],
    "labels": {"gift": "yes"},
}


def order(**changes: Any) -> dict[str, Any]:
    return {**GOOD, **changes}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


@pytest.mark.parametrize(
    "value",
    [
        GOOD,
        order(note="text"),
        order(note={"string": "text"}),
        order(placed=1_767_225_600_000),
        order(extra="a field of a newer version"),
        without("note"),
        without("labels"),
        order(items=[]),
    ],
)
def test_common_forms_are_accepted(value: Any) -> None:
    assert schema(ORDER).check(value) is None


@pytest.mark.parametrize(
    ("value", "path", "message"),
    [
        (
            order(items=[{"sku": "a", "qty": 1}, {"sku": "b", "qty": 1}, {"sku": "c", "qty": "two"}]),
            "items[2].qty",
            'items[2].qty: expected int, found string "two" (orders-value v3)',
        ),
        (without("id"), "id", "id: expected string, found nothing: the field is missing (orders-value v3)"),
        (order(id=None), "id", "id: expected string, found null (orders-value v3)"),
        (order(total="1.5"), "total", 'total: expected double, found string "1.5" (orders-value v3)'),
        (order(total=True), "total", "total: expected double, found boolean true (orders-value v3)"),
        (order(note=5), "note", "note: expected null or string, found number 5 (orders-value v3)"),
        (order(note=["x"]), "note", "note: expected null or string, found an array of 1 (orders-value v3)"),
        (order(note={"string": 5}), "note.string", "note.string: expected string, found number 5 (orders-value v3)"),
        (
            order(status="LOST"),
            "status",
            'status: expected enum Status (NEW, PAID), found string "LOST" (orders-value v3)',
        ),
        (order(items={"sku": "a"}), "items", 'items: expected array, found an object with "sku" (orders-value v3)'),
        (order(labels={"a b": 1}), 'labels["a b"]', 'labels["a b"]: expected string, found number 1 (orders-value v3)'),
        (
            order(placed="yesterday"),
            "placed",
            'placed: expected timestamp (ISO 8601 text or milliseconds), found string "yesterday" (orders-value v3)',
        ),
        ([], None, "the event: expected record Order, found an array of 0 (orders-value v3)"),
    ],
)
def test_faults_are_reported_with_path_expectation_and_value(value: Any, path: str | None, message: str) -> None:
    assert schema(ORDER).check(value) == Rejection("schema.mismatch", message, path)


INT = "int"
LONG = "long"
DATE = {"type": "int", "logicalType": "date"}
TIME = {"type": "int", "logicalType": "time-millis"}
MICROS = {"type": "long", "logicalType": "local-timestamp-micros"}
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}
UUID = {"type": "string", "logicalType": "uuid"}
FIXED = {"type": "fixed", "name": "F", "size": 4}
FIXED_UUID = {"type": "fixed", "name": "U", "size": 16, "logicalType": "uuid"}
DURATION = {"type": "fixed", "name": "D", "size": 12, "logicalType": "duration"}
TOLERANT = {"type": "enum", "name": "E", "symbols": ["A", "UNKNOWN"], "default": "UNKNOWN"}
SHIP = {"type": "record", "name": "shop.Ship", "fields": [{"name": "to", "type": "string"}]}
MAIL = {"type": "record", "name": "shop.Mail", "fields": [{"name": "box", "type": {"type": "array", "items": INT}}]}


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        (INT, 2**31 - 1),
        (INT, -(2**31)),
        (INT, 3.0),
        (LONG, 2**63 - 1),
        ("double", "NaN"),
        ("float", 1),
        ("bytes", "aGVsbG8="),
        ("bytes", "just text"),
        ("bytes", ""),
        (DATE, "2026-01-31"),
        (DATE, "2026-01-31T00:00:00Z"),
        (DATE, 20_000),
        (TIME, "12:30:00.5"),
        (TIME, 5),
        (MICROS, "2026-01-31T12:00:00.123456"),
        (MICROS, "2026-01-31T12:00:00.123456789Z"),
        (MICROS, "2026-01-31 12:00:00+01:00"),
        (MICROS, 1.7e15),
        (MICROS, "1767225600000000"),
        (DECIMAL, 12),
        (DECIMAL, 12.34),
        (DECIMAL, 0.1 + 0.2),
        (DECIMAL, "-1234.56"),
        (DECIMAL, "1e2"),
        (DECIMAL, "1234.5600"),
        (DECIMAL, "MDk="),
        (DECIMAL, "\x30\x00\xff"),
        (DECIMAL, "0"),
        (UUID, "5f0a2c5c-7a3c-4c5e-9d0b-3b1f5a8e7c11"),
        (UUID, "5F0A2C5C7A3C4C5E9D0B3B1F5A8E7C11"),
        (FIXED, "abcd"),
        (FIXED, "\xff\x00\x01\x02"),
        (FIXED, "deadbeef"),
        (FIXED, "3q2+7w=="),
        (FIXED_UUID, "5f0a2c5c-7a3c-4c5e-9d0b-3b1f5a8e7c11"),
        (DURATION, "P1DT2H"),
        (DURATION, {"months": 1, "days": 2, "millis": 3}),
        (TOLERANT, "NEW_SYMBOL"),
        (["null", SHIP, MAIL], {"to": "x"}),
        (["null", SHIP, MAIL], {"box": [1]}),
        (["null", SHIP, MAIL], {"shop.Mail": {"box": []}}),
        (["null", SHIP, MAIL], {"Ship": {"to": "x"}}),
        (["null", {"type": "map", "values": INT}], {"int": 1}),
        ({"type": "map", "values": ["null", INT]}, {"a": None, "b": {"int": 2}}),
        (
            {"type": "record", "name": "R", "fields": [{"name": "new", "type": INT, "aliases": ["old"]}]},
            {"old": 1},
        ),
        ({"type": "record", "name": "R", "fields": [{"name": "n", "type": ["null", INT]}]}, {}),
        (LINKED_LIST, {"value": 1, "next": {"value": 2, "next": {"Node": {"value": 3, "next": None}}}}),
    ],
)
def test_accepted(declared: Any, value: Any) -> None:
    assert schema(declared).check(value) is None


@pytest.mark.parametrize(
    ("declared", "value", "message"),
    [
        (INT, 2**31, "expected int, found number 2147483648"),
        (INT, 3.5, "expected int, found number 3.5"),
        (INT, True, "expected int, found boolean true"),
        (INT, "3", 'expected int, found string "3"'),
        (LONG, 2**63, "expected long, found number 9223372036854775808"),
        (LONG, 10**4000, "expected long, found a huge number"),
        (LONG, float("inf"), "expected long, found number inf"),
        ("bytes", 5, "expected bytes, found number 5"),
        (DATE, "31.01.2026", 'expected date (ISO 8601 text or days), found string "31.01.2026"'),
        (DATE, 1.5, "expected date (ISO 8601 text or days), found number 1.5"),
        (DECIMAL, 12345, "expected decimal(6,2), found number 12345"),
        (DECIMAL, "1.234", 'expected decimal(6,2), found string "1.234"'),
        (DECIMAL, "1e9999", 'expected decimal(6,2), found string "1e9999"'),
        (DECIMAL, "two!", 'expected decimal(6,2), found string "two!"'),
        (DECIMAL, float("nan"), "expected decimal(6,2), found number nan"),
        (DECIMAL, True, "expected decimal(6,2), found boolean true"),
        (UUID, "4711", 'expected uuid, found string "4711"'),
        (FIXED, "abcde", 'expected F (4 bytes), found string "abcde"'),
        (FIXED, 4, "expected F (4 bytes), found number 4"),
        (DURATION, {"weeks": 1}, 'expected D (12 bytes), found an object with "weeks"'),
        (["null", SHIP], {"to": 5}, "expected string, found number 5"),
        (["null", SHIP, MAIL], {"box": ["x"]}, 'expected int, found string "x"'),
        (["null", SHIP, MAIL], "x", 'expected null, record Ship or record Mail, found string "x"'),
        (["null", UUID], "x", 'expected uuid, found string "x"'),
        ([], 1, "expected nothing, found number 1"),
        (
            {"type": "record", "name": "R", "fields": [{"name": "new", "type": INT, "aliases": ["old"]}]},
            {"old": "x"},
            'expected int, found string "x"',
        ),
    ],
)
def test_refused(declared: Any, value: Any, message: str) -> None:
    rejection = rejected(schema(declared).check(value))
    assert rejection.code == "schema.mismatch"
    assert message in rejection.message


def test_found_values_are_quoted_short_and_harmless() -> None:
    message = rejected(schema(INT).check("\x1b[2J\u202e" + "x" * 1_000_000)).message
    assert "\\x1b[2J\\u202e" in message
    assert len(message) < 200
    deep = {"k" * 500: 1, "\x07": {}}
    rejection = rejected(schema({"type": "map", "values": "string"}).check(deep))
    assert rejection.path is not None
    assert len(rejection.path) < 100


def test_depth_is_bounded_where_a_schema_is_recursive() -> None:
    value: Any = None
    for _ in range(MAX_DEPTH + 1):
        value = {"value": 1, "next": value}
    assert rejected(schema(LINKED_LIST).check(value)).code == "decode.limit"
    assert schema(LINKED_LIST).check(value["next"]["next"]) is None
    for _ in range(100_000):
        value = {"value": 1, "next": value}
    assert rejected(schema(LINKED_LIST).check(value)).code == "decode.limit"
    while value is not None:  # taken apart, because freeing it at once would recurse
        value = value["next"]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["A", "2026-01-01"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["f0", "f1", "int", "string", "n0.T0", "x"]), inner, max_size=3)
    ),
    max_leaves=10,
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(schemas(), st.lists(json_values, min_size=3, max_size=3))
def test_any_value_is_good_or_has_a_rejection(declared: Any, values: list[Any]) -> None:
    checked = schema(declared)
    for value in [*values, msgspec.json.decode(b"[" * 400 + b"]" * 400)]:
        rejection = checked.check(value)
        if rejection is not None:
            assert rejection.code in ("schema.mismatch", "decode.limit")
            assert rejection.message.isprintable()
            assert len(rejection.message) <= 2_000


def test_branches_that_share_what_they_hold_are_not_tried_twice_as_often_with_each_level() -> None:
    """Without memoization, each level doubles the work and this test does not end."""
    sides: list[dict[str, Any]] = [
        {"name": "left", "type": ["null", "Sum", "Product"]},
        {"name": "kind", "type": "int"},
    ]
    both = [
        "null",
        {
            "type": "record",
            "name": "Sum",
            "fields": [
                {
                    "name": "left",
                    "type": ["null", "Sum", {"type": "record", "name": "Product", "fields": [{**sides[0]}, sides[1]]}],
                },
                {"name": "kind", "type": "string"},
            ],
        },
    ]
    bottom: Any = {"left": None, "kind": []}
    good: Any = {"left": None, "kind": 1}
    for _ in range(150):
        bottom = {"left": bottom, "kind": 1}
        good = {"left": good, "kind": 1}
    expression = schema({"type": "record", "name": "Root", "fields": [{"name": "e", "type": both}, sides[0]]})
    assert rejected(expression.check({"e": None, "left": bottom})).path is not None
    assert expression.check({"e": None, "left": good}) is None
    node = {"type": "record", "name": "Node", "fields": [{"name": "Node", "type": ["null", "Node"]}]}
    chain: Any = {"Node": 5}
    for _ in range(150):
        chain = {"Node": chain}
    assert schema(node).check(chain) is not None


@pytest.mark.slow
def test_a_body_that_would_take_too_many_attempts_is_refused() -> None:
    branches = [{"type": "record", "name": f"R{n}", "fields": [{"name": f"f{n}", "type": "int"}]} for n in range(500)]
    many = schema({"type": "array", "items": branches})
    assert many.check([{"f499": 1}] * 10) is None
    assert rejected(many.check([{"f499": 1} for _ in range(2_000)])).code == "decode.limit"
    assert many.check([{"f499": 1} for _ in range(100)]) is None
