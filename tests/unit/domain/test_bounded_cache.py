"""A bounded mapping that evicts the least recently used entries."""

from __future__ import annotations

import pytest

from sidecar.domain.bounded_cache import BoundedCache


def test_the_cache_never_exceeds_its_size() -> None:
    recent: BoundedCache[int, int] = BoundedCache(10)
    for number in range(1_000):
        recent[number] = number
        assert len(recent.snapshot()) <= 10


def test_used_entries_stay_and_unused_ones_are_evicted() -> None:
    recent: BoundedCache[str, int] = BoundedCache(10)
    recent["hot"] = recent["cold"] = 1
    for number in range(100):
        recent[str(number)] = number
        assert recent["hot"] == 1
    assert recent.find("cold") is None
    with pytest.raises(KeyError):
        recent["cold"]


def test_none_is_a_value_and_clearing_forgets_both_generations() -> None:
    recent: BoundedCache[int, None] = BoundedCache(4)
    for number in range(4):
        recent[number] = None
    assert recent[0] is None
    recent.clear()
    assert recent.snapshot() == {}
