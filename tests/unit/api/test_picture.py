"""Index and history combined give the answers of one index that holds all events."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from sidecar.adapters.history.memory import MemoryHistory
from sidecar.adapters.index.memory.index import MemoryIndex
from sidecar.api.services.picture.picture import EventPicture
from sidecar.domain.correlation.flows import build_flows
from sidecar.domain.derived_ids import derive_trace_id
from sidecar.domain.history_rows import HistoryRow, encode_row
from sidecar.domain.model import Event
from sidecar.domain.ports.history import HistorySegment
from sidecar.domain.ports.index import Flow, IndexPage, Node
from sidecar.domain.position import Position
from tests.support.event_sets import EVENTS, JOINS


async def store(history: MemoryHistory, events: Sequence[Event]) -> None:
    await history.append(HistorySegment(lines=[encode_row(HistoryRow(event)) for event in events], covered=[]))


def plain(value: Any) -> Any:
    """Return the answer without the sources of its events."""
    match value:
        case Node():
            return replace(value, source="index")
        case Flow():
            return replace(value, nodes=[plain(node) for node in value.nodes])
        case IndexPage():
            return IndexPage([plain(node) for node in value.nodes], value.cursor)
        case list():
            return [plain(item) for item in value]
        case tuple():
            return tuple(plain(item) for item in value)
    return value


async def compare(events: list[Event], join: frozenset[str], max_flow: int, dice: random.Random) -> None:
    places = {event.position: dice.choice(("index", "history", "both")) for event in events}
    index, everything, history = (
        MemoryIndex(1_000, join, max_flow), MemoryIndex(1_000, join, max_flow), MemoryHistory(),
    )  # fmt: skip
    everything.add(events)
    index.add([event for event in events if places[event.position] != "history"])
    await store(history, [event for event in events if places[event.position] != "index"])
    picture = EventPicture(index, history, join, max_flow)
    expected = build_flows(events, join, max_flow)
    for limit in (1_000, 2):
        flows, cursor = await picture.flows(limit)
        while cursor is not None:
            page, cursor = await picture.flows(limit, cursor)
            assert page or cursor is None
            flows += page
        assert plain(flows) == expected
    page = await picture.newest()
    assert plain(page) == await everything.newest()
    nodes, position = [], None
    while True:
        page = await picture.newest(position, 3)
        nodes += page.nodes
        if (position := page.cursor) is None:
            break
    assert plain(nodes) == (await everything.newest(None, 1_000)).nodes
    for id in ("a", "b", "x", "4711", "gone", f"{1:032x}", f"{2:032x}"):
        assert plain(await picture.lookup(id)) == await everything.lookup(id), id
        assert plain(await picture.flow(id)) == await everything.flow(id), id
    for id in (f"{derive_trace_id(text):032x}" for text in ("a", "b", "x")):
        nodes, expected_nodes = plain(await picture.lookup(id)), await everything.lookup(id)
        if all(event.trace_id is None for event in events):
            assert nodes == expected_nodes, id
        else:  # an event that carries a trace id may hide the root from which those of its effects are derived
            assert all(node in expected_nodes for node in nodes), id
    assert plain(await picture.aggregate("4711")) == await everything.aggregate("4711")
    for event in events:
        node = await picture.at(event.position)
        assert node is not None
        assert plain(node) == await everything.at(event.position)
        assert node.source == ("history" if places[event.position] == "history" else "index")
        flow = await picture.flow(str(event.position))
        assert plain(flow) == await everything.flow(str(event.position))


HOP_AFTER_OTHERS = [
    *(Event(Position("kafka", "orders", 0, n), None, 0, 0) for n in (0, 1, 3)),
    Event(Position("kafka", "orders", 0, 2), None, 0, 0, event_id="b", hop_of="kafka://orders/0/0"),
    Event(Position("kafka", "orders", 1, 0), None, 0, 0, event_id="b", hop_of="kafka://orders/0/0"),
]
"""The latest event of a flow is a hop, which no node shows: pages of flows begin behind it."""


@pytest.mark.slow  # 150 examples of some 40 ms each
@example(events=HOP_AFTER_OTHERS, join=frozenset({"trace", "correlation"}), max_flow=2, seed=0)
@settings(max_examples=150, deadline=None)
@given(events=EVENTS, join=JOINS, max_flow=st.sampled_from([2, 3, 5, 50]), seed=st.integers(0, 1 << 30))
def test_a_history_with_any_part_of_the_events_answers_like_one_index_with_all(
    events: list[Event], join: frozenset[str], max_flow: int, seed: int
) -> None:
    asyncio.run(compare(events, join, max_flow, random.Random(seed)))
