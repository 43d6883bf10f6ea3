"""Links to the trace in which a chain of CloudEvents started."""

from __future__ import annotations

from typing import Any

from exporters.tracing.cloudevent_link import find_starting_link
from exporters.tracing.span_mapper import SpanLink
from sidecar.domain.model import Decoded, Event, Headers, Record, TraceOrigin
from sidecar.domain.position import Position
from sidecar.domain.redaction import Redactor

SENDER = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
START = b"00-1af7651916cd43dd8448eb211c80319c-c7ad6b7169203331-01"
LINK = SpanLink(0x1AF7651916CD43DD8448EB211C80319C, 0xC7AD6B7169203331, "start")


def decoded(headers: Headers, body: Any = None, origin: TraceOrigin = TraceOrigin.W3C) -> Decoded:
    position = Position("kafka", "orders", 0, 1)
    trace_id = int(SENDER[3:35], 16)
    event = Event(position, None, 0, 0, trace_id=trace_id, span_id=1, trace_origin=origin)
    return Decoded(Record(position, None, b"{}", headers, 0), event, body)


def test_a_second_trace_is_linked() -> None:
    assert find_starting_link(decoded((("traceparent", SENDER), ("CE_traceparent", START))), None) == LINK
    structured = {"specversion": "1.0", "traceparent": START.decode()}
    assert find_starting_link(decoded((("traceparent", SENDER),), structured), None) == LINK


def test_the_same_trace_and_no_trace_are_not() -> None:
    assert find_starting_link(decoded((("traceparent", SENDER), ("ce_traceparent", SENDER))), None) is None
    assert find_starting_link(decoded((("traceparent", SENDER), ("ce_traceparent", b"nonsense"))), None) is None
    assert find_starting_link(decoded((("traceparent", SENDER), ("x", START))), None) is None
    assert find_starting_link(decoded((("traceparent", SENDER),), {"traceparent": START.decode()}), None) is None
    alone = decoded((("ce_traceparent", START), ("x", b"1")), origin=TraceOrigin.CLOUDEVENTS)
    assert find_starting_link(alone, None) is None


def test_a_redacted_header_is_not_linked() -> None:
    redactor = Redactor(["header:ce_traceparent"])
    assert find_starting_link(decoded((("traceparent", SENDER), ("ce_traceparent", START))), redactor) is None
