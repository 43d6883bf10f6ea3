"""CRC-64-AVRO fingerprint, by which Avro's single-object encoding identifies a schema.

It is computed over the Parsing Canonical Form (Avro 1.12 specification, "Schema Fingerprints").
"""

from __future__ import annotations

import json

from fastavro.schema import fingerprint as fastavro_fingerprint

from sidecar.decoding.formats.avro.schema_parser import (
    AvroArray,
    AvroEnum,
    AvroFixed,
    AvroMap,
    AvroPrimitive,
    AvroRecord,
    AvroUnion,
    Type,
)


def fingerprint(root: Type) -> int:
    """Compute the 64 bits as the specification's number; on the wire they are 8 bytes, little-endian."""
    return int.from_bytes(bytes.fromhex(fastavro_fingerprint(canonical_form(root), "CRC-64-AVRO")), "little")


def canonical_form(root: Type) -> str:
    """Write the Parsing Canonical Form: the parts that a reader needs, in a fixed notation."""
    return _write(root, set())


def _write(type: Type, written: set[str]) -> str:
    match type:
        case AvroPrimitive(name):
            return _text(name)
        case AvroArray(items):
            return f'{{"type":"array","items":{_write(items, written)}}}'
        case AvroMap(values):
            return f'{{"type":"map","values":{_write(values, written)}}}'
        case AvroUnion(branches):
            return f"[{','.join(_write(branch, written) for branch in branches)}]"
    if type.name in written:
        return _text(type.name)
    written.add(type.name)
    match type:
        case AvroEnum(name, symbols):
            return f'{{"name":{_text(name)},"type":"enum","symbols":[{",".join(map(_text, symbols))}]}}'
        case AvroFixed(name, size):
            return f'{{"name":{_text(name)},"type":"fixed","size":{size}}}'
        case AvroRecord(name, fields):
            inner = ",".join(f'{{"name":{_text(each.name)},"type":{_write(each.type, written)}}}' for each in fields)
            return f'{{"name":{_text(name)},"type":"record","fields":[{inner}]}}'


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
