"""Records as real libraries wrote them (`tests/fixtures/foreign`), and the expected fields of each.

One JSON object a line: `expected` has the fields; keys, values, header values and fields are in base64. Avro values
name schema ids of the original registry, which `with_ids` replaces.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from sidecar.domain.model import Headers, Record, SchemaRef
from sidecar.domain.position import Position

FOLDER = Path(__file__).parent.parent / "fixtures" / "foreign"
AV = {"type": "record", "name": "Av", "fields": [{"name": "eventId", "type": "string"}]}
ORDER_PLACED = {
    "type": "record",
    "name": "OrderPlaced",
    "namespace": "shop.py",
    "fields": [
        {"name": "eventId", "type": "string"},
        {"name": "aggregateId", "type": "string"},
        {"name": "total", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "note", "type": ["null", "string"], "default": None},
    ],
}
SCHEMAS: dict[str, Any] = {
    **{f"{topic}-value": AV for topic in ("py.av", "py.racex_a", "py.racex_b")},
    **{
        f"py.{topic}-value": ORDER_PLACED
        for topic in ("orders", "orders_hdr", "orders_key", "orders_hdrkey", "orders_strkey")
    },
    "py.jsonschema-value": None,
}
"""Avro schemas by subject. None: a JSON Schema."""
ENVELOPES: dict[str, dict[str, list[str]]] = {
    "bullmq": {"type": ["body:event"], "aggregate_id": ["body:jobId"]},
}
"""The `envelope` configuration that a library needs, by the prefix of its file's name."""


class ForeignRecord(Struct):
    """One line of a file."""

    record: Record
    expected: dict[str, Any]
    body_field: str = "payload"

    @property
    def is_letter(self) -> bool:
        """True for a dead letter, which is read from its stream, not decoded as an event."""
        return bool(self.expected.get("letter"))


def load(name: str) -> list[ForeignRecord]:
    """Read the records of a file, each at its own position."""
    return list(_lines(FOLDER / name))


def files() -> list[str]:
    """List the files' names."""
    return sorted(path.name for path in FOLDER.glob("*.ndjson"))


def _lines(path: Path) -> Iterator[ForeignRecord]:
    for line in path.read_text().splitlines():
        row = json.loads(line)
        expected = row["expected"]
        if "fields" in row:
            yield ForeignRecord(_entry(row), expected)
            continue
        headers = tuple([(name, _bytes(value)) for name, value in row["headers"]])
        position = Position("kafka", row["topic"], row["partition"], row["offset"])
        record = Record(position, _bytes(row["key"]), _bytes(row["value"]), headers, row["timestamp"])
        yield ForeignRecord(record, expected)


def _entry(row: dict[str, Any]) -> Record:
    fields: list[tuple[str, bytes | None]] = [
        ((_bytes(name) or b"").decode(), _bytes(value)) for name, value in row["fields"]
    ]
    at = next((index for index, (name, _) in enumerate(fields) if name == "payload"), None)
    value = None if at is None else fields[at][1]
    headers = tuple([field for index, field in enumerate(fields) if index != at])
    milliseconds, sequence = map(int, row["id"].split("-"))
    position = Position("redis", row["stream"], 0, milliseconds << 64 | sequence)
    return Record(position, None, value, headers, milliseconds, at or 0)


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else b64decode(text)


def with_ids(record: Record, ref: SchemaRef) -> Record:
    """Return the record with another registry's id (or GUID, in its header) of its value's schema."""
    guid, id = ref.guid, ref.id
    assert id is not None
    value = record.value
    if value is not None and value[:1] == b"\0":
        value = b"\0" + id.to_bytes(4, "big") + value[5:]
    headers: Headers = record.headers
    if guid is not None:
        headers = tuple(
            [
                (name, b"\x01" + bytes.fromhex(guid.replace("-", "")) if name == "__value_schema_id" else old)
                for name, old in headers
            ]
        )
    return replace(record, value=value, headers=headers)


def subject_of(record: Record) -> str | None:
    """Return the subject of the schema that a record's value names, as it was registered."""
    stream = record.position.stream
    origin = "py.av" if stream.startswith("py.av-") else stream
    return f"{origin}-value" if f"{origin}-value" in SCHEMAS else None


def envelope_for(name: str) -> dict[str, list[str]]:
    """Return the `envelope` configuration that a file needs."""
    return next((places for start, places in ENVELOPES.items() if name.startswith(start)), {})


def differences(expected: dict[str, Any], actual: Callable[[str], Any]) -> dict[str, tuple[Any, Any]]:
    """Compare every expected field; return those that differ, as (expected, actual)."""
    found = {}
    for name, right in expected.items():
        if name in ("letter", "note", "attempts_known_from_headers"):
            continue
        if name == "attempts" and expected.get("attempts_known_from_headers") is False:
            right = None
        if name == "status" and isinstance(right, str):
            right = right.partition(",")[0]
        told = actual(name)
        if told != right:
            found[name] = (right, told)
    return found
