"""SmallRye's dead letters."""

from __future__ import annotations

from sidecar.domain.model import RootCause
from tests.support.dead_letters import AT, NOW, SMALLRYE, assert_restored, facts, letter


def test_headers_are_read_and_class_and_message_are_of_the_same_exception() -> None:
    found = assert_restored(SMALLRYE)
    assert facts(found) == (
        "smallrye", "reported.error", "orders", AT, None, None, 1, NOW * 1000,
        "java.lang.RuntimeException: no stock of sku 17",
    )  # fmt: skip
    assert found.root_cause == RootCause("com.acme.OutOfStock", "sku 17")


def test_the_first_of_repeated_headers_is_the_latest() -> None:
    again = tuple((name, {"dead-letter-topic": b"orders-dlq"}.get(name, value)) for name, value in SMALLRYE)
    again = tuple((name, b"still none" if name == "dead-letter-reason" else value) for name, value in again)
    found = letter(again + SMALLRYE)
    assert (str(found.origin), found.message) == (AT, "java.lang.RuntimeException: still none")


def test_early_versions_tell_less() -> None:
    early = letter((("dead-letter-reason", b"no stock"),))
    assert early.message == "no stock"
    assert early.stream == "orders", "by the name of its stream"
    assert early.root_cause is None


def test_attempts_are_unknown_after_delayed_retries() -> None:
    assert letter((*SMALLRYE, ("delayed-retry-count", b"2"))).attempts is None
