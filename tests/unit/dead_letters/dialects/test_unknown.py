"""Dead letters of unknown frameworks."""

from __future__ import annotations

from tests.support.dead_letters import NOW, OWN, facts, letter


def test_the_record_failed_on_the_stream_that_the_name_implies() -> None:
    found = letter(OWN)
    assert facts(found) == (
        "unknown", "reported.error", "orders", "None", None, None, None, NOW * 1000,
        "no dead-letter headers that Tracecar knows",
    )  # fmt: skip
    assert found.record is not None
    assert found.record.headers == OWN
