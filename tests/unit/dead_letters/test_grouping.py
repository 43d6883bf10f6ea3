"""Grouping of dead letters by cause."""

from __future__ import annotations

import tracemalloc

import pytest

from sidecar.dead_letters import grouping
from sidecar.dead_letters.grouping import CauseGrouping
from sidecar.domain.model import Record
from sidecar.domain.position import Position
from tests.unit.domain.test_failure_fingerprint import NOW, letter


def test_a_cause_counts_its_letters_by_origin_with_times() -> None:
    found = CauseGrouping(NOW + 2_000_000)
    for number in (3, 1, 2):
        found.add(letter(number))
    found.add(letter(1, group="other", dialect="spring"))
    found.add(letter(9, stream="payments", failed_at=None))
    first, second = found.causes()
    assert (first.count, second.count, found.letters) == (3, 1, 4)
    assert (first.first_seen, first.last_seen) == (NOW + 1, NOW + 3)
    assert first.letter.id == "g@kafka://orders/0/3"
    assert (first.groups, first.dialects) == (["g", "other"], ["tracecar", "spring"])
    assert (first.aggregates, first.some_aggregates) == (3, ["o-3", "o-1", "o-2"])
    assert (first.recent, second.recent) == (3, 0), "without a time of failure, that of the letter's own record counts"


def test_the_key_replaces_a_missing_aggregate_id() -> None:
    found = CauseGrouping(NOW)
    for key in (b"o-1", b"o-1", b"\xff", None, b""):
        found.add(
            letter(found.letters, aggregate_id=None, record=Record(Position("kafka", "o", 0, 1), key, None, (), 5))
        )
    assert found.causes()[0].some_aggregates == ["o-1", "\\xff"]


def test_too_many_causes_are_folded_except_the_largest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping, "MAX_CAUSES", 10)
    found = CauseGrouping(NOW)
    for number in range(500):
        found.add(letter(number, message="the usual"))
        found.add(letter(number, message="word" + "x" * number))
    kept = found.causes()
    assert len(kept) == 10
    assert kept[0].count == 500
    assert sum(one.count for one in kept) + found.folded == found.letters == 1_000
    assert "10" in found.notes[0]


def test_memory_is_bounded_for_any_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping, "MAX_REMEMBERED_KEYS", 1_000)
    monkeypatch.setattr(grouping, "MAX_CAUSES", 10)
    found = CauseGrouping(NOW)
    tracemalloc.start()
    for number in range(5_000):
        big = Record(Position("kafka", "orders.dlt", 0, number), b"k" * 100_000, b"v" * 100_000, (), 5)
        found.add(letter(number, message="x" * (number % 50), record=big, group=f"g-{number}"))
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 2_000_000
    assert found.letters == 5_000, "what is not remembered counts each time"
    assert all(len(one.groups) <= 20 for one in found.causes())
    assert len(found.notes) == 2
