"""The time at which a group consumed an event."""

from __future__ import annotations

import random

from sidecar.pipeline.consumer_groups.progress import MAX_COMMITS_PER_PARTITION, ProgressHistory


def test_consumption_before_the_first_poll_has_no_time():
    assert ProgressHistory(10, 1_000).consumed_between(9) is None


def test_later_consumption_is_between_two_polls():
    history = ProgressHistory(10, 1_000)
    history.add(20, 1_500, 2_000)
    history.add(21, 2_500, 3_000)
    assert history.consumed_between(9) is None
    assert history.consumed_between(10) == history.consumed_between(19) == (1_500, 2_000)
    assert history.consumed_between(20) == (2_500, 3_000)
    assert history.consumed_between(21) is None


def test_a_group_that_is_set_back_passes_again():
    history = ProgressHistory(10, 0)
    history.add(20, 1, 2)
    history.add(30, 3, 4)
    history.add(15, 5, 6)
    assert history.consumed_between(9) is None
    assert history.consumed_between(14) == (1, 2)
    assert history.consumed_between(15) is None
    history.add(40, 7, 8)
    assert history.consumed_between(15) == history.consumed_between(39) == (7, 8)
    history.add(15, 9, 10)
    assert history.consumed_between(14) == (1, 2)
    history.add(3, 11, 12)
    assert history.consumed_between(2) is None
    history.add(5, 13, 14)
    assert (history.consumed_between(2), history.consumed_between(4)) == (None, (13, 14))


def test_many_commits_take_little_space_and_stay_true():
    history, truth, committed = ProgressHistory(0, 0), {}, 0
    chance = random.Random(5)
    for turn in range(1, 5_000):
        step = chance.randint(1, 3)
        for offset in range(committed, committed + step):
            truth[offset] = turn
        committed += step
        history.add(committed, 10 * (turn - 1), 10 * turn)
    assert len(history._commits) <= MAX_COMMITS_PER_PARTITION
    widths = []
    for offset, turn in truth.items():
        found = history.consumed_between(offset)
        assert found is not None
        assert found[0] <= 10 * (turn - 1) < 10 * turn <= found[1]
        widths.append(found[1] - found[0])
    assert widths[-1] == 10
    assert widths[-20] == 10
