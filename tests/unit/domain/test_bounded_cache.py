"""A bounded mapping of what was used lately."""

from __future__ import annotations

import pytest

from sidecar.domain.bounded_cache import Recent


def test_it_never_holds_more_than_its_size() -> None:
    recent: Recent[int, int] = Recent(10)
    for number in range(1_000):
        recent[number] = number
        assert len(recent.held()) <= 10


def test_what_is_asked_for_stays_and_what_is_not_goes() -> None:
    recent: Recent[str, int] = Recent(10)
    recent["hot"] = recent["cold"] = 1
    for number in range(100):
        recent[str(number)] = number
        assert recent["hot"] == 1
    assert recent.find("cold") is None
    with pytest.raises(KeyError):
        recent["cold"]


def test_none_is_a_value_and_clearing_forgets_both_generations() -> None:
    recent: Recent[int, None] = Recent(4)
    for number in range(4):
        recent[number] = None
    assert recent[0] is None
    recent.clear()
    assert recent.held() == {}
