"""Parsing of durations as users write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.domain import timestamps


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("60s", 60), ("1.5m", 90), ("15m", 900), ("24h", 86_400), ("7d", 604_800), ("1h30m", 5_400)],
)
def test_a_length_of_time_is_seconds(text: str, seconds: float) -> None:
    assert timestamps.parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "5", "s", "-1s", "1 s", "1S", "1w", "1e3s", "1.s", ".5s", "36501d", "9" * 400 + "d", "1s\n"]
)
def test_invalid_paths_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|hundred years"):
        timestamps.parse_duration(text)


@given(st.integers(1, 10**12))
def test_a_length_that_was_written_is_read_back(milliseconds: int) -> None:
    assert round(timestamps.parse_duration(timestamps.format_duration(milliseconds / 1000)) * 1000) == milliseconds


def test_lengths_are_written_in_the_largest_unit_that_fits() -> None:
    assert [timestamps.format_duration(s) for s in (0, 0.25, 90, 900, 86_400, 604_800)] == [
        "0s",
        "250ms",
        "90s",
        "15m",
        "1d",
        "7d",
    ]
