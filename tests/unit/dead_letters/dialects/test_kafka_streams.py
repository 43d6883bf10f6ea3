"""Kafka Streams' dead letters."""

from __future__ import annotations

from sidecar.domain.model import RootCause
from tests.support.dead_letters import AT, NOW, STREAMS, assert_restored, assert_written, facts


def test_headers_are_read() -> None:
    found = assert_restored(STREAMS)
    assert facts(found) == (
        "streams", "reported.error", "orders", AT, NOW, None, 1, None,
        "java.lang.IllegalStateException: no price for 17",
    )  # fmt: skip
    assert found.root_cause == RootCause("java.lang.IllegalStateException", "...")


def test_headers_are_written() -> None:
    assert_written("streams")
