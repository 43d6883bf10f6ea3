"""Spring Cloud Stream's Kafka binder: headers `x-original-*` and `x-exception-*` (`KafkaMessageChannelBinder`).

They are added after the record's own, with numbers as big-endian bytes. Many custom consumers use these names too,
with numbers as text. The number of attempts is unknown.
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

_MARKERS = ("x-original-topic", "x-exception-fqcn", "x-exception-message")
_OWN = frozenset(
    [f"x-original-{name}" for name in ("topic", "partition", "offset", "timestamp", "timestamp-type")]
    + [f"x-exception-{name}" for name in ("fqcn", "message", "stacktrace")]
)


def _read(record: Record, naming: StreamNames) -> DeadLetter | None:
    values = HeaderValues(record.headers)
    if not values.has_any(_MARKERS):
        return None
    topic, (partition, offset, timestamp) = latest_on_first_stream(
        *[values.all(f"x-original-{name}") for name in ("topic", "partition", "offset", "timestamp")]
    )
    stream = to_text(topic)
    exception, message = values.text("x-exception-fqcn"), values.text("x-exception-message")
    stacktrace = values.stacktrace("x-exception-stacktrace")
    failure = FailureHeaders(
        stream=stream,
        partition=to_number(partition, 4),
        offset=to_number(offset),
        timestamp=to_number(timestamp),
        group=_group(record.position.stream, stream),
        exception=exception,
        message=message,
        failed_at=record.timestamp * 1000,
        reserialized=True,
        stacktrace=stacktrace,
        likely_cause=RootCause(exception, message) if exception else None,
    )
    return build_letter(record, naming, "spring-cloud-stream", failure, _OWN.__contains__)


def _group(name: str, stream: str | None) -> str | None:
    """Find the group in the dead-letter stream's name, its only place: `error.DESTINATION.GROUP`."""
    start = f"error.{stream}."
    return name[len(start) :] if stream and name.startswith(start) else None


DIALECT = Dialect(
    name="spring-cloud-stream",
    framework="Spring Cloud Stream",
    read=_read,
    markers=_MARKERS,
    streams=("error.{stream}.*",),
)
