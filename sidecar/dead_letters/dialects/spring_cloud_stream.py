"""Spring Cloud Stream's Kafka binder: `x-original-*` and `x-exception-*`, numbers as big-endian bytes, added after the
record's own headers (`KafkaMessageChannelBinder`). Many home-made ones use these names too, with numbers as text."""

from __future__ import annotations

from sidecar.dead_letters.dialects.foreign_reader import (
    FailureHeaders,
    HeaderValues,
    latest_at_the_first,
    letter,
    number,
    text,
)
from sidecar.domain.model import DeadLetter, Record
from sidecar.domain.stream_names import StreamNames

MARKS = ("x-original-topic", "x-exception-fqcn", "x-exception-message")
_OWN = frozenset(
    [f"x-original-{name}" for name in ("topic", "partition", "offset", "timestamp", "timestamp-type")]
    + [f"x-exception-{name}" for name in ("fqcn", "message", "stacktrace")]
)


def read(record: Record, naming: StreamNames) -> DeadLetter | None:
    values = HeaderValues(record.headers)
    if not any(values.all(mark) for mark in MARKS):
        return None
    topic, (partition, offset, timestamp) = latest_at_the_first(
        *[values.all(f"x-original-{name}") for name in ("topic", "partition", "offset", "timestamp")]
    )
    stream = text(topic)
    told = FailureHeaders(
        stream=stream,
        partition=number(partition, 4),
        offset=number(offset),
        timestamp=number(timestamp),
        group=_group(record.position.stream, stream),
        exception=values.text("x-exception-fqcn"),
        message=values.text("x-exception-message"),
        failed_at=record.timestamp * 1000,
    )
    return letter(record, naming, "spring-cloud-stream", told, _OWN.__contains__)


def _group(name: str, stream: str | None) -> str | None:
    """The group is told by the stream's name alone: `error.DESTINATION.GROUP`."""
    start = f"error.{stream}."
    return name[len(start) :] if stream and name.startswith(start) else None
