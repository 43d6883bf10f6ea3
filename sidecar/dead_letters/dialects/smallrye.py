"""SmallRye Reactive Messaging (Quarkus): `dead-letter-*` in UTF-8 (`KafkaDeadLetterQueue`), written *before* the
record's own headers: of a repeated name the first value is the latest. Early versions told reason and cause alone."""

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

MARKS = ("dead-letter-reason", "dead-letter-exception-class-name")
_OWN = frozenset(
    f"dead-letter-{name}"
    for name in ("reason", "cause", "topic", "partition", "offset", "exception-class-name", "cause-class-name")
)


def read(record: Record, naming: StreamNames) -> DeadLetter | None:
    values = HeaderValues(record.headers)
    if not any(values.all(mark) for mark in MARKS):
        return None
    topic, (partition, offset) = latest_at_the_first(
        *[values.all(f"dead-letter-{name}")[::-1] for name in ("topic", "partition", "offset")]
    )
    told = FailureHeaders(
        stream=text(topic),
        partition=number(partition, 4),
        offset=number(offset),
        exception=_first(values, "cause-class-name") or _first(values, "exception-class-name"),
        message=_first(values, "reason"),
        failed_at=record.timestamp * 1000,
    )
    return letter(record, naming, "smallrye", told, _OWN.__contains__)


def _first(values: HeaderValues, name: str) -> str | None:
    found = values.all(f"dead-letter-{name}")
    return text(found[0]) if found else None
