"""Avro bytes are decoded to values, or to rejections with the fault and its path."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pytest

from sidecar.decoding.formats.avro.payload_limits import MAX_DEPTH, MAX_VALUES
from tests.support.avro_payloads import LINKED_LIST, ORDER, encoded, rejected, schema

VALUE: dict[str, Any] = {
    "id": "o-1",
    "total": 1.5,
    "placed": datetime(2026, 1, 31, 12, tzinfo=UTC),
    "status": "PAID",
    "note": "müde",
    "items": [{"sku": "a", "qty": 1}, {"sku": "b", "qty": -2}],
    "labels": {"x": "y"},
}
BYTES = encoded(ORDER, VALUE)


def test_a_value_is_read_from_where_it_starts() -> None:
    order = schema(ORDER)
    assert order.decode(BYTES, 0) == VALUE
    assert order.decode(b"\x00\x00\x00\x00\x07" + BYTES, 5) == VALUE
    assert (order.name, order.kind, order.unusable) == ("shop.Order", "AVRO", None)
    assert order.fields == {"id", "total", "placed", "status", "note", "items", "labels"}


@pytest.mark.parametrize("cut", range(len(BYTES)))
def test_every_truncation_is_reported_as_one(cut: int) -> None:
    assert rejected(schema(ORDER).decode(BYTES[:cut], 0)).code == "decode.truncated"


def test_a_rejection_names_the_path_and_the_schema() -> None:
    order = schema(ORDER)
    broken = BYTES.replace(b"\x02b\x03", b"\x02\xff\x03")
    rejection = rejected(order.decode(broken, 0))
    assert rejection.code == "decode.malformed"
    assert rejection.path == "items[1].sku"
    assert rejection.message == "items[1].sku: expected UTF-8, found the byte 0xff (orders-value v3)"


def test_bytes_left_over_are_a_rejection() -> None:
    rejection = rejected(schema(ORDER).decode(BYTES + b"abc", 0))
    assert rejection.code == "decode.trailing_bytes"
    assert "found 3 more" in rejection.message


def test_starting_beyond_the_end_is_truncated() -> None:
    assert rejected(schema("string").decode(b"ab", 7)).code == "decode.truncated"
    assert rejected(schema("null").decode(b"ab", 7)).code in ("decode.truncated", "decode.trailing_bytes")


@pytest.mark.parametrize(
    ("declared", "payload", "code"),
    [
        ("string", b"\x01", "decode.malformed"),
        ("string", b"\x09abcdefgh", "decode.malformed"),
        ("bytes", b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01abc", "decode.truncated"),
        ("string", b"\x08\xed\xa0\x80a", "decode.malformed"),
        ("long", b"\x80" * 100, "decode.malformed"),
        ("long", b"\x80", "decode.truncated"),
        ("string", b"\xff" * 11 + b"\x01", "decode.malformed"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, b"\x02", "decode.malformed"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, b"\x01", "decode.malformed"),
        (["null", "int"], b"\x04", "decode.malformed"),
        ({"type": "fixed", "name": "F", "size": 5}, b"abc", "decode.truncated"),
        ({"type": "map", "values": "int"}, b"\x02\x02\xff\x02\x00", "decode.malformed"),
        ([], b"\x00", "decode.malformed"),
    ],
)
def test_invalid_avro_is_reported(declared: Any, payload: bytes, code: str) -> None:
    assert rejected(schema(declared).decode(payload, 0)).code == code


@pytest.mark.parametrize(
    ("declared", "payload", "value"),
    [
        ({"type": "int", "logicalType": "date"}, b"\x02", date(1970, 1, 2)),
        ({"type": "int", "logicalType": "date"}, b"\xfe\xff\xff\xff\x0f", 2**31 - 1),
        ({"type": "int", "logicalType": "time-millis"}, b"\x02", time(0, 0, 0, 1000)),
        ({"type": "int", "logicalType": "time-millis"}, b"\x01", -1),
        ({"type": "long", "logicalType": "time-micros"}, b"\x02", time(0, 0, 0, 1)),
        ({"type": "long", "logicalType": "timestamp-micros"}, b"\x02", datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC)),
        ({"type": "long", "logicalType": "local-timestamp-millis"}, b"\x02", datetime(1970, 1, 1, 0, 0, 0, 1000)),
        ({"type": "long", "logicalType": "timestamp-millis"}, b"\xfe" + b"\xff" * 8 + b"\x01", 2**63 - 1),
        ({"type": "long", "logicalType": "timestamp-nanos"}, b"\x02", 1),
        ({"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}, b"\x04\x30\x39", Decimal("123.45")),
        ({"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}, b"\x00", Decimal("0.00")),
        ({"type": "bytes", "logicalType": "decimal"}, b"\x04\x30\x39", b"09"),
        ({"type": "string", "logicalType": "uuid"}, b"\x02a", "a"),
        (
            {"type": "fixed", "name": "U", "size": 16, "logicalType": "uuid"},
            b"\x12" * 16,
            "12121212-1212-1212-1212-121212121212",
        ),
        ({"type": "string", "logicalType": ["?"]}, b"\x02a", "a"),
        (["null", {"type": "int", "logicalType": "date"}], b"\x02\x00", date(1970, 1, 1)),
    ],
)
def test_logical_types_without_a_python_type_keep_their_plain_value(declared: Any, payload: bytes, value: Any) -> None:
    assert schema(declared).decode(payload, 0) == value


def test_a_decimal_keeps_every_digit() -> None:
    declared = {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}
    unscaled = 10**60 + 1
    payload = bytes([26 * 2]) + unscaled.to_bytes(26, "big")
    assert schema(declared).decode(payload, 0) == Decimal("1" + "0" * 58 + ".01")


def test_a_linked_list_is_read_to_a_bounded_depth() -> None:
    node = schema(LINKED_LIST)
    deep = b"\x02\x02" * (MAX_DEPTH - 1) + b"\x02\x00"
    value = node.decode(deep, 0)
    for _ in range(MAX_DEPTH - 1):
        assert value["value"] == 1
        value = value["next"]
    assert value["next"] is None
    rejection = rejected(node.decode(b"\x02\x02" * MAX_DEPTH + b"\x02\x00", 0))
    assert rejection.code == "decode.limit"
    assert rejection.path is not None


NOTHING = {"type": "record", "name": "Nothing", "fields": []}
NULLS = {
    "type": "record",
    "name": "Nulls",
    "fields": [{"name": "b", "type": "boolean"}, *({"name": f"n{n}", "type": "null"} for n in range(1_000))],
}
CLAIM = b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"
"""A count of 2**63 - 1 items."""


@pytest.mark.parametrize(
    ("declared", "payload"),
    [
        ({"type": "array", "items": "null"}, CLAIM + b"\x00"),
        ({"type": "array", "items": NOTHING}, CLAIM + b"\x00"),
        ({"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}}, CLAIM + b"\x00"),
        ({"type": "array", "items": "null"}, b"\x01\x00" * 3 + b"\xfd\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00\x00"),
        ({"type": "array", "items": "null"}, (b"\x80\xea\x30" * 3) + b"\x00"),
        ({"type": "array", "items": NULLS}, b"\xa0\x9c\x01" + b"\x01" * 10_000 + b"\x00"),
        ({"type": "map", "values": NULLS}, b"\xa0\x9c\x01" + b"\x00\x01" * 10_000 + b"\x00"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 9}, b"\xc0\xcf\x24" + b"\x7f" * 300_000),
        ({"type": "array", "items": "int"}, b"\x80\x89\x7a" + b"\x02" * (MAX_VALUES + 1)),
    ],
    ids=range(9),
)
def test_few_bytes_cannot_demand_much(declared: Any, payload: bytes) -> None:
    assert rejected(schema(declared).decode(payload, 0)).code == "decode.limit"


def test_small_claims_of_items_without_bytes_are_fine() -> None:
    assert schema({"type": "array", "items": "null"}).decode(b"\x06\x00", 0) == [None, None, None]
    assert schema({"type": "array", "items": NOTHING}).decode(b"\x04\x00", 0) == [{}, {}]


def test_a_large_honest_payload_is_read() -> None:
    value = {
        "id": "x" * (MAX_VALUES + 10),
        "total": 0.0,
        "placed": VALUE["placed"],
        "status": "NEW",
        "note": None,
    }
    value |= {"items": [{"sku": "s", "qty": n} for n in range(10_000)], "labels": {}}
    assert schema(ORDER).decode(encoded(ORDER, value), 0) == value


def test_a_fault_far_inside_keeps_its_code_and_loses_its_path() -> None:
    items = {"type": "array", "items": {"type": "record", "name": "I", "fields": [{"name": "n", "type": "int"}]}}
    declared = {"type": "record", "name": "R", "fields": [{"name": "items", "type": items}]}
    good = encoded(declared, {"items": [{"n": 1}] * 200_000})
    assert len(schema(declared).decode(good, 0)["items"]) == 200_000
    for payload, code in (
        (good[:-1], "decode.truncated"),
        (good[:-100], "decode.truncated"),
        (good + b"\0" * 3, "decode.trailing_bytes"),
        (good[:-2] + b"\xff" * 11, "decode.malformed"),
    ):
        rejection = rejected(schema(declared).decode(payload, 0))
        assert (rejection.code, rejection.path) == (code, None)
    near = rejected(schema(declared).decode(encoded(declared, {"items": [{"n": 1}] * 900})[:-100], 0))
    assert near.path is not None


def test_a_schema_that_unfolds_without_end_is_bounded() -> None:
    # Thirty record types, each with two of the one before: a billion values in zero bytes.
    declared: Any = {"type": "record", "name": "R0", "fields": [{"name": "a", "type": "null"}]}
    for n in range(1, 31):
        fields = [{"name": "a", "type": declared}, {"name": "b", "type": f"R{n - 1}"}]
        declared = {"type": "record", "name": f"R{n}", "fields": fields}
    assert rejected(schema(declared).decode(b"", 0)).code == "decode.limit"
    itself = {"type": "record", "name": "R", "fields": [{"name": "r", "type": "R"}]}
    assert rejected(schema(itself).decode(b"", 0)).code == "decode.limit"


def test_nothing_overflows_the_stack_of_a_process() -> None:
    """Runs in a process of its own, because the fault is a segmentation fault."""
    script = """
import json
from sidecar.domain.model import Rejection, SchemaRef
from sidecar.domain.ports.registry import RegisteredSchema
from tests.support.schema_formats import bind_schema

def hostile(declared, payload):
    schema = bind_schema(RegisteredSchema(SchemaRef("s", 1, 1), "AVRO", json.dumps(declared)))
    outcome = schema.decode(payload, 0)
    assert isinstance(outcome, Rejection), outcome
    print(outcome.code)

node = {"type": "record", "name": "N", "fields": [{"name": "v", "type": "int"}, {"name": "n", "type": ["null", "N"]}]}
hostile(node, b"\\x02\\x02" * 500_000)
tree = {"type": "record", "name": "T", "fields": [{"name": "t", "type": {"type": "array", "items": "T"}}]}
hostile(tree, b"\\x02" * 1_000_000)
names = {"type": "record", "name": "M", "fields": [{"name": "m", "type": {"type": "map", "values": "M"}}]}
hostile(names, b"\\x02\\x00" * 500_000)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["decode.limit"] * 3
