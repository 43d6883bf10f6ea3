"""Spring Kafka's `DeadLetterPublishingRecoverer`: headers `kafka_dlt-*`, numbers as big-endian bytes.

Each failure adds headers with the same names, unless the recoverer is configured to replace them. The first value of a
name belongs to the first failure, the last to the latest one (`KafkaHeaders`,
`DeadLetterPublishingRecoverer.HeaderNames`). Without a header for the delivery attempt
(`ContainerProperties.deliveryAttemptHeader`) the number of attempts is unknown. Spring serializes again what it was
able to deserialize (the value, if only the key failed), so the bytes of the dead letter may differ from the original.
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

PREFIX = "kafka_dlt-"
GROUP_HEADER = "kafka_dlt-original-consumer-group"
ATTEMPT_HEADER = "kafka_deliveryAttempt"
_MARKERS = ("kafka_dlt-original-topic", "kafka_dlt-exception-fqcn", "kafka_dlt-key-exception-fqcn")
_CONTAINER_HEADERS = (ATTEMPT_HEADER, "springDeserializerExceptionKey", "springDeserializerExceptionValue")
"""Headers that the listener container adds to a record on its way."""
_MAX_LONG_NUMBER = 2**63 - 1


def _read(record: Record, naming: StreamNames) -> DeadLetter | None:
    values = HeaderValues(record.headers)
    if not values.has_any(_MARKERS):
        return None
    return build_letter(record, naming, "spring", read_failure(values, record, PREFIX), is_own)


def read_failure(values: HeaderValues, record: Record, prefix: str) -> FailureHeaders:
    """Read the failure from headers that begin with `prefix`; `@RetryableTopic` uses another prefix."""
    original = f"{prefix}original-"
    topic, (partition, offset, timestamp) = latest_on_first_stream(
        *[values.all(original + name) for name in ("topic", "partition", "offset", "timestamp")]
    )
    exception, message, stacktrace = _exception(values, prefix)
    cause = values.text(f"{prefix}exception-cause-fqcn")
    return FailureHeaders(
        stream=to_text(topic),
        partition=to_number(partition, 4),
        offset=to_number(offset),
        timestamp=to_number(timestamp),
        group=values.text(GROUP_HEADER),
        exception=exception,
        message=message,
        attempts=values.number(ATTEMPT_HEADER, 4),
        failed_at=record.timestamp * 1000,
        stacktrace=stacktrace,
        likely_cause=RootCause(cause, message) if cause else None,
        reserialized=True,
    )


def _exception(values: HeaderValues, prefix: str) -> tuple[str | None, str | None, str | None]:
    """Return class, message and stack trace of the value's exception, else of the key's.

    The class is that of the cause where one is named: the outer class is the listener's wrapper, and its message ends
    with the cause's.
    """
    for kind in ("", "key-"):
        name = values.text(f"{prefix}{kind}exception-fqcn")
        message = values.text(f"{prefix}{kind}exception-message")
        if name or message:
            cause = None if kind else values.text(f"{prefix}exception-cause-fqcn")
            stacktrace = values.stacktrace(f"{prefix}{kind}exception-stacktrace")
            return cause or name, f"key: {message}" if kind and message else message, stacktrace
    return None, None, None


def is_own(name: str) -> bool:
    """Check whether Spring added this header."""
    return name.startswith(PREFIX) or name in _CONTAINER_HEADERS


def _write(failure: RejectionFields) -> HeaderFields:
    place = failure.partition_and_offset
    is_long = -_MAX_LONG_NUMBER <= failure.timestamp <= _MAX_LONG_NUMBER
    return [
        ("original-topic", failure.position.stream),
        ("original-partition", None if place is None else place[0].to_bytes(4, "big")),
        ("original-offset", None if place is None else place[1].to_bytes(8, "big")),
        ("original-timestamp", failure.timestamp.to_bytes(8, "big", signed=True) if is_long else None),
        ("original-consumer-group", failure.group),
        ("exception-fqcn", failure.error),
        ("exception-message", failure.message),
        ("exception-stacktrace", failure.stacktrace),
    ]


DIALECT = Dialect(
    name="spring",
    framework="Spring Kafka",
    read=_read,
    markers=_MARKERS,
    streams=("{stream}-dlt", "{stream}.DLT"),
    prefix=PREFIX,
    write=_write,
)
