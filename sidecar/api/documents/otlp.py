"""A flow as OTLP JSON: a trace that Jaeger, Tempo and any OTLP/HTTP receiver can import.

A span has the id under which the sidecar's exporters send it, so a backend that has the flow gets no second one.
"""

from __future__ import annotations

from collections import defaultdict
from enum import IntEnum
from typing import Any

from exporters import semantic_conventions as names
from exporters.tracing.span_ids import span_id_at
from exporters.tracing.span_mapper import MAX_APPEND_DELAY_MS, OPERATION
from sidecar.api import models
from sidecar.api.documents.flow_walk import describe_rejection, list_events, service_of
from sidecar.domain.broker_traits import traits_of
from sidecar.domain.correlation.duplicates import parse_origin
from sidecar.domain.json_safe import encode_json
from sidecar.domain.position import Position
from sidecar.domain.timestamps import parse_rfc3339

SCOPE_NAME = "tracecar"


class OtlpNumber(IntEnum):
    """Numbers of enumerations in OTLP, which its JSON encoding does not write by name."""

    CONSUMER = 5
    """Kind of a span: the receiver of a message, by the semantic conventions."""
    ERROR = 2
    """Status of a span."""


def write_otlp_json(flow: models.FlowModel) -> str:
    """Return an `ExportTraceServiceRequest` in OTLP's JSON encoding, with one resource for each service."""
    spans: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in list_events(flow):
        spans[service_of(event)].append(_build_span(event, flow.trace_id))
    resources = [
        {
            "resource": {"attributes": [_attribute("service.name", service)]},
            "scopeSpans": [{"scope": {"name": SCOPE_NAME}, "spans": listed}],
        }
        for service, listed in spans.items()
    ]
    return encode_json({"resourceSpans": resources}).decode("utf-8", "backslashreplace") + "\n"


def _build_span(event: models.FlowEventModel, trace_id: str) -> dict[str, Any]:
    start, end = _span_times(event)
    span: dict[str, Any] = {
        "traceId": trace_id,
        "spanId": _span_id(event.position),
        "name": f"{OPERATION} {event.stream}",
        "kind": OtlpNumber.CONSUMER.value,
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(end),
        "attributes": _list_attributes(event),
    }
    if event.parent is not None:
        span["parentSpanId"] = _span_id(event.parent)
    if event.rejection is not None:
        reason = f"{event.rejection.code}: {describe_rejection(event.rejection)}"
        span["status"] = {"code": OtlpNumber.ERROR.value, "message": reason}
    origin = None if event.replay_of is None else parse_origin(event.replay_of)
    if origin is not None and str(origin) != event.position:
        link = {
            "traceId": trace_id,
            "spanId": _span_id(str(origin)),
            "attributes": [_attribute(names.LINK, "replay_of")],
        }
        span["links"] = [link]
    return span


def _span_id(position: str) -> str:
    return f"{span_id_at(Position.parse(position)):016x}"


def _span_times(event: models.EventModel) -> tuple[int, int]:
    """Return start and end in nanoseconds: from the time of occurrence, if it is plausible, to the append time."""
    end = 0 if event.appended_at is None else parse_rfc3339(event.appended_at)
    start = end if event.occurred_at is None else parse_rfc3339(event.occurred_at)
    if not 0 <= end - start <= MAX_APPEND_DELAY_MS * 1_000:
        start = end
    return start * 1_000, end * 1_000


def _list_attributes(event: models.FlowEventModel) -> list[dict[str, Any]]:
    position = Position.parse(event.position)
    traits = traits_of(position.system)
    values: list[tuple[str, str | int | bool | None]] = [
        (names.SYSTEM, position.system),
        (names.OPERATION_NAME, OPERATION),
        (names.OPERATION_TYPE, "receive"),
        (names.DESTINATION, event.stream),
        (names.PARTITION, str(event.partition) if traits.partitioned else None),
        (names.POSITION, event.position),
        (names.MESSAGE_ID, event.event_id),
        (names.CONVERSATION_ID, event.correlation_id),
        (names.EVENT_TYPE, event.type),
        (names.AGGREGATE_ID, event.aggregate_id),
        (names.PRODUCER, event.producer),
        (names.ERROR_TYPE, None if event.rejection is None else event.rejection.code),
        (names.DUPLICATE, True if event.status == "duplicate" else None),
        (names.PARENT_INFERRED, True if event.parent_inferred else None),
        (names.DEAD_LETTER_ID, event.replay_of),
    ]
    return [_attribute(name, value) for name, value in values if value is not None]


def _attribute(name: str, value: str | bool | int) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"key": name, "value": {"boolValue": value}}
    return {"key": name, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
