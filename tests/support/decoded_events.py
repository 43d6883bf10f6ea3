"""Assertions about decoded events of `tests.support.decoding.order`."""

from __future__ import annotations

from sidecar.domain.model import TraceOrigin

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACE = 0x4BF92F3577B34DA6A3CE929D0E0E4736


def assert_all_fields(event, number=1):
    """Assert that every envelope field was found."""
    assert (event.event_id, event.type, event.version) == (f"event-{number}", "OrderCreated", "2")
    assert (event.aggregate_id, event.occurred_at) == (f"order-{number}", (1_767_225_600_000 + number) * 1000)
    assert (event.trace_id, event.trace_origin) == (TRACE, TraceOrigin.W3C)


def assert_accepted(decoded, number=1):
    """Assert that the event was checked and not rejected, with every envelope field."""
    assert_all_fields(decoded.event, number)
    assert (decoded.event.rejection, decoded.event.unchecked) == (None, False)
    assert decoded.event.schema is not None
