"""The schema formats that tests use."""

from __future__ import annotations

from sidecar.decoding.formats.avro.avro_format import AvroFormat
from sidecar.decoding.formats.schema_format import SchemaFormats, compile_schema
from sidecar.decoding.schema import BoundSchema
from sidecar.domain.ports.registry import RegisteredSchema

FORMATS: SchemaFormats = {"AVRO": AvroFormat()}


def bind_schema(registered: RegisteredSchema) -> BoundSchema:
    """Compile a registered schema and bind it to its own reference."""
    return BoundSchema(registered, compile_schema(registered, FORMATS))
