"""Share groups (KIP-1191): `__dlq.errors.*` in UTF-8, written by the broker. The record's headers are never copied, its
key and value only where `errors.deadletterqueue.copy.record.enable` is on: the rest is to be had at the origin."""

from __future__ import annotations

from sidecar.dead_letters.dialects.foreign_reader import FailureHeaders, HeaderValues, letter
from sidecar.domain.model import DeadLetter, Record
from sidecar.domain.stream_names import StreamNames

PREFIX = "__dlq.errors."
MARKS = ("__dlq.errors.topic",)


def read(record: Record, naming: StreamNames) -> DeadLetter | None:
    values = HeaderValues(record.headers)
    if not any(values.all(mark) for mark in MARKS):
        return None
    copied = record.key is not None or record.value is not None
    told = FailureHeaders(
        stream=values.text(f"{PREFIX}topic"),
        partition=values.number(f"{PREFIX}partition", 4),
        offset=values.number(f"{PREFIX}offset"),
        group=values.text(f"{PREFIX}group"),
        message=values.text(f"{PREFIX}message"),
        attempts=values.number(f"{PREFIX}delivery.count", 4),
        failed_at=record.timestamp * 1000,
        code="delivery.exhausted",
        omitted=("headers",) if copied else ("body", "headers", "key"),
    )
    return letter(record, naming, "share-group", told, _is_own)


def _is_own(name: str) -> bool:
    return name.startswith(PREFIX)
