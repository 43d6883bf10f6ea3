"""Schemas and payloads for tests: a schema from JSON, its bytes by fastavro's own writer."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

from fastavro import parse_schema, schemaless_writer

from sidecar.decoding.schema import BoundSchema
from sidecar.domain.model import Rejection, SchemaRef
from sidecar.domain.ports.registry import RegisteredSchema
from tests.support.schema_formats import bind_schema


def schema(declared: Any, *references: Any) -> BoundSchema:
    """Compile a schema and what it refers to, as if registered as orders-value v3."""
    return registered(json.dumps(declared), *map(json.dumps, references))


def registered(*texts: str) -> BoundSchema:
    """Build a registered schema from the first text, with the others as its references."""
    referred = tuple(RegisteredSchema(SchemaRef("other", 1, 2), "AVRO", text) for text in texts[1:])
    return bind_schema(RegisteredSchema(SchemaRef("orders-value", 3, 7), "AVRO", texts[0], referred))


def encoded(declared: Any, value: Any) -> bytes:
    out = BytesIO()
    schemaless_writer(out, parse_schema(declared), value)
    return out.getvalue()


def rejected(outcome: Any) -> Rejection:
    assert isinstance(outcome, Rejection), outcome
    assert len(outcome.message) <= 2_000
    assert outcome.message.isprintable()
    return outcome


ORDER: dict[str, Any] = {
    "type": "record",
    "name": "Order",
    "namespace": "shop",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "total", "type": "double"},
        {"name": "placed", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "status", "type": {"type": "enum", "name": "Status", "symbols": ["NEW", "PAID"]}},
        {"name": "note", "type": ["null", "string"], "default": None},
        {
            "name": "items",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "Item",
                    "fields": [{"name": "sku", "type": "string"}, {"name": "qty", "type": "int"}],
                },
            },
        },
        {"name": "labels", "type": {"type": "map", "values": "string"}, "default": {}},
    ],
}
LINKED_LIST: dict[str, Any] = {
    "type": "record",
    "name": "Node",
    "fields": [{"name": "value", "type": "int"}, {"name": "next", "type": ["null", "Node"]}],
}
