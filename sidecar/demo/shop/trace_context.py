"""Trace headers in several formats."""

from __future__ import annotations

import re

from sidecar.demo.shop.messages import Header, ShopMessage, TraceIds, WireRecord
from sidecar.demo.shop.saga import TracePropagation

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")


def build_headers(message: ShopMessage, tracing: TracePropagation) -> tuple[Header, ...]:
    """Build the trace headers of a service."""
    trace = message.trace
    if trace is None or tracing is TracePropagation.NONE:
        return ()
    if tracing is TracePropagation.B3:
        parent = (("X-B3-ParentSpanId", trace.parent_id.encode()),) if trace.parent_id else ()
        return (
            ("X-B3-TraceId", trace.trace_id.encode()),
            ("X-B3-SpanId", trace.span_id.encode()),
            *parent,
            ("X-B3-Sampled", b"1"),
        )
    name = "traceparent" if tracing is TracePropagation.W3C else "ce_traceparent"
    return ((name, f"00-{trace.trace_id}-{trace.span_id}-01".encode()),)


def read_trace(wire: WireRecord) -> TraceIds | None:
    """Read the trace of a record."""
    for name in ("traceparent", "ce_traceparent"):
        if match := _TRACEPARENT.fullmatch(wire.text(name) or ""):
            return TraceIds(match[1], match[2])
    trace_id, span_id = wire.text("X-B3-TraceId"), wire.text("X-B3-SpanId")
    return TraceIds(trace_id, span_id, wire.text("X-B3-ParentSpanId")) if trace_id and span_id else None
