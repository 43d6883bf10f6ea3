"""The port of schema formats: a format that only tests have decodes, checks and describes events."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from sidecar.decoding.formats.avro.outline import outline_text
from sidecar.decoding.formats.schema_format import (
    MAX_OUTLINE_LINES,
    EditedPayload,
    FieldSelection,
    OutlineLine,
    SelfDescribedValue,
    UnusableSchema,
    ValueEdit,
)
from sidecar.domain.json_path import PathFault
from sidecar.domain.model import SchemaRef
from sidecar.domain.ports.registry import RegisteredSchema
from tests.support.decoding import Court, confluent, order, record
from tests.support.schema_formats import FORMATS


class PairsSchema:
    """A schema that is a list of field names, separated by commas. Its payloads are `name=text` pairs, separated by
    semicolons."""

    def __init__(self, schema: RegisteredSchema) -> None:
        if not schema.text:
            raise UnusableSchema("expected names, found an empty text")
        self.name = "shop.Pairs"
        self.fields = frozenset(schema.text.split(","))

    def decode(self, data: bytes, start: int) -> Any:
        pairs = [pair.partition("=") for pair in data[start:].decode("utf-8", "replace").split(";")]
        if any(not equals for _, equals, _ in pairs):
            return PathFault("decode.malformed", "expected name=text").within(f".{pairs[-1][0]}")
        return {name: text for name, _, text in pairs}

    def project(self, selection: FieldSelection, decode: Callable[..., Any]) -> None:
        return None

    def check(self, value: Any) -> PathFault | None:
        for name in sorted(self.fields):
            if not isinstance(value.get(name), str):
                return PathFault("schema.mismatch", "expected text").within(f".{name}")
        return None

    def encode(self, value: Any) -> bytes:
        return ";".join(f"{name}={text}" for name, text in value.items()).encode()

    def deprecated_fields(self) -> frozenset[str]:
        return frozenset()

    def find_read_fault(self, value: Any, original: object) -> PathFault | None:
        return None

    def find_write_fault(self, value: Any, original: object) -> PathFault | None:
        return None


class PairsFormat:
    """A schema format that only the tests have."""

    def compile(self, schema: RegisteredSchema) -> PairsSchema:
        return PairsSchema(schema)

    def outline(self, text: str) -> list[OutlineLine]:
        return [OutlineLine(1, name, "text") for name in sorted(text.split(","))]

    def read_self_described(self, data: bytes) -> SelfDescribedValue | None:
        return None

    def edit_self_described(self, data: bytes, edits: Sequence[ValueEdit]) -> EditedPayload | None:
        return None


@pytest.fixture
def it() -> Iterator[Court]:
    court = Court(formats={**FORMATS, "TEST": PairsFormat()})
    yield court
    court.close()


def test_events_of_another_format_are_decoded_through_the_fast_path(it: Court) -> None:
    id = it.id_of("orders-value", "eventId,eventType,aggregateId", "TEST")
    decoded = it.one(record(confluent(id, b"eventId=e-1;eventType=Paid;aggregateId=o-7")))
    assert decoded.body == {"eventId": "e-1", "eventType": "Paid", "aggregateId": "o-7"}
    event = decoded.event
    assert (event.event_id, event.type, event.aggregate_id, event.unchecked) == ("e-1", "Paid", "o-7", False)
    assert event.rejection is None
    assert event.schema is not None
    assert (event.schema.subject, event.schema.version) == ("orders-value", 1)


def test_a_fault_of_another_format_is_a_rejection_with_its_path(it: Court) -> None:
    id = it.id_of("orders-value", "a,b", "TEST")
    rejection = it.one(record(confluent(id, b"a=1;b"))).event.rejection
    assert rejection is not None
    assert (rejection.code, rejection.path) == ("decode.malformed", "b")
    assert rejection.message == "b: expected name=text (orders-value v1)"


def test_json_is_checked_by_another_format_with_a_path(it: Court) -> None:
    it.register("orders-value", "eventId,total", "TEST")
    assert it.one(record({"eventId": "e-1", "total": "12"})).event.rejection is None
    rejection = it.one(record({"eventId": "e-1", "total": 12})).event.rejection
    assert rejection is not None
    assert (rejection.code, rejection.path) == ("schema.mismatch", "total")


def test_another_format_encodes_and_describes(it: Court) -> None:
    it.register("orders-value", "a", "TEST")
    schema = it.one(record({"a": "x"})).event.schema
    assert schema is not None
    registered = it.registered(schema)
    compiled = it.catalog.compile(registered)
    assert not isinstance(compiled, UnusableSchema)
    assert compiled.encode({"a": "x"}) == b"a=x"
    assert it.catalog.outline(registered) == [OutlineLine(1, "a", "text")]


def test_a_text_that_its_format_refuses_leaves_events_unchecked(it: Court) -> None:
    id = it.id_of("orders-value", "", "TEST")
    event = it.one(record(confluent(id, b"a=1"))).event
    assert (event.unchecked, event.rejection) == (True, None)


def test_a_schema_without_a_format_leaves_events_unchecked(it: Court) -> None:
    id = it.id_of("orders-value", "syntax = 'proto3';", "PROTOBUF")
    event = it.one(record(confluent(id, b"\x00\x0a\x01x"))).event
    assert (event.unchecked, event.rejection) == (True, None)


def test_avro_is_described_with_types_and_defaults(it: Court) -> None:
    declared = {
        "type": "record",
        "name": "Order",
        "namespace": "shop",
        "fields": [
            {"name": "items", "type": {"type": "array", "items": {"type": "record", "name": "Item", "fields": [
                {"name": "qty", "type": "int", "default": 1}]}}},
            {"name": "note", "type": ["null", "string"]},
        ],
    }  # fmt: skip
    ref = it.register("orders-value", json.dumps(declared))
    assert [(line.depth, line.name, line.type) for line in it.catalog.outline(it.registered(ref))] == [
        (0, "shop.Order", "record"),
        (1, "items", "array of record Item"),
        (2, "qty", "int = 1"),
        (1, "note", "null | string"),
    ]
    assert it.one(record(order(), stream="others")).event.unchecked


def test_a_schema_without_a_format_is_described_by_its_text(it: Court) -> None:
    schema = RegisteredSchema(SchemaRef("orders-value", 1, 1), "PROTOBUF", "syntax = 'proto3';\nmessage Order {}")
    assert [line.name for line in it.catalog.outline(schema)] == ["syntax = 'proto3';", "message Order {}"]


@pytest.mark.parametrize("text", ["", "no json", "[" * 5_000, '{"type": 3}', '["null", {"type": "record"}]', "3"])
def test_a_text_that_is_no_schema_has_an_outline_too(text: str) -> None:
    assert outline_text(text)


def test_the_outline_of_a_deep_schema_is_bounded() -> None:
    deep = '{"type":"array","items":' * 300 + '"int"' + "}" * 300
    assert 0 < len(outline_text(deep)) <= MAX_OUTLINE_LINES
