"""The fingerprint of a registered schema, for finding the one that a single-object encoded event names."""

from __future__ import annotations

from sidecar.decoding.avro import Unusable
from sidecar.decoding.fingerprint import fingerprint
from sidecar.decoding.schema import parsed
from sidecar.ports import RegisteredSchema


def fingerprint_of(schema: RegisteredSchema) -> int | None:
    """CRC-64-AVRO; None for what is no usable Avro schema."""
    if schema.kind != "AVRO":
        return None
    try:
        return fingerprint(parsed(schema))
    except Unusable:
        return None
