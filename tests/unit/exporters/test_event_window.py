"""The window of recent events: the short way to a flow finds the same events as the long way."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporters.tracing.event_window import EventWindow
from sidecar.domain.model import Event
from sidecar.domain.position import Position

JOIN = ("trace", "correlation", "causation")

Ids = tuple[str | None, str | None, str | None]
"""Event id, causation id and correlation id."""

ids = st.sampled_from([None, *"abcd"])
events = st.lists(st.tuples(ids, ids, st.sampled_from([None, *"xyz"])), max_size=14)


def event(number: int, id: str | None, cause: str | None, correlation: str | None) -> Event:
    position = Position("memory", "orders", 0, number)
    return Event(position, None, number, 0, event_id=id, causation_id=cause, correlation_id=correlation)


N = None
COMMON_CAUSE_DROPPED = [("c", N, "z"), (N, N, "x"), ("b", "c", "z"), (N, N, "x"), ("a", "a", N), ("c", "a", "x")]
COMMON_CAUSE_DROPPED_WITHOUT_CORRELATION = [
    ("b", "d", "z"),
    *[("c", "a", "x"), ("c", "b", "x"), (N, N, N), (N, "c", "y"), (N, "d", "y"), (N, N, "y")],
    *[(N, "b", "z"), ("a", "b", N)],
]


@pytest.mark.slow
@settings(deadline=None, max_examples=1500)
@given(ids_of_events=events, generation_events=st.sampled_from([3, 5, 100]), max_flow=st.sampled_from([2, 4, 100]))
@example([(N, "c", "x"), ("d", N, N), *COMMON_CAUSE_DROPPED], 3, 100)
@example(COMMON_CAUSE_DROPPED_WITHOUT_CORRELATION, 3, 4)
def test_the_short_way_to_a_flow_finds_what_the_closure_finds(
    ids_of_events: list[Ids], generation_events: int, max_flow: int
) -> None:
    window = EventWindow(generation_events, JOIN, max_flow)
    noted: list[Event] = []
    for number, (id, cause, correlation) in enumerate(ids_of_events):
        newest = event(number, id, cause, correlation)
        window.note(newest, window.cause(newest))
        noted.append(newest)
        for each in noted:
            flow, ids_differ = window.flow(each)
            assert {member.position for member in flow} == {member.position for member in window._closure(each)}
            if ids_differ:
                event_ids = [member.event_id for member in flow if member.event_id is not None]
                assert len(event_ids) == len(set(event_ids))


def test_events_of_one_correlation_id_take_the_short_way_until_another_correlation_hangs_from_one() -> None:
    window = EventWindow(100, JOIN, 100)
    noted = [event(number, str(number), str(number - 1) if number else None, "x") for number in range(5)]
    for each in noted:
        window.note(each, window.cause(each))
    assert window.flow(noted[2]) == (noted, True)
    other = event(9, "o", "3", "y")
    window.note(other, window.cause(other))
    flow, ids_differ = window.flow(noted[0])
    assert (len(flow), ids_differ) == (6, False)


def test_effects_of_an_unknown_cause_take_the_fast_way() -> None:
    window = EventWindow(100, JOIN, 100)
    noted = [event(number, str(number), "unseen", "x") for number in range(3)]
    for each in noted:
        window.note(each, window.cause(each))
    assert window.flow(noted[0]) == (noted, True)
