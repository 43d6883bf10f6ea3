"""Kafka Streams (KIP-1034): headers `__streams.errors.*` in UTF-8, added after the record's own.

A dead letter has the timestamp of the record that was processed. The group is unknown: the application id is not
among the headers. Streams never retries a record before its dead-letter queue, so there was one attempt.
"""

from __future__ import annotations

from sidecar.dead_letters.dialects.dialect import Dialect, HeaderFields, RejectionFields
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

_PREFIX = "__streams.errors."
_MARKERS = ("__streams.errors.topic", "__streams.errors.exception")


def _read(record: Record, naming: StreamNames) -> DeadLetter | None:
    values = HeaderValues(record.headers)
    if not values.has_any(_MARKERS):
        return None
    topic, (partition, offset) = latest_on_first_stream(
        *[values.all(_PREFIX + name) for name in ("topic", "partition", "offset")]
    )
    exception, message = values.text(f"{_PREFIX}exception"), values.text(f"{_PREFIX}message")
    stacktrace = values.stacktrace(f"{_PREFIX}stacktrace")
    failure = FailureHeaders(
        stream=to_text(topic),
        partition=to_number(partition, 4),
        offset=to_number(offset),
        timestamp=record.timestamp,
        exception=exception,
        message=message,
        attempts=1,
        stacktrace=stacktrace,
        likely_cause=RootCause(exception, message) if exception else None,
    )
    return build_letter(record, naming, "streams", failure, _is_own)


def _is_own(name: str) -> bool:
    return name.startswith(_PREFIX)


def _write(failure: RejectionFields) -> HeaderFields:
    return [
        ("exception", failure.error),
        ("message", failure.message),
        ("stacktrace", failure.stacktrace),
        *failure.origin_as_text(),
    ]


DIALECT = Dialect(name="streams", framework="Kafka Streams", read=_read, markers=_MARKERS, prefix=_PREFIX, write=_write)
