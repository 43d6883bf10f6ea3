"""Wolverine's dead letters."""

from __future__ import annotations

from sidecar.dead_letters.dialects import read
from sidecar.domain.model import Record, RootCause
from sidecar.domain.position import Position
from tests.support.dead_letters import AT, NAMING, NOW, WOLVERINE, assert_restored, facts, letter


def test_headers_are_read() -> None:
    found = assert_restored(WOLVERINE)
    assert facts(found) == (
        "wolverine", "reported.error", "orders", AT, None, None, None, (NOW - 7) * 1000,
        "System.InvalidOperationException: no stock of sku 17",
    )  # fmt: skip
    assert found.root_cause == RootCause("System.InvalidOperationException", "no stock of sku 17")
    assert found.stacktrace == "   at Acme.Billing.Handle()"


def test_early_versions_tell_less_and_a_plain_name_alone_is_no_dialect() -> None:
    assert letter(WOLVERINE[:4]).dialect == "wolverine"
    assert letter((("exception-type", b"my own"),)).dialect == "unknown"


def test_on_redis_the_body_keeps_its_place_among_the_records_own_fields() -> None:
    fields = (*WOLVERINE[:2], ("a", b"1"), *WOLVERINE[2:], ("b", b"2"))
    found = read(Record(Position("redis", "orders-dlt", 0, 5), None, b"{}", fields, NOW, value_at=4), NAMING)
    assert found.record is not None
    assert (found.record.headers, found.record.value_at) == ((("a", b"1"), ("b", b"2")), 1)
