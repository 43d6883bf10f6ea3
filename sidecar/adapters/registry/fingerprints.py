"""The fingerprint of a registered schema, for finding the one that a single-object encoded event names."""

from __future__ import annotations

from sidecar.decoding.formats.avro.avro_format import KIND, parse_registered
from sidecar.decoding.formats.avro.fingerprint import fingerprint
from sidecar.decoding.formats.schema_format import UnusableSchema
from sidecar.domain.ports.registry import RegisteredSchema


def fingerprint_of(schema: RegisteredSchema) -> int | None:
    """CRC-64-AVRO; None for what is no usable Avro schema."""
    if schema.kind != KIND:
        return None
    try:
        return fingerprint(parse_registered(schema))
    except UnusableSchema:
        return None
