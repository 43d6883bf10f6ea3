"""Conversion of events to records in the format of each service, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import fastavro
from fastavro.validation import validate

from sidecar.demo.shop import trace_context
from sidecar.demo.shop.messages import Header, ShopMessage, UnreadableMessage, WireRecord
from sidecar.demo.shop.orders import parse_order_number
from sidecar.demo.shop.saga import SERVICES, EventLayout, ShopService
from sidecar.demo.shop.schemas import SchemaVersion, ShopSchemas

SCHEMA_ID_HEADER = "__value_schema_id"
_AVRO = (EventLayout.AVRO_BY_TYPE, EventLayout.AVRO_BY_STREAM, EventLayout.AVRO_ID_IN_HEADER)


class Serializers:
    """Writes and reads records.

    `flat_entries`: the broker's records are maps (Redis), so that a flat event needs no JSON. `old_instances`: True if
    some instances of a service still write the first version of a schema.
    """

    def __init__(self, schemas: ShopSchemas, flat_entries: bool, *, old_instances: bool = True) -> None:
        self.schemas = schemas
        self._flat_entries, self._old_instances = flat_entries, old_instances

    def write(self, message: ShopMessage, service: ShopService) -> WireRecord:
        """Write the record of an event in the format of a service."""
        key = message.aggregate.encode()
        traced = trace_context.build_headers(message, service.tracing)
        if service.layout in _AVRO:
            return self.avro(
                message, self._schema_for(message, service), service.layout is EventLayout.AVRO_ID_IN_HEADER
            )
        if service.layout is EventLayout.CLOUDEVENTS:
            return WireRecord(key, _encode_json(message.data), (*_build_cloudevents_headers(message), *traced))
        if service.layout is EventLayout.OUTBOX:
            own = (
                ("id", message.id.encode()),
                ("eventType", message.type.encode()),
                ("aggregateId", key),
                ("producer", message.producer.encode()),
            )
            data = message.data | {"occurredAt": _format_time(message.at)}
            return WireRecord(key, _encode_json(data), (*own, *_build_link_headers(message), *traced))
        if service.layout is EventLayout.FLAT:
            return self._flat(key, message, traced)
        envelope = _build_envelope(message, _format_time(message.at)) | {"producer": message.producer}
        if not traced:
            return WireRecord(key, _encode_json({"correlationId": message.correlation, **envelope}), ())
        return WireRecord(key, _encode_json(envelope), (*_build_link_headers(message, "x-"), *traced))

    def avro(self, message: ShopMessage, schema: SchemaVersion, id_in_header: bool) -> WireRecord:
        """Write an event as Avro with the given schema."""
        buffer, head = BytesIO(), b"\x00" + schema.id.to_bytes(4, "big")
        if not id_in_header:
            buffer.write(head)
        record = _build_envelope(message, message.at) | message.data
        fastavro.schemaless_writer(buffer, schema.schema, record)
        headers: tuple[Header, ...] = ((SCHEMA_ID_HEADER, head),) if id_in_header else ()
        headers += (("producer", message.producer.encode()), *_build_link_headers(message))
        traced = trace_context.build_headers(message, SERVICES[message.producer].tracing)
        return WireRecord(message.aggregate.encode(), buffer.getvalue(), headers + traced)

    def read(self, wire: WireRecord, service: ShopService) -> ShopMessage:
        """Read the event in a record of a service. Raises UnreadableMessage for an invalid record."""
        if service.layout in _AVRO:
            body = self._read_avro(wire, service)
        elif service.layout is EventLayout.FLAT:
            body = (
                {name: value.decode() for name, value in wire.headers}
                if wire.value is None
                else _decode_object(wire.value)
            )
        else:
            body = _decode_object(wire.value)
            self._validate(body, service)
        return _parse_message(wire, body, service)

    def _schema_for(self, message: ShopMessage, service: ShopService) -> SchemaVersion:
        if service.layout is not EventLayout.AVRO_BY_TYPE:
            return self.schemas.of(f"{service.stream}-value")
        # Every fifth order is handled by an instance that was not updated yet and uses the first version.
        version = 1 if self._old_instances and parse_order_number(message.order) % 5 == 0 else None
        return self.schemas.of(f"{service.stream}-shop.{message.type}", version)

    def _flat(self, key: bytes, message: ShopMessage, traced: tuple[Header, ...]) -> WireRecord:
        fields = {
            "eventId": message.id,
            "eventType": message.type,
            "eventVersion": 1,
            "occurredAt": _format_time(message.at),
            "aggregateId": message.aggregate,
            "correlationId": message.correlation,
            "causationId": message.cause,
            "producer": message.producer,
            **message.data,
        }
        if self._flat_entries:
            entry = [(name, str(value).encode()) for name, value in fields.items() if value is not None]
            return WireRecord(key, None, (*entry, *traced))
        return WireRecord(key, _encode_json(fields), traced)

    def _read_avro(self, wire: WireRecord, service: ShopService) -> dict[str, Any]:
        value = wire.value or b""
        head, data = (value[:5], value[5:]) if service.layout is not EventLayout.AVRO_ID_IN_HEADER else (b"", value)
        schema = self.schemas.with_id(int.from_bytes((head or wire.header(SCHEMA_ID_HEADER) or b"")[1:], "big"))
        if schema is None or not schema.subject.startswith(f"{service.stream}-"):
            raise UnreadableMessage(f"not written with a schema of {service.stream}")
        buffer = BytesIO(data)
        try:
            body = fastavro.schemaless_reader(buffer, schema.schema, None)
        except (EOFError, ValueError, IndexError) as error:
            raise UnreadableMessage(f"invalid Avro for {schema.subject}: {error}") from error
        if buffer.read(1):
            raise UnreadableMessage(f"more than one record of {schema.subject}")
        return {"eventType": schema.text["name"].rpartition(".")[2], **body}  # type: ignore[dict-item]  # a record

    def _validate(self, body: Mapping[str, Any], service: ShopService) -> None:
        schema = self.schemas.of(f"{service.stream}-value").text
        data = body
        if service.layout is EventLayout.JSON:
            schema = next(field["type"] for field in schema["fields"] if field["name"] == "data")
            data = body.get("data", {})
        if not validate(data, schema, raise_errors=False):
            raise UnreadableMessage(f"does not match the schema {service.stream}-value")


def _parse_message(wire: WireRecord, body: dict[str, Any], service: ShopService) -> ShopMessage:
    """Parse an event from the headers and body of any format."""
    data = body.get("data", body)
    kind = wire.text("ce_type") or wire.text("eventType") or body.get("eventType") or ""
    identity = wire.text("ce_id") or wire.text("id") or body.get("eventId")
    correlation = (
        wire.text("ce_correlationid")
        or wire.text("correlation-id")
        or wire.text("x-correlation-id")
        or body.get("correlationId")
    )
    order = data.get("orderId")
    if not (kind and identity and correlation and order):
        raise UnreadableMessage("not an event of the shop: its type, id, correlation id or order is missing")
    return ShopMessage(
        type=kind.removeprefix("shop."),
        id=identity,
        order=order,
        aggregate=(wire.key or b"").decode(),
        aggregate_type=service.aggregate,
        correlation=correlation,
        cause=None,
        trace=trace_context.read_trace(wire),
        at=0,
        producer=service.name,
        data=data,
    )


def _build_envelope(message: ShopMessage, at: int | str) -> dict[str, Any]:
    return {
        "eventId": message.id,
        "eventType": message.type,
        "timestamp": at,
        "aggregateId": message.aggregate,
        "eventVersion": 1,
        "data": message.data,
    }


def _build_link_headers(message: ShopMessage, prefix: str = "") -> tuple[Header, ...]:
    """Build the headers with correlation and causation id."""
    cause = ((f"{prefix}causation-id", message.cause.encode()),) if message.cause else ()
    return ((f"{prefix}correlation-id", message.correlation.encode()), *cause)


def _build_cloudevents_headers(message: ShopMessage) -> tuple[Header, ...]:
    """Build CloudEvents headers (Kafka protocol binding 1.0.2, section 3.2, binary mode) with the usual extensions."""
    attributes = {
        "ce_specversion": "1.0",
        "ce_id": message.id,
        "ce_source": f"/shop/{message.producer}",
        "ce_type": f"shop.{message.type}",
        "ce_time": _format_time(message.at),
        "ce_subject": message.aggregate,
        "ce_correlationid": message.correlation,
        "ce_causationid": message.cause or "",
        "content-type": "application/json",
    }
    return tuple((name, value.encode()) for name, value in attributes.items() if value)


def _format_time(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _encode_json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _decode_object(value: bytes | None) -> dict[str, Any]:
    try:
        body = json.loads(value or b"")
    except ValueError as error:
        raise UnreadableMessage(f"invalid JSON: {error}") from error
    if not isinstance(body, dict):
        raise UnreadableMessage("the JSON is not an object")
    return body
