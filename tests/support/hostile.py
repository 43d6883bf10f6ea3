"""Hostile records for tests and for the bench: few bytes that cost much, and large ones of every kind."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct

from tests.support.decoding import avro, confluent

Headers = Sequence[tuple[str, bytes]]
CHECKED_SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "Checked",
    "fields": [
        {"name": "a", "type": {"type": "array", "items": "int"}, "default": []},
        {"name": "eventId", "type": ["null", "string"], "default": None},
    ],
}
"""Schema of the stream on which JSON and unknown bytes are validated."""
CHECKED_STREAM, FREE_STREAM = "checked", "free"


class HostileRecord(Struct, frozen=True):
    """A record that costs too much without limits."""

    name: str
    value: bytes | None
    headers: Headers = ()
    schema: Any = None
    """Avro schema that wrote the value; None for other formats."""

    @property
    def stream(self) -> str:
        """The stream for which the schema is registered."""
        return FREE_STREAM if self.schema is None else f"avro-{self.name.replace(' ', '-')}"

    def framed(self, schema_id: int) -> bytes:
        """Return the value behind a schema id."""
        return confluent(schema_id, self.value or b"")


def hostile_records(size: int) -> Iterator[HostileRecord]:
    """Build records of about `size` bytes."""
    yield from _json(size)
    yield from _bytes(size)
    yield from _headers(size)
    yield from _wrapped(size)
    yield from _avro(size)


def _repeat(part: bytes, size: int, between: bytes = b"") -> bytes:
    return between.join([part] * (size // (len(part) + len(between))))


def _json(size: int) -> Iterator[HostileRecord]:
    bodies = {
        "empty lists": b'{"a":[%b]}' % _repeat(b"[]", size, b","),
        "numbers": b'{"a":[%b]}' % _repeat(b"1", size, b","),
        "objects": b'{"a":[%b]}' % _repeat(b'{"b":{}}', size, b","),
        "keys": b"{%b}" % b",".join([b'"%x":1' % number for number in range(size // 10)]),
        "long floats": b'{"a":[%b]}' % _repeat(b"0.12345678901234567890123", size, b","),
        "small floats": b'{"a":[%b]}' % _repeat(b"1e-999999999", size, b","),
        "a huge number": b'{"a":%b}' % (b"9" * size),
        "a long fraction": b'{"a":0.%b}' % (b"9" * size),
        "broken escapes": b'{"a":"%b"' % _repeat(b"\\n", size),
        "lone surrogates": b'{"a":"%b"}' % _repeat(b"\\ud800", size),
        "depth": b"[" * size,
        "allowed depth": b'{"a":%b%b}' % (b"[" * 900, b"]" * 900),
        "a long id": b'{"eventId":"%b"}' % (b"x" * size),
        "an object as id": b'{"eventId":{"a":[%b]}}' % _repeat(b"[]", size, b","),
        "base64": b'{"specversion":"1.0","id":"1","type":"t","source":"s","data_base64":"%b"}' % _repeat(b"AAAA", size),
        "JSON in text": b'{"schema":null,"payload":"{\\"a\\":[%b]}"}' % _repeat(b"[]", size, b","),
    }
    for name, body in bodies.items():
        yield HostileRecord(f"JSON with {name}", body)


def _bytes(size: int) -> Iterator[HostileRecord]:
    yield HostileRecord("zeros", b"\0" * size)
    yield HostileRecord("spaces", b" " * size)
    yield HostileRecord("XML", _repeat(b"<a>", size))
    yield HostileRecord("an unknown encoding", b"\x89PNG" + b"\1" * size)
    yield HostileRecord("a container file of metadata", b"Obj\1" + b"\2" * size)
    sync = b"s" * 16
    head = b"Obj\1\2" + avro("string", "avro.schema") + avro("bytes", b'"null"') + b"\0" + sync
    yield HostileRecord("a container file of empty blocks", head + _repeat(b"\0\0" + sync, size))
    yield HostileRecord("a container file of nulls", head + avro("long", 1 << 40) + b"\0" + sync)


def _headers(size: int) -> Iterator[HostileRecord]:
    yield HostileRecord("many headers", b"{}", [(f"h{number}", b"v") for number in range(10_000)])
    yield HostileRecord("one header often", b"{}", [("traceparent", b"00-1-1-1")] * 10_000)
    long_headers = {
        "event-id": b"x" * size,
        "correlation-id": b'"' * size,
        "ce_type": b"\xff" * size,
        "traceparent": b"0" * size,
        "b3": _repeat(b"1-", size),
        "uber-trace-id": b":" * size,
        "X-Amzn-Trace-Id": _repeat(b"Root=;", size),
        "kafka_original-topic": b"x" * size,
        "kafka_exception-stacktrace": _repeat(b"Caused by: ", size),
    }
    for name, value in long_headers.items():
        yield HostileRecord(f"a long header {name}", b"{}", [(name, value)])


def _wrapped(size: int) -> Iterator[HostileRecord]:
    """Build flat entries of Redis, and messages that frameworks wrap into their fields."""
    yield HostileRecord("a flat entry", None, [(f"f{number}", b"x" * 100) for number in range(size // 100)])
    packed = [("_watermill_message_uuid", b"u"), ("payload", b"{}"), ("metadata", b"\xdf" + b"\xff" * size)]
    yield HostileRecord("Watermill's metadata", None, packed)
    yield HostileRecord("FastStream's headers", None, [("__data__", b"\x89BIN\r\n\x1a\n\0\1" + b"\xff" * size)])
    text = b'{"data":"%b","headers":{}}' % _repeat(b"\\n", size)
    yield HostileRecord("FastStream's text", None, [("__data__", text)])


def _avro(size: int) -> Iterator[HostileRecord]:
    empty = {"type": "record", "name": "Empty", "fields": []}
    nulls = [{"name": "x", "type": "int"}, *({"name": f"n{number}", "type": "null"} for number in range(50))]
    linked = [{"name": "v", "type": "int"}, {"name": "next", "type": ["null", "L"]}]
    decimal = {"type": "bytes", "logicalType": "decimal", "precision": 100_000, "scale": 3}

    def block(count: int, item: bytes) -> bytes:
        return avro("long", count) + item * count + b"\0"

    payloads: dict[str, tuple[Any, bytes]] = {
        "claims of empty records": (_list_of(empty), avro("long", 999_990) + b"\0"),
        "claims of nulls": (_list_of("null"), avro("long", 999_990) + b"\0"),
        "records of nulls": (
            _list_of({"type": "record", "name": "E", "fields": nulls}),
            block(max(1, size // 50), b"\2"),
        ),
        "numbers": (_list_of("int"), block(size, b"\2")),
        "numbers one by one": (_list_of("int"), _repeat(b"\2\2", size) + b"\0"),
        "empty strings": (_list_of("string"), block(size, b"\0")),
        "broken strings": (_list_of("string"), block(size // 3, b"\4\xc3\x28")),
        "unions": (_list_of(["null", "int", "string"]), block(size, b"\0")),
        "a map": (
            {"type": "map", "values": "null"},
            avro("long", size // 5) + b"".join(avro("string", f"{n & 0xFFFF:04x}") for n in range(size // 5)) + b"\0",
        ),
        "a linked list": ({"type": "record", "name": "L", "fields": linked}, _repeat(b"\2\2", size) + b"\2\0"),
        "a long decimal": (decimal, avro("bytes", b"\x7f" * size)),
        "decimals": (_list_of(decimal), block(size // 200, avro("bytes", b"\x7f" * 198))),
        "times": (
            _list_of({"type": "long", "logicalType": "timestamp-millis"}),
            block(size // 10, avro("long", 1 << 62)),
        ),
        "a claimed length": ("bytes", avro("long", 1 << 40)),
        "a number without an end": ("long", b"\xff" * size),
        "a cut list": (_list_of("int"), avro("long", size) + b"\2" * (size - 1)),
        "bytes behind the end": (_list_of("int"), b"\0" * size),
    }
    for name, (schema, payload) in payloads.items():
        yield HostileRecord(f"Avro with {name}", payload, schema=schema)


def _list_of(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def schema_text(hostile: HostileRecord) -> str:
    """Return the schema as a registry stores it."""
    return json.dumps(hostile.schema)
