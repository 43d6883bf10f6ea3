"""Many dead letters as few causes."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from sidecar.domain import failure_fingerprint
from sidecar.domain.failure_fingerprint import CauseGrouping, cause_fingerprint, normalize_message
from sidecar.domain.model import DeadLetter, Record, SchemaRef
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
def test_what_varies_is_not_part_of_a_cause(one: str, other: str) -> None:
    assert normalize_message(one) == normalize_message(other)
    assert cause_fingerprint(letter(message=one)) == cause_fingerprint(letter(message=other))


@pytest.mark.parametrize(
    "more",
    [
        {"stream": "payments"}, {"code": "decode.truncated"}, {"path": "data.total"}, {"message": "expected text"},
        {"schema": SchemaRef("payments-value", 1, 2)}, {"schema": None}, {"path": None},
    ],
)  # fmt: skip
def test_what_differs_is_another_cause(more: dict[str, Any]) -> None:
    assert cause_fingerprint(letter()) != cause_fingerprint(letter(**more))


def test_words_stay() -> None:
    assert normalize_message("can't decode deadbeef's added facade, isn't it") == (
        "can't decode deadbeef's added facade, isn't it"
    )


def test_a_cause_counts_its_letters_by_origin_and_tells_when() -> None:
    found = CauseGrouping(NOW + 2_000_000)
    for number in (3, 1, 2):
        found.add(letter(number))
    found.add(letter(1, group="other", dialect="spring"))
    found.add(letter(9, stream="payments", failed_at=None))
    first, second = found.found()
    assert (first.count, second.count, found.letters) == (3, 1, 4)
    assert (first.first_seen, first.last_seen) == (NOW + 1, NOW + 3)
    assert first.letter.id == "g@kafka://orders/0/3"
    assert (first.groups, first.dialects) == (["g", "other"], ["tracecar", "spring"])
    assert (first.aggregates, first.some_aggregates) == (3, ["o-3", "o-1", "o-2"])
    assert (first.recent, second.recent) == (3, 0), "without a time of failure, that of the letter's own record counts"


def test_the_key_stands_for_an_aggregate_that_is_not_told() -> None:
    found = CauseGrouping(NOW)
    for key in (b"o-1", b"o-1", b"\xff", None, b""):
        found.add(
            letter(found.letters, aggregate_id=None, record=Record(Position("kafka", "o", 0, 1), key, None, (), 5))
        )
    assert found.found()[0].some_aggregates == ["o-1", "\\xff"]


def test_too_many_causes_are_folded_and_the_greatest_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failure_fingerprint, "MAX_CAUSES", 10)
    found = CauseGrouping(NOW)
    for number in range(500):
        found.add(letter(number, message="the usual"))
        found.add(letter(number, message="word" + "x" * number))
    kept = found.found()
    assert len(kept) == 10
    assert kept[0].count == 500
    assert sum(one.count for one in kept) + found.folded == found.letters == 1_000
    assert "10" in found.notes[0]


def test_memory_is_bounded_whatever_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failure_fingerprint, "MAX_REMEMBERED_KEYS", 1_000)
    monkeypatch.setattr(failure_fingerprint, "MAX_CAUSES", 10)
    found = CauseGrouping(NOW)
    tracemalloc.start()
    for number in range(5_000):
        big = Record(Position("kafka", "orders.dlt", 0, number), b"k" * 100_000, b"v" * 100_000, (), 5)
        found.add(letter(number, message="x" * (number % 50), record=big, group=f"g-{number}"))
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 2_000_000
    assert found.letters == 5_000, "what is not remembered counts each time"
    assert all(len(one.groups) <= 20 for one in found.found())
    assert len(found.notes) == 2
