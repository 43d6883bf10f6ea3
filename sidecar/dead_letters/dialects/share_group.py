"""Kafka share groups (KIP-1191): headers `__dlq.errors.*` in UTF-8, written by the broker.

The record's headers are never copied, key and value only where `errors.deadletterqueue.copy.record.enable` is on. The
omitted parts are read from the origin.
"""

from __future__ import annotations

from sidecar.dead_letters.dialects.dialect import Dialect, HeaderFields, RejectionFields
from sidecar.dead_letters.dialects.foreign_letter import FailureHeaders, HeaderValues, build_letter
from sidecar.domain.model import DeadLetter, Record
from sidecar.domain.stream_names import StreamNames

_PREFIX = "__dlq.errors."
_MARKERS = ("__dlq.errors.topic",)


def _read(record: Record, naming: StreamNames) -> DeadLetter | None:
    values = HeaderValues(record.headers)
    if not values.has_any(_MARKERS):
        return None
    is_copied = record.key is not None or record.value is not None
    failure = FailureHeaders(
        stream=values.text(f"{_PREFIX}topic"),
        partition=values.number(f"{_PREFIX}partition", 4),
        offset=values.number(f"{_PREFIX}offset"),
        group=values.text(f"{_PREFIX}group"),
        message=values.text(f"{_PREFIX}message"),
        attempts=values.number(f"{_PREFIX}delivery.count", 4),
        failed_at=record.timestamp * 1000,
        code="delivery.exhausted",
        omitted=("headers",) if is_copied else ("body", "headers", "key"),
    )
    return build_letter(record, naming, "share-group", failure, _is_own)


def _is_own(name: str) -> bool:
    return name.startswith(_PREFIX)


def _write(failure: RejectionFields) -> HeaderFields:
    return [
        *failure.origin_as_text(),
        ("group", failure.group),
        ("delivery.count", str(failure.attempts)),
        ("message", failure.message),
    ]


DIALECT = Dialect(
    name="share-group",
    framework="Kafka share groups",
    read=_read,
    markers=_MARKERS,
    streams=("dlq.*",),
    prefix=_PREFIX,
    write=_write,
)
