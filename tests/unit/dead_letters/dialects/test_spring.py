"""Spring Kafka's dead letters."""

from __future__ import annotations

from struct import pack

from sidecar.domain.model import RootCause
from tests.support.dead_letters import (
    AT,
    NOW,
    STOCK,
    THEN,
    assert_restored,
    assert_written,
    facts,
    letter,
    spring,
)

JVM_TRACE = b"""org.springframework.kafka.listener.ListenerExecutionFailedException: Listener failed
\tat org.springframework.kafka.listener.KafkaMessageListenerContainer.doInvoke(KafkaMessageListenerContainer.java:1)
\tSuppressed: org.springframework.kafka.listener.ListenerExecutionFailedException: Restored Stack Trace
\t\tat org.springframework.kafka.listener.adapter.MessagingMessageListenerAdapter.invoke(A.java:2)
\t\tCaused by: java.lang.Error: of the suppressed one
Caused by: App$CardDeclined: card of order o-2 was declined
\t... 10 more
Caused by: java.net.ConnectException: bank is away
\t... 24 more
"""


def test_headers_are_read() -> None:
    found = assert_restored(spring())
    assert facts(found) == (
        "spring", "reported.error", "orders", AT, THEN, "billing", None, NOW * 1000, STOCK,
    )  # fmt: skip
    assert found.root_cause == RootCause("com.acme.OutOfStock", "Listener failed; no stock of sku 17")


def test_the_root_cause_is_the_last_one_of_the_stack_trace() -> None:
    found = letter((*spring()[:-1], ("kafka_dlt-exception-stacktrace", JVM_TRACE)))
    assert found.root_cause == RootCause("java.net.ConnectException", "bank is away")
    assert found.stacktrace == JVM_TRACE.decode()


def test_headers_that_repeat_are_of_the_first_and_the_latest_failure() -> None:
    on_a_retry_topic = (*spring(b"orders-retry", 0, 9)[:-2], ("kafka_dlt-exception-message", b"still no stock"))
    found = letter(spring() + on_a_retry_topic)
    assert str(found.origin) == AT
    assert found.message == "com.acme.OutOfStock: still no stock"
    assert found.record is not None
    assert found.record.headers == ()
    published_again = letter(spring() + spring(b"orders", 2, 5_000, THEN + 9))
    assert (str(published_again.origin), published_again.origin_timestamp) == ("kafka://orders/2/5000", THEN + 9)


def test_a_failing_key_is_reported_and_marks_the_record_as_reserialized() -> None:
    headers = (
        *spring()[:6],
        ("kafka_dlt-key-exception-fqcn", b"org.springframework.kafka.support.serializer.DeserializationException"),
        ("kafka_dlt-key-exception-message", b"failed to deserialize"),
        ("kafka_deliveryAttempt", pack(">i", 3)),
    )
    found = letter(headers)
    assert found.message == (
        "org.springframework.kafka.support.serializer.DeserializationException: key: failed to deserialize"
    )
    assert found.attempts == 3
    assert found.reserialized


def test_headers_are_written() -> None:
    found, foreign = assert_written("spring")
    assert dict(foreign)["kafka_dlt-original-offset"] == pack(">q", 4711)
    assert (found.group, found.origin_timestamp) == ("tracecar.shop", THEN)
