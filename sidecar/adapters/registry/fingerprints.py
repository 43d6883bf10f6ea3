"""Fingerprint of a registered schema, to find the schema of a single-object encoded event."""

from __future__ import annotations

from sidecar.decoding.formats.avro.avro_format import KIND, parse_registered
from sidecar.decoding.formats.avro.fingerprint import fingerprint
from sidecar.decoding.formats.schema_format import UnusableSchema
from sidecar.domain.ports.registry import RegisteredSchema


def fingerprint_of(schema: RegisteredSchema) -> int | None:
    """Return the CRC-64-AVRO fingerprint of a schema; None if it is not a usable Avro schema."""
    if schema.kind != KIND:
        return None
    try:
        return fingerprint(parse_registered(schema))
    except UnusableSchema:
        return None
