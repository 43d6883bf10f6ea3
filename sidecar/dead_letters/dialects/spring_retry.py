"""Spring Kafka's `@RetryableTopic`: `kafka_original-*`, `kafka_exception-*` and `retry_topic-*` (`RetryTopicHeaders`).

Only the header of the group has the recoverer's name. The origin stays that of the first failure on all retry topics.
`retry_topic-attempts` on a dead letter is the number of the next attempt.
"""

from __future__ import annotations

from sidecar.dead_letters.dialects import spring
from sidecar.dead_letters.dialects.dialect import Dialect
from sidecar.dead_letters.dialects.foreign_letter import HeaderValues, build_letter
from sidecar.domain.model import DeadLetter, Record
from sidecar.domain.stream_names import StreamNames

_MARKERS = ("kafka_original-topic", "kafka_exception-fqcn", "retry_topic-attempts")
_OWN = ("kafka_original-", "kafka_exception-", "kafka_key-exception-", "retry_topic-")


def _read(record: Record, naming: StreamNames) -> DeadLetter | None:
    values = HeaderValues(record.headers)
    if not values.has_any(_MARKERS):
        return None
    failure = spring.read_failure(values, record, "kafka_")
    next_attempt = values.number("retry_topic-attempts", 4)
    if next_attempt is not None:
        failure.attempts = next_attempt - 1 or None
    if failure.timestamp is None:
        failure.timestamp = values.number("retry_topic-original-timestamp")
    return build_letter(record, naming, "spring-retry", failure, _is_own)


def _is_own(name: str) -> bool:
    return name.startswith(_OWN) or spring.is_own(name)


DIALECT = Dialect(
    name="spring-retry", framework="Spring @RetryableTopic", read=_read, markers=_MARKERS, streams=("{stream}-dlt",)
)
