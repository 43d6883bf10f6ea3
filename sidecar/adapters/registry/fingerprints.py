"""The fingerprint of a registered schema, for finding the one that a single-object encoded event names."""

from __future__ import annotations

from sidecar.decoding.formats.avro.fingerprint import fingerprint
from sidecar.decoding.formats.avro.schema_parser import UnusableSchema
from sidecar.decoding.schema import parsed
from sidecar.domain.ports.registry import RegisteredSchema


def fingerprint_of(schema: RegisteredSchema) -> int | None:
    """CRC-64-AVRO; None for what is no usable Avro schema."""
    if schema.kind != "AVRO":
        return None
    try:
        return fingerprint(parsed(schema))
    except UnusableSchema:
        return None
