"""When a group passed what."""

from __future__ import annotations

import random

from sidecar.pipeline.consumer_groups.progress import MOST_MOVES, ProgressHistory


def test_what_was_passed_before_the_first_look_has_no_time():
    assert ProgressHistory(10, 1_000).when(9) is None


def test_what_was_passed_later_was_passed_between_two_looks():
    passing = ProgressHistory(10, 1_000)
    passing.moved(20, 1_500, 2_000)
    passing.moved(21, 2_500, 3_000)
    assert passing.when(9) is None
    assert passing.when(10) == passing.when(19) == (1_500, 2_000)
    assert passing.when(20) == (2_500, 3_000)
    assert passing.when(21) is None


def test_a_group_that_is_set_back_passes_again():
    passing = ProgressHistory(10, 0)
    passing.moved(20, 1, 2)
    passing.moved(30, 3, 4)
    passing.moved(15, 5, 6)
    assert passing.when(9) is None
    assert passing.when(14) == (1, 2)
    assert passing.when(15) is None
    passing.moved(40, 7, 8)
    assert passing.when(15) == passing.when(39) == (7, 8)
    passing.moved(15, 9, 10)
    assert passing.when(14) == (1, 2)
    passing.moved(3, 11, 12)
    assert passing.when(2) is None
    passing.moved(5, 13, 14)
    assert (passing.when(2), passing.when(4)) == (None, (13, 14))


def test_many_moves_take_little_space_and_stay_true():
    passing, truth, committed = ProgressHistory(0, 0), {}, 0
    chance = random.Random(5)
    for turn in range(1, 5_000):
        step = chance.randint(1, 3)
        for offset in range(committed, committed + step):
            truth[offset] = turn
        committed += step
        passing.moved(committed, 10 * (turn - 1), 10 * turn)
    assert len(passing._moves) <= MOST_MOVES
    widths = []
    for offset, turn in truth.items():
        found = passing.when(offset)
        assert found is not None
        assert found[0] <= 10 * (turn - 1) < 10 * turn <= found[1]
        widths.append(found[1] - found[0])
    assert widths[-1] == 10
    assert widths[-20] == 10
