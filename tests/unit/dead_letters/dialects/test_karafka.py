"""Karafka's dead letters."""

from __future__ import annotations

from sidecar.dead_letters.dialects import read
from tests.support.dead_letters import AT, KARAFKA, NAMING, NOW, assert_restored, facts, landed, letter


def test_headers_are_read() -> None:
    assert facts(assert_restored(KARAFKA)) == (
        "karafka", "reported.error", "orders", AT, None, "shop_billing", 3, NOW * 1000,
        "Karafka does not tell the error",
    )  # fmt: skip


def test_old_versions_put_the_partition_in_the_keys_place() -> None:
    old = tuple((name.replace("source", "original"), value) for name, value in KARAFKA[:4])
    found = read(landed(old, key=b"3"), NAMING)
    assert (found.dialect, str(found.origin), found.omitted) == ("karafka", AT, ("key",))
    assert found.attempts is None


def test_a_plain_name_alone_is_no_dialect() -> None:
    assert letter((("original_topic", b"orders"),)).dialect == "unknown"
