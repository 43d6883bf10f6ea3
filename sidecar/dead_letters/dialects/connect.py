"""Kafka Connect's sink connectors: headers `__connect.errors.*` in UTF-8 (`DeadLetterQueueReporter`).

They are written where `errors.deadletterqueue.context.headers.enable` is on. A dead letter has the timestamp of the
original record; no name is added twice. Connect retries retriable exceptions only (`RetryWithToleranceOperator`), so
any other exception of a converter or transformation means one attempt; what a sink task retries itself is unknown.
"""

from __future__ import annotations

from sidecar.dead_letters.dialects.dialect import Dialect, HeaderFields, RejectionFields
from sidecar.dead_letters.dialects.foreign_letter import FailureHeaders, HeaderValues, build_letter
from sidecar.domain.model import DeadLetter, Record, RootCause
from sidecar.domain.stream_names import StreamNames

_PREFIX = "__connect.errors."
_MARKERS = ("__connect.errors.topic",)
_STAGES_WITHOUT_RETRY = frozenset(("KEY_CONVERTER", "VALUE_CONVERTER", "HEADER_CONVERTER", "TRANSFORMATION"))
"""Stages that fail for good at the first exception that is not retriable."""


def _read(record: Record, naming: StreamNames) -> DeadLetter | None:
    values = HeaderValues(record.headers)
    if not values.has_any(_MARKERS):
        return None
    message, stage = values.text(f"{_PREFIX}exception.message"), values.text(f"{_PREFIX}stage")
    connector = values.text(f"{_PREFIX}connector.name")
    exception = values.text(f"{_PREFIX}exception.class.name")
    stacktrace = values.stacktrace(f"{_PREFIX}exception.stacktrace")
    is_single = stage in _STAGES_WITHOUT_RETRY and exception is not None and "Retriable" not in exception
    failure = FailureHeaders(
        stream=values.text(f"{_PREFIX}topic"),
        partition=values.number(f"{_PREFIX}partition", 4),
        offset=values.number(f"{_PREFIX}offset"),
        timestamp=record.timestamp,
        group=connector and f"connect-{connector}",
        exception=exception,
        message=f"{message or 'failed'} (at {stage})" if stage else message,
        attempts=1 if is_single else None,
        stacktrace=stacktrace,
        likely_cause=RootCause(exception, message) if exception else None,
    )
    return build_letter(record, naming, "connect", failure, _is_own)


def _is_own(name: str) -> bool:
    return name.startswith(_PREFIX)


def _write(failure: RejectionFields) -> HeaderFields:
    return [
        *failure.origin_as_text(),
        ("connector.name", failure.group),
        ("task.id", "0"),
        ("stage", "VALUE_CONVERTER"),
        ("class.name", "tracecar"),
        ("exception.class.name", failure.error),
        ("exception.message", failure.message),
        ("exception.stacktrace", failure.stacktrace),
    ]


DIALECT = Dialect(name="connect", framework="Kafka Connect", read=_read, markers=_MARKERS, prefix=_PREFIX, write=_write)
