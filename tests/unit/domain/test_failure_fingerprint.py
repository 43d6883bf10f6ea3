"""Fingerprints: equal for failures of one cause, different for others."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.domain.failure_fingerprint import cause_fingerprint, normalize_message
from sidecar.domain.model import DeadLetter, Record, RootCause, SchemaRef
from sidecar.domain.position import Position

NOW = 1_767_225_600_000_000


def letter(number: int = 0, **more: Any) -> DeadLetter:
    position = Position("kafka", "orders.dlt", 0, number)
    fields: dict[str, Any] = {
        "id": f"g@kafka://orders/0/{number}",
        "position": position,
        "origin": Position("kafka", "orders", 0, number),
        "origin_timestamp": 5,
        "stream": "orders",
        "group": "g",
        "code": "schema.mismatch",
        "message": f'expected int, found "{number}" of order {number}',
        "path": f"data.items[{number}].qty",
        "event_id": None,
        "type": "OrderPlaced",
        "trace_id": None,
        "aggregate_id": f"o-{number}",
        "failed_at": NOW + number,
        "attempts": 1,
        "dialect": "tracecar",
        "schema": SchemaRef("orders-value", 3, 17),
        "record": Record(position, b"k", b"v" * 100, (), 5),
    }
    return DeadLetter(**{**fields, **more})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('no order "4711" of "Ann \\"A.\\" Lee"', 'no order "12" of "Bob"'),
        ("no order 4711 at 12:30:01.5", "no order 9 at 09:00:59"),
        ("no order 'o-4711' in 'eu'", "no order 'p' in 'us'"),
        ("order 0af76519-16cd-43dd-8448-eb211c80319c", "order B7AD6B71-6920-3331-8448-eb211c80319c"),
        ("order 0xdeadbeef01", "order 65a1f9c0de"),
        ("two\n lines   here", "two lines here"),
    ],
)
def test_variable_parts_do_not_change_the_cause(one: str, other: str) -> None:
    assert normalize_message(one) == normalize_message(other)
    assert cause_fingerprint(letter(message=one)) == cause_fingerprint(letter(message=other))


@pytest.mark.parametrize(
    "more",
    [
        {"stream": "payments"}, {"code": "decode.truncated"}, {"path": "data.total"}, {"message": "expected text"},
        {"schema": SchemaRef("payments-value", 1, 2)}, {"schema": None}, {"path": None},
    ],
)  # fmt: skip
def test_different_failures_are_different_causes(more: dict[str, Any]) -> None:
    assert cause_fingerprint(letter()) != cause_fingerprint(letter(**more))


def test_words_stay() -> None:
    assert normalize_message("can't decode deadbeef's added facade, isn't it") == (
        "can't decode deadbeef's added facade, isn't it"
    )


def test_the_root_cause_counts_where_it_is_known() -> None:
    away = RootCause("java.net.ConnectException", "bank 17 is away")
    same = letter(1, message="Listener failed", root_cause=away)
    wrapped = letter(2, message="Batch failed at row 3", root_cause=RootCause(away.type, "bank 9 is away"))
    other = letter(3, message="Listener failed", root_cause=RootCause("App$CardDeclined", "bank 17 is away"))
    assert cause_fingerprint(same) == cause_fingerprint(wrapped)
    assert cause_fingerprint(same) != cause_fingerprint(other)
    assert cause_fingerprint(same) != cause_fingerprint(letter(4, message="Listener failed"))
