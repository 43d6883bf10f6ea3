"""CloudEvents 1.0 in structured mode: the event's attributes and its data are in one JSON object.

Binary mode needs nothing here: its `ce_` headers are built-in locations of the envelope, and the value is the data.
Structured mode has its own names: `id`, `source` (the producer), `type`, `time`, `subject` (the aggregate's id) and
the usual extensions `correlationid`, `causationid` and `traceparent`. A schema describes `data`.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Collection, Mapping
from typing import Any

from sidecar.decoding.trace_context import TraceContext, parse_starting_trace
from sidecar.decoding.wire_format import SchemaId
from sidecar.domain.derived_ids import mask_id

CONTENT_TYPE = b"application/cloudevents+json"
_REQUIRED = ("specversion", "id", "source", "type")
FIELDS = frozenset(_REQUIRED)
"""Fields that identify a CloudEvent: a JSON object with all of these as text is one under any content type."""

ATTRIBUTES = {
    "event_id": "id",
    "producer": "source",
    "type": "type",
    "occurred_at": "time",
    "aggregate_id": "subject",
    "correlation_id": "correlationid",
    "causation_id": "causationid",
}
"""Attributes in structured mode that give the envelope's fields."""
_JOINING_FIELDS = frozenset(("event_id", "correlation_id", "causation_id"))
_SCHEMA_ID = re.compile(r"/schemas/ids/([0-9]{1,10})/?$")
_SCHEMA_VERSION = re.compile(r"/versions/([0-9]{1,10})/?$")
_MAX_URI_CHARACTERS = 2_000
_MAX_TRACEPARENT_CHARACTERS = 1_023


def is_structured(body: Any) -> bool:
    """Check whether decoded JSON is a CloudEvent in structured mode."""
    return body.__class__ is dict and all(body.get(name).__class__ is str for name in _REQUIRED)


def read_attributes(body: Mapping[str, Any], hidden: Collection[str] = ()) -> dict[str, Any]:
    """Return the envelope's fields from the attributes, before coercion.

    Redacted attributes (`hidden`) give no field, but for the ids that join events: these are masked.
    """
    fields = {field: body[name] for field, name in ATTRIBUTES.items() if body.get(name) is not None}
    for field in fields.keys() & {field for field, name in ATTRIBUTES.items() if name in hidden}:
        value = fields.pop(field)
        if field in _JOINING_FIELDS and value.__class__ is str:
            fields[field] = mask_id(value)
    return fields


def read_trace(body: Mapping[str, Any]) -> TraceContext | None:
    """Return the trace of the distributed tracing extension: the one in which the chain of hops started."""
    value = body.get("traceparent")
    if not isinstance(value, str) or len(value) > _MAX_TRACEPARENT_CHARACTERS:
        return None
    return parse_starting_trace(value.encode("ascii", "replace"))


def read_binary_data(body: Mapping[str, Any]) -> bytes | None:
    """Return the bytes of `data_base64`; None if it is missing, or if `data` is there too.

    Raises ValueError if they are not base64.
    """
    encoded = body.get("data_base64")
    return b64decode(encoded, validate=True) if encoded.__class__ is str and body.get("data") is None else None


def has_two_data(body: Any) -> bool:
    """Test whether a body has both `data` and `data_base64`, which no CloudEvent may have."""
    return isinstance(body, Mapping) and body.get("data") is not None and body.get("data_base64") is not None


def parse_data_schema(uri: Any) -> tuple[SchemaId | None, str | None]:
    """Return the schema id or the version in a `dataschema` that is an address in a Confluent-compatible registry.

    Such addresses are `…/schemas/ids/7` and `…/subjects/orders-value/versions/3`.
    """
    if isinstance(uri, bytes):
        uri = uri[:_MAX_URI_CHARACTERS].decode("ascii", "replace")
    if not isinstance(uri, str) or len(uri) > _MAX_URI_CHARACTERS:
        return None, None
    if match := _SCHEMA_ID.search(uri):
        return SchemaId("id", int(match[1])), None
    match = _SCHEMA_VERSION.search(uri)
    return None, match[1] if match else None
