"""Sizes of records and events in memory, for the bounds of queues and caches."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.domain.model import Event, Outgoing, Record

RECORD_OVERHEAD_BYTES = 600
"""Memory of a record in addition to its bytes."""
HEADER_OVERHEAD_BYTES = 150
EVENT_OVERHEAD_BYTES = 800
"""Memory of an event in addition to its texts."""
BODY_FACTOR = 3
"""Memory of a decoded body, as a multiple of its bytes: text as Python strings, and an object for each value."""


def count_record_bytes(records: Sequence[Record | Outgoing]) -> int:
    """Count the memory of some records: keys, values and headers, for any distribution of the bytes."""
    return (
        RECORD_OVERHEAD_BYTES * len(records)
        + sum([len(record.value) for record in records if record.value is not None])
        + sum([len(record.key) for record in records if record.key is not None])
        + sum(
            [
                HEADER_OVERHEAD_BYTES + len(name) + (0 if value is None else len(value))
                for record in records
                for name, value in record.headers
            ]
        )
    )


def count_event_bytes(events: Sequence[Event]) -> int:
    """Count the memory of some events without their bodies."""
    return EVENT_OVERHEAD_BYTES * len(events) + sum(
        [
            len(text)
            for event in events
            for text in (
                event.key,
                event.event_id,
                event.type,
                event.aggregate_id,
                event.correlation_id,
                event.causation_id,
                event.producer,
                None if event.rejection is None else event.rejection.message,
            )
            if text is not None
        ]
    )
