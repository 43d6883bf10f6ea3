"""Dead letters of Spring's `@RetryableTopic`."""

from __future__ import annotations

from struct import pack

from tests.support.dead_letters import AT, NOW, RETRY, STOCK, THEN, assert_restored, facts, letter


def test_headers_are_read_and_the_attempt_is_the_one_before_the_next() -> None:
    assert facts(assert_restored(RETRY)) == (
        "spring-retry", "reported.error", "orders", AT, THEN, "billing", 3, NOW * 1000, STOCK,
    )  # fmt: skip


def test_without_its_attempts_header_the_attempts_are_unknown() -> None:
    assert letter(tuple(header for header in RETRY if header[0] != "retry_topic-attempts")).attempts is None
    one = tuple((name, pack(">i", 1) if name == "retry_topic-attempts" else value) for name, value in RETRY)
    assert letter(one).attempts is None
