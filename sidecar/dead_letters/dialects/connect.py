"""Kafka Connect's sink connectors: `__connect.errors.*` in UTF-8, where
`errors.deadletterqueue.context.headers.enable` is on (`DeadLetterQueueReporter`). A letter has its origin's timestamp;
no name is added twice."""

from __future__ import annotations

from sidecar.dead_letters.dialects.foreign_reader import FailureHeaders, HeaderValues, letter
from sidecar.domain.model import DeadLetter, Record
from sidecar.domain.stream_names import StreamNames

PREFIX = "__connect.errors."
MARKS = ("__connect.errors.topic",)


def read(record: Record, naming: StreamNames) -> DeadLetter | None:
    values = HeaderValues(record.headers)
    if not any(values.all(mark) for mark in MARKS):
        return None
    message, stage = values.text(f"{PREFIX}exception.message"), values.text(f"{PREFIX}stage")
    connector = values.text(f"{PREFIX}connector.name")
    told = FailureHeaders(
        stream=values.text(f"{PREFIX}topic"),
        partition=values.number(f"{PREFIX}partition", 4),
        offset=values.number(f"{PREFIX}offset"),
        timestamp=record.timestamp,
        group=connector and f"connect-{connector}",
        exception=values.text(f"{PREFIX}exception.class.name"),
        message=f"{message or 'failed'} (at {stage})" if stage else message,
    )
    return letter(record, naming, "connect", told, _is_own)


def _is_own(name: str) -> bool:
    return name.startswith(PREFIX)
