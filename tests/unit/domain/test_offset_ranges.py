"""Union and difference of offset ranges equal those of sets of offsets."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from sidecar.domain.offset_ranges import OffsetRange, join_ranges, subtract_ranges
from sidecar.domain.position import Partition

ranges = st.lists(
    st.builds(
        lambda stream, incarnation, start, length: OffsetRange(
            Partition("kafka", stream, 0), incarnation, start, start + length
        ),
        st.sampled_from(["a", "b"]),
        st.sampled_from([None, "i"]),
        st.integers(0, 30),
        st.integers(0, 8),
    ),
    max_size=12,
)


def offsets(of: list[OffsetRange]) -> set[tuple[object, int]]:
    return {(each.log, offset) for each in of for offset in range(each.start, each.end)}


@given(ranges)
def test_joined_ranges_hold_the_same_offsets_in_order_without_touching(given_ranges: list[OffsetRange]) -> None:
    joined = join_ranges(given_ranges)
    assert offsets(joined) == offsets(given_ranges)
    for left, right in itertools.pairwise(joined):
        assert (left.log, left.end) < (right.log, right.start)


@given(ranges, ranges)
def test_a_difference_holds_what_is_in_the_first_only(of: list[OffsetRange], taken: list[OffsetRange]) -> None:
    rest = subtract_ranges(of, taken)
    assert offsets(rest) == offsets(of) - offsets(taken)
    assert join_ranges(rest) == rest
