"""Spring Cloud Stream's dead letters."""

from __future__ import annotations

from sidecar.domain.model import Headers
from tests.support.dead_letters import AT, CLOUD, NOW, THEN, assert_restored, facts, letter


def test_headers_are_read() -> None:
    assert facts(assert_restored(CLOUD)) == (
        "spring-cloud-stream", "reported.error", "orders", AT, THEN, None, None, NOW * 1000,
        "org.springframework.messaging.MessageHandlingException: error occurred in message handler; no stock",
    )  # fmt: skip


def test_the_group_is_in_the_name_of_the_stream() -> None:
    assert letter(CLOUD, "error.orders.billing.eu").group == "billing.eu"


def test_custom_headers_with_numbers_as_text_are_understood() -> None:
    custom: Headers = (
        ("x-original-topic", b"orders"), ("x-original-partition", b"3"), ("x-original-offset", b"4711"),
    )  # fmt: skip
    assert str(letter(custom).origin) == AT
