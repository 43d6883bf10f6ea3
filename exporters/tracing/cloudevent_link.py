"""Links to the trace in which a chain of CloudEvents started.

A record may carry two traces: that of its sender in `traceparent`, and that of the first sender of the chain in
CloudEvents' distributed tracing extension (`ce_traceparent`, or the attribute `traceparent` of a structured event).
The span belongs to the sender's trace, and links to the other.
"""

from __future__ import annotations

from exporters.tracing.span_mapper import SpanLink
from sidecar.decoding.trace_context import MAX_HEADER_BYTES, parse_traceparent
from sidecar.domain.model import Decoded, TraceOrigin
from sidecar.domain.redaction import Redactor

HEADER = "ce_traceparent"


def find_starting_link(decoded: Decoded, redactor: Redactor | None) -> SpanLink | None:
    """Return the link to the trace in which the chain of a CloudEvent started.

    Returns None if the record names no such trace, if that is the event's own, or if it is redacted.
    """
    event, record = decoded.event, decoded.record
    if event.trace_id is None or event.trace_origin is TraceOrigin.CLOUDEVENTS:
        return None
    value = None
    if len(record.headers) > 1 and any(name.lower() == HEADER for name, _ in record.headers):
        headers = record.headers if redactor is None else redactor.headers(record.headers)
        value = next((value for name, value in reversed(headers) if name.lower() == HEADER), None)
    elif decoded.has_field("specversion") and decoded.body["specversion"] is not None:
        attribute = (decoded.body if redactor is None else redactor.body(decoded.body)).get("traceparent")
        value = attribute.encode("ascii", "replace") if attribute.__class__ is str else None
    ids = parse_traceparent(value.strip()) if value is not None and len(value) <= MAX_HEADER_BYTES else None
    return None if ids is None or ids[0] == event.trace_id else SpanLink(*ids, "start")
