"""A decoder with an in-memory registry, and records to decode."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from fastavro import parse_schema, schemaless_writer

from sidecar.adapters.registry.memory import MemoryRegistry
from sidecar.config import schema as config
from sidecar.decoding.decoder import EventDecoder, stop_on_outage
from sidecar.decoding.formats.schema_format import SchemaFormats
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.domain.model import Decoded, Record, SchemaRef
from sidecar.domain.ports.registry import RegisteredSchema
from sidecar.domain.position import Position
from tests.support.schema_formats import FORMATS

T = TypeVar("T")

NOW = 1_767_225_600_000_000
"""Time of the decoder's clock in microseconds."""

ORDER_CREATED: dict[str, Any] = {
    "type": "record",
    "name": "OrderCreated",
    "namespace": "shop",
    "fields": [
        {"name": "eventId", "type": "string"},
        {"name": "eventType", "type": "string"},
        {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "aggregateId", "type": "string"},
        {"name": "eventVersion", "type": "int"},
        {
            "name": "data",
            "type": {
                "type": "record",
                "name": "Order",
                "fields": [
                    {"name": "total", "type": "double"},
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
                ],
            },
        },
    ],
}
ORDER = ORDER_CREATED["fields"][5]["type"]


def order(number: int = 1, **changes: Any) -> dict[str, Any]:
    """Build an event of the schema `ORDER_CREATED`."""
    return {
        "eventId": f"event-{number}",
        "eventType": "OrderCreated",
        "timestamp": 1_767_225_600_000 + number,
        "aggregateId": f"order-{number}",
        "eventVersion": 2,
        "data": {"total": 12.5, "items": [{"sku": "a", "qty": 1}, {"sku": "b", "qty": 2}]},
        **changes,
    }


def avro(schema: Any, value: Any) -> bytes:
    """Encode a value in binary Avro with fastavro."""
    out = io.BytesIO()
    schemaless_writer(out, parse_schema(schema), value)
    return out.getvalue()


def confluent(id: int, data: bytes) -> bytes:
    return b"\0" + id.to_bytes(4, "big") + data


def record(
    value: bytes | Mapping[str, Any] | Sequence[Any] | None,
    headers: Mapping[str, bytes | str | None] | Sequence[tuple[str, bytes | None]] = (),
    *,
    stream: str = "orders",
    key: bytes | None = b"the-key",
    offset: int = 0,
    system: str = "kafka",
    timestamp: int = 1_767_225_600_000,
) -> Record:
    """Build a record. A value that is not bytes is written as JSON."""
    if value is not None and not isinstance(value, bytes):
        value = json.dumps(value).encode()
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    written = tuple((name, text.encode() if isinstance(text, str) else text) for name, text in pairs)
    return Record(Position(system, stream, 0, offset), key, value, written, timestamp)


class Court:
    """A decoder and its registry. Missing schemas are fetched."""

    def __init__(
        self,
        *,
        require: bool = False,
        formats: SchemaFormats = FORMATS,
        clock: Callable[[], float] = time.monotonic,
        **places: list[str],
    ) -> None:
        self._runner = asyncio.Runner()
        self.registry = MemoryRegistry()
        self.catalog = SchemaCache(self.registry, formats, require=require, clock=clock)
        self.judge = EventDecoder(self.catalog, config.EnvelopeConfig(**places), clock=lambda: NOW * 1000)

    def register(self, subject: str, schema: Any, kind: str = "AVRO") -> SchemaRef:
        return self.registry.register(subject, schema if isinstance(schema, str) else json.dumps(schema), kind)

    def id_of(self, subject: str, schema: Any, kind: str = "AVRO") -> int:
        id = self.register(subject, schema, kind).id
        assert id is not None
        return id

    def registered(self, ref: SchemaRef) -> RegisteredSchema:
        """Return the schema as the registry has it."""
        found = self._runner.run(self.registry.by_version(ref.subject or "", ref.version))
        assert found is not None
        return found

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the decoder's event loop. Results must be small, because the runner formats them as
        text."""
        return self._runner.run(work)

    def all(self, records: Sequence[Record]) -> list[Decoded]:
        return self._runner.run(self.judge.decode_with_schemas(records, stop_on_outage))

    def one(self, record: Record) -> Decoded:
        return self.all([record])[0]

    def look_up(self, look: Callable[[], T]) -> T:
        """Answer a lookup, fetching the schemas that it needs."""
        return self._runner.run(self.catalog.look_up(look))

    def opened(self, record: Record) -> Decoded:
        """Decode a record like a reader of a single record: an outage leaves it unchecked."""
        return self._runner.run(self.judge.decode_with_schemas([record]))[0]

    def close(self) -> None:
        self._runner.run(self.catalog.close())
        self._runner.close()


@contextmanager
def court(
    *, require: bool = False, clock: Callable[[], float] = time.monotonic, **places: list[str]
) -> Iterator[Court]:
    """Open a decoder; `places` is the configuration's `envelope`."""
    it = Court(require=require, clock=clock, **places)
    try:
        yield it
    finally:
        it.close()
