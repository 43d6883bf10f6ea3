"""Share groups' dead letters."""

from __future__ import annotations

from sidecar.dead_letters.dialects import read
from tests.support.dead_letters import (
    AT,
    NAMING,
    NOW,
    SHARE,
    assert_restored,
    assert_written,
    facts,
    landed,
    letter,
)


def test_headers_are_read() -> None:
    assert facts(assert_restored(SHARE)) == (
        "share-group", "delivery.exhausted", "orders", AT, None, "billing", 5, NOW * 1000,
        "Offset delivery count exceeded the threshold.",
    )  # fmt: skip


def test_a_letter_may_leave_the_record_at_its_origin() -> None:
    empty = read(landed(SHARE, "dlq.shop", key=None, value=None), NAMING)
    assert empty.omitted == ("body", "headers", "key")
    assert letter(SHARE).omitted == ("headers",)


def test_headers_are_written() -> None:
    assert assert_written("share-group")[0].attempts == 1
