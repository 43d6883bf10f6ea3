"""CloudEvents 1.0 in structured mode: the event's attributes and its data stand in one JSON object.

Binary mode needs nothing here: its `ce_` headers are built-in places of the envelope, and the value is the data.
Structured mode has its own names: `id`, `source` (the producer), `type`, `time`, `subject` (the aggregate's id) and
the usual extensions `correlationid`, `causationid` and `traceparent`. What a schema is about is `data`.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from sidecar.decoding.trace_context import TraceContext, parse_starting_trace
from sidecar.decoding.wire_format import SchemaId

CONTENT_TYPE = b"application/cloudevents+json"
_REQUIRED = ("specversion", "id", "source", "type")
FIELDS = frozenset(_REQUIRED)
"""A JSON object that has all of these, as text, is a CloudEvent, whatever its content type says."""

_OWN = {
    "event_id": "id",
    "producer": "source",
    "type": "type",
    "occurred_at": "time",
    "aggregate_id": "subject",
    "correlation_id": "correlationid",
    "causation_id": "causationid",
}
_SCHEMA_ID = re.compile(r"/schemas/ids/([0-9]{1,10})/?$")
_SCHEMA_VERSION = re.compile(r"/versions/([0-9]{1,10})/?$")


def is_structured(body: Any) -> bool:
    """This decoded JSON is a CloudEvent in structured mode."""
    return body.__class__ is dict and all(body.get(name).__class__ is str for name in _REQUIRED)


def read_attributes(body: Mapping[str, Any]) -> dict[str, Any]:
    """The event's words as the attributes give them, unread."""
    return {word: body[name] for word, name in _OWN.items() if body.get(name) is not None}


def read_trace(body: Mapping[str, Any]) -> TraceContext | None:
    """The trace of the distributed tracing extension: where the chain of hops started."""
    value = body.get("traceparent")
    return (
        parse_starting_trace(value.encode("ascii", "replace")) if value.__class__ is str and len(value) < 1024 else None
    )


def read_binary_data(body: Mapping[str, Any]) -> bytes | None:
    """The bytes of `data_base64`; None where there are none, or `data` stands beside it. Raises ValueError where they
    are not base64."""
    written = body.get("data_base64")
    return b64decode(written, validate=True) if written.__class__ is str and body.get("data") is None else None


def parse_data_schema(uri: Any) -> tuple[SchemaId | None, str | None]:
    """The schema id or the version that a `dataschema` names, where it is the address of one in a Confluent-compatible
    registry (`…/schemas/ids/7`, `…/subjects/orders-value/versions/3`)."""
    if isinstance(uri, bytes):
        uri = uri[:2000].decode("ascii", "replace")
    if not isinstance(uri, str) or len(uri) > 2000:
        return None, None
    if match := _SCHEMA_ID.search(uri):
        return SchemaId("id", int(match[1])), None
    match = _SCHEMA_VERSION.search(uri)
    return None, match[1] if match else None
