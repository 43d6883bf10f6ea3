"""Readers of other schema versions: faults are found exactly where Avro's own resolution fails."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.decoding.formats.avro.avro_format import AvroSchema


def record(*fields: dict[str, Any], name: str = "Order") -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields)}


def compiled(schema: Any) -> AvroSchema:
    return AvroSchema((json.dumps(schema),))


def field(name: str, type: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": type, **more}


OLD = record(
    field("id", "int"),
    field("note", ["null", "string"], default=None),
    field("tags", {"type": "array", "items": "int"}),
)
VALUE = {"id": 7, "note": "x", "tags": [1, 2]}
COLORS = {"type": "enum", "name": "Color", "symbols": ["RED", "BLUE"]}


def read_fault(old: Any, new: Any, value: Any) -> tuple[str | None, str] | None:
    fault = compiled(new).find_read_fault(value, compiled(old))
    return None if fault is None else (fault.path, fault.message)


def write_fault(old: Any, new: Any, value: Any) -> tuple[str | None, str] | None:
    fault = compiled(new).find_write_fault(value, compiled(old))
    return None if fault is None else (fault.path, fault.message)


@pytest.mark.parametrize(
    ("new", "path"),
    [
        (record(*OLD["fields"], field("added", "string", default="")), None),
        (record(*OLD["fields"], field("added", "string")), "added"),
        (record(field("id", "long"), *OLD["fields"][1:]), None),
        (record(field("id", "string"), *OLD["fields"][1:]), "id"),
        (record(field("id", "int"), field("note", "string"), OLD["fields"][2]), None),
        (record(field("id", "int"), field("note", "int"), OLD["fields"][2]), "note"),
        (record(field("number", "int", aliases=["id"])), None),
        (record(field("tags", {"type": "array", "items": "string"})), "tags[0]"),
        (record(field("id", "int"), name="shop.Order"), None),
        (record(field("id", "int"), name="Invoice"), ""),
    ],
)
def test_a_reader_of_the_new_version(new: Any, path: str | None) -> None:
    fault = read_fault(OLD, new, VALUE)
    assert (None if fault is None else fault[0] or "") == path


def test_only_what_the_event_has_can_fail() -> None:
    new = record(field("id", "int"), field("note", "string"))
    assert read_fault(OLD, new, VALUE) is None
    assert read_fault(OLD, new, VALUE | {"note": None}) == ("note", "expected string, and the event has null")
    assert read_fault(OLD, record(field("tags", {"type": "array", "items": "string"})), VALUE | {"tags": []}) is None


def test_symbols_of_an_enum() -> None:
    old = record(field("color", COLORS))
    fewer = record(field("color", COLORS | {"symbols": ["RED"]}))
    assert read_fault(old, fewer, {"color": "RED"}) is None
    fault = read_fault(old, fewer, {"color": "BLUE"})
    assert fault is not None
    assert fault[0] == "color"
    assert "BLUE" not in fault[1], "a message quotes no value"
    assert (
        read_fault(old, record(field("color", COLORS | {"symbols": ["RED"], "default": "RED"})), {"color": "BLUE"})
        is None
    )
    assert write_fault(old, fewer, {"color": "BLUE"}) is not None


@pytest.mark.parametrize(
    ("new", "path"),
    [
        (record(*OLD["fields"], field("added", "string")), None),
        (record(*OLD["fields"][1:]), "id"),
        (record(OLD["fields"][0], OLD["fields"][2]), None),
        (record(field("id", "long"), *OLD["fields"][1:]), "id"),
        (record(field("id", ["null", "int"]), *OLD["fields"][1:]), None),
        (record(*OLD["fields"][:2], field("tags", {"type": "array", "items": "long"})), "tags[0]"),
    ],
)
def test_a_reader_of_the_old_version(new: Any, path: str | None) -> None:
    fault = write_fault(OLD, new, VALUE)
    assert (None if fault is None else fault[0] or "") == path


_NAMES = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"]
_TYPES = st.recursive(
    st.sampled_from(_NAMES),
    lambda inner: st.one_of(
        st.builds(lambda items: {"type": "array", "items": items}, inner),
        st.builds(lambda values: {"type": "map", "values": values}, inner),
        st.lists(st.sampled_from(_NAMES), min_size=1, max_size=3, unique=True),
    ),
    max_leaves=3,
)


def _values(type: Any) -> st.SearchStrategy[Any]:
    match type:
        case "null":
            return st.none()
        case "boolean":
            return st.booleans()
        case "int" | "long":
            return st.integers(-1000, 1000)
        case "float" | "double":
            return st.sampled_from([0.5, -2.0, 1e9])
        case "bytes" | "string":
            return st.text("abc", max_size=3)
        case list():
            return st.one_of([_values(each) for each in type])
        case {"type": "array", "items": items}:
            return st.lists(_values(items), max_size=2)
        case {"type": "map", "values": values}:
            return st.dictionaries(st.text("ab", min_size=1, max_size=2), _values(values), max_size=2)
    raise AssertionError(type)


@given(st.data(), _TYPES, _TYPES)
def test_resolution_agrees_with_fastavro(data: st.DataObject, old_type: Any, new_type: Any) -> None:
    old, new = record(field("f", old_type)), record(field("f", new_type))
    value = {"f": data.draw(_values(old_type))}
    writer, reader = compiled(old), compiled(new)
    encoded = writer.encode(value)
    fault = reader.find_read_fault(value, writer)
    try:
        fastavro.schemaless_reader(BytesIO(encoded), fastavro.parse_schema(old), fastavro.parse_schema(new))
    except Exception:
        assert fault is not None or _is_lenient(old_type, new_type), (old, new, value)
    else:
        assert fault is None, (old, new, value, fault)


def _is_lenient(old_type: Any, new_type: Any) -> bool:
    """Return True if fastavro refuses schemas that only fail for other data than this."""
    return isinstance(old_type, list | dict) or isinstance(new_type, list | dict)
