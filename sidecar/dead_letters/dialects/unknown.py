"""A dead letter by its stream's name alone: nothing in its headers is known to us."""

from __future__ import annotations

from sidecar.domain.model import DeadLetter, Record
from sidecar.domain.stream_names import StreamNames


def read(letter: Record, naming: StreamNames) -> DeadLetter:
    """The record itself is the best there is: it failed, somewhere, on the stream that the name tells."""
    origins = naming.origins(letter.position.stream)
    return DeadLetter(
        id=f"@{letter.position}",
        position=letter.position,
        origin=None,
        origin_timestamp=None,
        stream=origins[0] if origins else letter.position.stream,
        group=None,
        code="reported.error",
        message="no dead-letter headers that Tracecar knows",
        path=None,
        event_id=None,
        type=None,
        trace_id=None,
        aggregate_id=None,
        failed_at=letter.timestamp * 1000,
        attempts=1,
        dialect="unknown",
        record=letter,
        appended_at=letter.timestamp,
    )
