"""Property: flows do not depend on the order or the partitions of arrival, and equal those of the simplest
implementation."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.adapters.index.memory.index import MemoryIndex
from sidecar.domain.correlation.flows import build_flows
from sidecar.domain.model import Event
from sidecar.domain.ports.index import Flow
from tests.support.event_sets import EVENTS, JOINS
from tests.support.naive_flows import Naive, told

MAX_FLOWS = st.sampled_from([1, 2, 4, 10_000])
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]


async def all_flows(index: MemoryIndex, page: int) -> list[Flow]:
    found, cursor = await index.flows(page)
    while cursor is not None:
        more, cursor = await index.flows(page, cursor)
        found += more
    return found


def batches(events: list[Event], dice: random.Random) -> list[list[Event]]:
    """Draw the events in any order and in batches of any size, with some batches repeated."""
    events = events[:]
    dice.shuffle(events)
    found: list[list[Event]] = []
    while events:
        size = dice.randint(1, 6)
        found.append(events[:size])
        events = events[size:]
        if dice.random() < 0.3:
            found.append(dice.choice(found))
    return found


@pytest.mark.slow
@settings(max_examples=120, deadline=None, suppress_health_check=SLOW)
@given(EVENTS, JOINS, MAX_FLOWS, st.randoms(use_true_random=False))
def test_flows_of_a_set_are_what_the_rules_say_in_any_order(events, join, max_flow, dice):
    expected = Naive(events, join, max_flow).answers()
    dice.shuffle(events)
    assert [told(flow) for flow in build_flows(events, join, max_flow)] == expected


@pytest.mark.slow
@settings(max_examples=180, deadline=None, suppress_health_check=SLOW)
@given(EVENTS, JOINS, MAX_FLOWS, st.randoms(use_true_random=False), st.sampled_from([24, 48, 400]), st.integers(1, 5))
def test_the_index_answers_the_same_for_any_arrival(events, join, max_flow, dice, bound, page):
    index = MemoryIndex(bound, join, max_flow)
    for batch in batches(events, dice):
        index.add(batch)

    async def ask() -> None:
        expected = build_flows(events, join, max_flow)
        assert await all_flows(index, page) == expected
        hops = {position for flow in expected for node in flow.nodes for position in node.hops}
        for flow in expected:
            for node in flow.nodes:
                assert await index.flow(str(node.event.position)) == flow
                held = await index.at(node.event.position)
                assert (held.event, held.status, held.trace_id) == (node.event, node.status, node.trace_id)
                found = await index.lookup(f"{node.trace_id:032x}")
                of_trace = [one for other in expected for one in other.nodes if one.trace_id == node.trace_id]
                assert {one.event.position for one in found} - hops == {one.event.position for one in of_trace}

    asyncio.run(ask())


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
@given(EVENTS, JOINS, st.randoms(use_true_random=False))
def test_an_event_at_a_known_position_replaces_the_old_one(events, join, dice):
    index = MemoryIndex(48, join, 10_000)
    earlier = [
        Event(e.position, None, 3, 0, event_id="a", trace_id=2, causation_id="b", producer="shop") for e in events
    ]
    for batch in batches(earlier, dice):
        index.add(batch)
    for event in dice.sample(events, len(events)):
        index.add([event])
    assert asyncio.run(all_flows(index, 100)) == build_flows(events, join, 10_000)
    assert index.coverage().events == len(events)
