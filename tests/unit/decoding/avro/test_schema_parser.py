"""Schema texts: names and references as they are registered, and texts that are no schemas."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.decoding.formats.avro import schema_parser
from sidecar.decoding.formats.avro.schema_parser import (
    MAX_DEPTH,
    MAX_SCHEMA_CHARACTERS,
    AvroEnum,
    AvroFixed,
    AvroPrimitive,
    AvroRecord,
    AvroUnion,
)
from sidecar.decoding.formats.avro.schema_survey import survey
from sidecar.decoding.formats.schema_format import schema_texts
from sidecar.domain.model import SchemaRef
from sidecar.domain.ports.registry import RegisteredSchema
from tests.support.avro_payloads import LINKED_LIST, ORDER, registered, schema


def parse(declared: Any, *references: Any) -> schema_parser.Type:
    return schema_parser.parse(json.dumps(declared), [json.dumps(each) for each in references])


def fields(of: schema_parser.Type) -> dict[str, schema_parser.Type]:
    assert isinstance(of, AvroRecord)
    return {each.name: each.type for each in of.fields}


def record(name: str, **types: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": key, "type": of} for key, of in types.items()]}


def test_names_resolve_by_namespace_then_without() -> None:
    nested = {**record("Item", near="Money", far="other.Money", plain="Bare"), "namespace": "shop"}
    root = parse(
        ["null", nested],
        {**record("shop.Money"), "doc": "near"},
        record("other.Money"),
        record("Bare"),
    )
    assert isinstance(root, AvroUnion)
    found = {name: of.name for name, of in fields(root.branches[1]).items() if isinstance(of, AvroRecord)}
    assert found == {"near": "shop.Money", "far": "other.Money", "plain": "Bare"}


def test_names_inherit_the_enclosing_namespace_unless_it_is_empty() -> None:
    inner = {"type": "fixed", "name": "F", "size": 1}
    outer = {"type": "enum", "name": "E", "symbols": ["A"], "namespace": ""}
    found = fields(parse({**record("a.b.R", inner=inner, outer=outer), "namespace": "ignored"}))
    assert isinstance(found["inner"], AvroFixed)
    assert isinstance(found["outer"], AvroEnum)
    assert (found["inner"].name, found["outer"].name) == ("a.b.F", "E")


def test_the_same_type_reached_twice_is_no_error() -> None:
    money = {**record("shop.Money", cents="long")}
    one, two = record("shop.One", m="shop.Money"), record("shop.Two", m="shop.Money")
    both = ["shop.One", "shop.Two", money]
    assert isinstance(parse(both, money, one, money, two), AvroUnion)
    read = schema(both, money, one, money, two)
    assert read.unusable is None
    assert read.decode(b"\x02\x08", 0) == {"m": {"cents": 4}}
    assert read.decode(b"\x04\x08", 0) == {"cents": 4}


def test_a_redeclared_name_is_valid_from_there_on() -> None:
    first, second = record("T", a="int"), record("T", a="string")
    root = record("R", x=first, y=second, z="T")
    assert schema(root).decode(b"\x02\x02p\x02q", 0) == {"x": {"a": 1}, "y": {"a": "p"}, "z": {"a": "q"}}


def test_attributes_that_readers_ignore_make_no_schema_invalid() -> None:
    odd = record("R", a="int")
    odd["fields"][0] |= {"default": "wrong", "order": 7, "doc": [], "aliases": "none"}
    odd |= {"aliases": 5, "doc": {}, "props": [[]]}
    assert schema(odd).decode(b"\x02", 0) == {"a": 1}


def test_invalid_logical_types_are_ignored() -> None:
    for declared in (
        {"type": "bytes", "logicalType": "decimal"},
        {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 5},
        {"type": "bytes", "logicalType": "decimal", "precision": 10**9},
        {"type": "string", "logicalType": "date"},
        {"type": "int", "logicalType": {}},
    ):
        root = parse(declared)
        assert isinstance(root, AvroPrimitive)
        assert root.logical is None


def test_types_may_be_wrapped_in_objects() -> None:
    assert schema({"type": {"type": {"type": "array", "items": {"type": ["null", "int"]}}}}).decode(
        b"\x02\x02\x04\x00", 0
    ) == [2]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('"strin"', "expected a known type, found the name 'strin'"),
        ("5", "expected a name, an object or a list, found 5"),
        ("{}", "expected a type, found None"),
        ('{"type": 7}', "expected a type, found 7"),
        ('{"type": "record", "fields": []}', "expected a name, found None"),
        ('{"type": "record", "name": "R", "fields": {}}', "R.fields: expected a list"),
        ('{"type": "record", "name": "R", "fields": [{"name": "a"}]}', "expected fields with name and type"),
        (
            '{"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}, {"name": "a", "type": "int"}]}',
            "the field 'a' is declared twice",
        ),
        ('{"type": "record", "name": "R", "fields": [{"name": "a", "type": "Gone"}]}', ".a: expected a known type"),
        ('{"type": "enum", "name": "E", "symbols": "A"}', "E.symbols: expected a list of names"),
        ('{"type": "fixed", "name": "F", "size": -1}', "F.size: expected a number of bytes"),
        ('{"type": "fixed", "name": "F", "size": true}', "F.size: expected a number of bytes"),
        ('["null", ["null"]]', "expected no union directly in a union"),
        ('{"type": "array"}', ".items: expected"),
    ],
)
def test_texts_that_are_no_schema_are_refused_with_a_reason(text: str, reason: str) -> None:
    unusable = registered(text).unusable
    assert unusable is not None
    assert reason in unusable
    assert len(unusable) <= 1_000


def test_texts_are_bounded_in_size_depth_and_types() -> None:
    deep: Any = "int"
    for _ in range(MAX_DEPTH + 1):
        deep = {"type": "array", "items": deep}
    chain = [record("R0")]
    chain += [record(f"R{n}", inner=f"R{n - 1}") for n in range(1, 5_000)]
    for read in (
        registered(json.dumps("x" * MAX_SCHEMA_CHARACTERS)),
        schema(deep),
        schema(chain),
        schema([record(f"R{n}", a="int", b="int") for n in range(8_000)]),
        schema(record("R", **{"x" * 100 + str(n): "int" for n in range(30_000)})),
    ):
        assert read.unusable is not None
        assert "at most" in read.unusable
    assert schema(deep["items"]).unusable is None


@given(
    st.recursive(
        st.sampled_from(["record", "enum", "int", "R", "", "null", None, 5, True, "logicalType"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["type", "name", "fields", "items", "values", "symbols", "size", "namespace", "logicalType"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_is_a_schema_or_unusable(declared: Any) -> None:
    read = schema(declared)
    if read.unusable is None:
        read.decode(b"\x02\x02", 0)
        read.check({})


def test_schemas_that_can_be_abused_are_recognised_once() -> None:
    assert survey(parse(ORDER))[:2] == (False, True)
    assert survey(parse(LINKED_LIST))[:2] == (True, False)
    assert not survey(parse({"type": "array", "items": "null"})).safe
    assert not survey(parse({"type": "array", "items": ["null", {**record("E")}]})).recursive
    assert survey(parse({"type": "array", "items": ["null", {**record("E")}]})).safe
    assert not survey(parse({"type": "map", "values": record("R", **{f"n{n}": "null" for n in range(9)})})).safe
    assert survey(parse({"type": "map", "values": "null"})).safe


def test_references_are_collected_once_dependencies_first() -> None:
    def refer(text: str, *references: RegisteredSchema) -> RegisteredSchema:
        return RegisteredSchema(SchemaRef(None, None, None), "AVRO", text, references)

    a = refer("a")
    b, c = refer("b", a), refer("c", a)
    assert schema_texts(refer("d", b, c, a)) == ("a", "b", "c", "d")
    wide = refer("0")
    for number in range(1, 60):
        wide = refer(str(number), wide, wide)
    assert len(schema_texts(wide)) == 60
