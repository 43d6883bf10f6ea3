"""What is remembered of the latest events, and that the short way to a flow finds what the long one does."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporters.tracing.event_window import EventWindow
from sidecar.domain.model import Event
from sidecar.domain.position import Position

JOIN = ("trace", "correlation", "causation")

ids = st.one_of(st.none(), st.sampled_from("abcdefgh"))
events = st.lists(st.tuples(ids, ids, st.one_of(st.none(), st.sampled_from("xyz"))), max_size=12)


def event(number: int, id: str | None, cause: str | None, correlation: str | None) -> Event:
    position = Position("memory", "orders", 0, number)
    return Event(position, None, number, 0, event_id=id, causation_id=cause, correlation_id=correlation)


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(words=events, most=st.sampled_from([3, 5, 100]), max_flow=st.sampled_from([2, 4, 100]))
def test_a_flow_that_is_told_at_once_is_the_one_that_is_gathered(
    words: list[tuple[str | None, str | None, str | None]], most: int, max_flow: int
) -> None:
    recent = EventWindow(most, JOIN, max_flow)
    noted = []
    for number, (id, cause, correlation) in enumerate(words):
        one = event(number, id, cause, correlation)
        recent.note(one, recent.cause(one))
        noted.append(one)
        for each in noted:
            flow, differing = recent.flow(each)
            gathered = recent._closure(each)
            assert {one.position for one in flow} == {one.position for one in gathered}
            if differing:
                named = [one.event_id for one in flow if one.event_id is not None]
                assert len(named) == len(set(named))


def test_events_of_one_correlation_id_whose_causes_came_before_them_are_told_at_once() -> None:
    recent = EventWindow(100, JOIN, 100)
    noted = [event(number, str(number), str(number - 1) if number else None, "x") for number in range(5)]
    for one in noted:
        recent.note(one, recent.cause(one))
    assert recent.flow(noted[2]) == (noted, True)
    # Something else hangs from one of them now.
    other = event(9, "o", "3", "y")
    recent.note(other, recent.cause(other))
    flow, differing = recent.flow(noted[0])
    assert (len(flow), differing) == (6, False)
