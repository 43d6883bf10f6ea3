"""Dead letters that only the name of their stream identifies: no dialect knows their headers."""

from __future__ import annotations

from sidecar.dead_letters.dialects.dialect import Dialect
from sidecar.domain.model import DeadLetter, Record
from sidecar.domain.stream_names import StreamNames


def read(letter: Record, naming: StreamNames) -> DeadLetter:
    """Treat the record itself as the one that failed, on the stream that the dead-letter stream's name implies."""
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
        attempts=None,
        dialect="unknown",
        record=letter,
        appended_at=letter.timestamp,
    )


DIALECT = Dialect(name="unknown", framework="any other", read=read)
