"""SmallRye Reactive Messaging (Quarkus): headers `dead-letter-*` in UTF-8 (`KafkaDeadLetterQueue`).

They are written *before* the record's own headers, so the first value of a repeated name is the latest. `reason` and
`exception-class-name` are of the exception, `cause` and `cause-class-name` of its cause. Early versions wrote reason
and cause only. There is no timestamp of the original record. A record was tried once, unless the delayed-retry
strategy left its headers.
"""

from __future__ import annotations

from sidecar.dead_letters.dialects.dialect import Dialect
from sidecar.dead_letters.dialects.foreign_letter import (
    FailureHeaders,
    HeaderValues,
    build_letter,
    latest_on_first_stream,
    to_number,
    to_text,
)
from sidecar.domain.model import DeadLetter, Record, RootCause
from sidecar.domain.stream_names import StreamNames

_MARKERS = ("dead-letter-reason", "dead-letter-exception-class-name")
_OWN = frozenset(
    f"dead-letter-{name}"
    for name in ("reason", "cause", "topic", "partition", "offset", "exception-class-name", "cause-class-name")
)
_DELAYED_RETRY_HEADERS = ("delayed-retry-count", "delayed-retry-topic", "delayed-retry-original-timestamp")


def _read(record: Record, naming: StreamNames) -> DeadLetter | None:
    values = HeaderValues(record.headers)
    if not values.has_any(_MARKERS):
        return None
    topic, (partition, offset) = latest_on_first_stream(
        *[values.all(f"dead-letter-{name}")[::-1] for name in ("topic", "partition", "offset")]
    )
    exception = values.first_text("dead-letter-exception-class-name")
    reason = values.first_text("dead-letter-reason")
    cause_class = values.first_text("dead-letter-cause-class-name")
    cause = RootCause(cause_class, values.first_text("dead-letter-cause")) if cause_class else None
    failure = FailureHeaders(
        stream=to_text(topic),
        partition=to_number(partition, 4),
        offset=to_number(offset),
        exception=exception,
        message=reason,
        attempts=None if values.has_any(_DELAYED_RETRY_HEADERS) else 1,
        failed_at=record.timestamp * 1000,
        reserialized=True,
        root_cause=cause or (RootCause(exception, reason) if exception else None),
    )
    return build_letter(record, naming, "smallrye", failure, _OWN.__contains__)


DIALECT = Dialect(
    name="smallrye", framework="SmallRye, Quarkus", read=_read, markers=_MARKERS, streams=("dead-letter-topic-*",)
)
