"""Spring Kafka's `DeadLetterPublishingRecoverer`: `kafka_dlt-*`, numbers as big-endian bytes.

With each round the recoverer adds headers of the same names, unless it is told to replace them: the first are of the
first failure, the last of the latest (`KafkaHeaders`, `DeadLetterPublishingRecoverer.HeaderNames`)."""

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

PREFIX = "kafka_dlt-"
MARKS = ("kafka_dlt-original-topic", "kafka_dlt-exception-fqcn", "kafka_dlt-key-exception-fqcn")
GROUP = "kafka_dlt-original-consumer-group"
ATTEMPT = "kafka_deliveryAttempt"
_IN_PASSING = (ATTEMPT, "springDeserializerExceptionKey", "springDeserializerExceptionValue")
"""What the listener container hangs on a record on its way."""


def read(record: Record, naming: StreamNames) -> DeadLetter | None:
    values = HeaderValues(record.headers)
    if not any(values.all(mark) for mark in MARKS):
        return None
    return letter(record, naming, "spring", read_failure(values, record, PREFIX), is_own)


def read_failure(values: HeaderValues, record: Record, prefix: str) -> FailureHeaders:
    """What headers with these names tell; `@RetryableTopic` uses the same ones with another prefix."""
    original = f"{prefix}original-"
    topic, places = latest_at_the_first(
        values.all(f"{original}topic"),
        values.all(f"{original}partition"),
        values.all(f"{original}offset"),
        values.all(f"{original}timestamp"),
    )
    exception, message = _failure(values, prefix)
    return FailureHeaders(
        stream=text(topic),
        partition=number(places[0], 4),
        offset=number(places[1]),
        timestamp=number(places[2]),
        group=values.text(GROUP),
        exception=exception,
        message=message,
        attempts=values.number(ATTEMPT, 4),
        failed_at=record.timestamp * 1000,
    )


def _failure(values: HeaderValues, prefix: str) -> tuple[str | None, str | None]:
    """Class and message: of the cause where one is named, for the outer class is the listener's wrapper; of the key
    where the value has none."""
    for kind in ("", "key-"):
        name = values.text(f"{prefix}{kind}exception-fqcn")
        message = values.text(f"{prefix}{kind}exception-message")
        if name or message:
            cause = None if kind else values.text(f"{prefix}exception-cause-fqcn")
            return cause or name, f"key: {message}" if kind and message else message
    return None, None


def is_own(name: str) -> bool:
    return name.startswith(PREFIX) or name in _IN_PASSING
