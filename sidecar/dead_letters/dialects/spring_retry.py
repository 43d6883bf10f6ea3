"""Spring Kafka's `@RetryableTopic`: `kafka_original-*` and `kafka_exception-*`, the group alone as the recoverer names
it, and `retry_topic-*` (`RetryTopicHeaders`). The origin stays that of the first failure on all retry topics."""

from __future__ import annotations

from sidecar.dead_letters.dialects import spring
from sidecar.dead_letters.dialects.foreign_reader import HeaderValues, letter
from sidecar.domain.model import DeadLetter, Record
from sidecar.domain.stream_names import StreamNames

MARKS = ("kafka_original-topic", "kafka_exception-fqcn", "retry_topic-attempts")
_OWN = ("kafka_original-", "kafka_exception-", "kafka_key-exception-", "retry_topic-")


def read(record: Record, naming: StreamNames) -> DeadLetter | None:
    values = HeaderValues(record.headers)
    if not any(values.all(mark) for mark in MARKS):
        return None
    told = spring.read_failure(values, record, "kafka_")
    told.attempts = values.number("retry_topic-attempts", 4) or told.attempts
    if told.timestamp is None:
        told.timestamp = values.number("retry_topic-original-timestamp")
    return letter(record, naming, "spring-retry", told, _is_own)


def _is_own(name: str) -> bool:
    return name.startswith(_OWN) or spring.is_own(name)
