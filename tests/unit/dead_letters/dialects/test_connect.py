"""Kafka Connect's dead letters."""

from __future__ import annotations

from sidecar.domain.model import RootCause
from tests.support.dead_letters import AT, CONNECT, NOW, assert_restored, assert_written, facts, letter


def test_headers_are_read() -> None:
    found = assert_restored(CONNECT)
    assert facts(found) == (
        "connect", "reported.error", "orders", AT, NOW, "connect-warehouse-sink", 1, None,
        "org.apache.kafka.connect.errors.DataException: Failed to deserialize data for topic orders "
        "(at VALUE_CONVERTER)",
    )  # fmt: skip
    assert found.root_cause == RootCause("org.apache.kafka.connect.errors.DataException", "...")


def test_attempts_are_unknown_where_connect_may_have_retried() -> None:
    def with_header(name: str, value: bytes) -> int | None:
        return letter(tuple((n, value if n == f"__connect.errors.{name}" else v) for n, v in CONNECT)).attempts

    assert with_header("stage", b"TASK_PUT") is None
    assert with_header("exception.class.name", b"org.apache.kafka.connect.errors.RetriableException") is None


def test_headers_are_written() -> None:
    assert assert_written("connect")[0].group == "connect-tracecar.shop"
