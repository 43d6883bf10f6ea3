"""Kafka Streams (KIP-1034): `__streams.errors.*` in UTF-8, added after the record's headers, with the timestamp of the
record that was processed. Who failed is not told: the application's id is not among the headers."""

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

PREFIX = "__streams.errors."
MARKS = ("__streams.errors.topic", "__streams.errors.exception")


def read(record: Record, naming: StreamNames) -> DeadLetter | None:
    values = HeaderValues(record.headers)
    if not any(values.all(mark) for mark in MARKS):
        return None
    topic, (partition, offset) = latest_at_the_first(
        values.all(f"{PREFIX}topic"), values.all(f"{PREFIX}partition"), values.all(f"{PREFIX}offset")
    )
    told = FailureHeaders(
        stream=text(topic),
        partition=number(partition, 4),
        offset=number(offset),
        timestamp=record.timestamp,
        exception=values.text(f"{PREFIX}exception"),
        message=values.text(f"{PREFIX}message"),
    )
    return letter(record, naming, "streams", told, _is_own)


def _is_own(name: str) -> bool:
    return name.startswith(PREFIX)
