"""Property: the flows of the shared index depend on the set of events alone, not on their writers or their order."""

from __future__ import annotations

import asyncio
import random
import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sidecar.adapters.index.memory.index import MemoryIndex
from sidecar.adapters.index.redis.index import RedisIndex
from sidecar.demo.embedded_valkey import EmbeddedValkey
from sidecar.domain.correlation.flows import build_flows
from sidecar.domain.model import Event
from sidecar.domain.position import Position
from tests.support.event_sets import EVENTS, JOINS

pytestmark = pytest.mark.valkey


async def written_by(url: str, events: list[Event], join: frozenset[str], max_flow: int, dice: random.Random) -> None:
    prefix = uuid.uuid4().hex
    writers = [RedisIndex(url, join=join, max_flow=max_flow, prefix=prefix, patience=30) for _ in range(3)]
    memory = MemoryIndex(1_000, join, max_flow)
    memory.add(events)
    # Each event at least once, many twice or by two writers, in batches of any size.
    load = events + [one for one in events if dice.random() < 0.5]
    dice.shuffle(load)
    while load:
        size = dice.randint(1, 6)
        dice.choice(writers).add(load[:size])
        del load[:size]
        if dice.random() < 0.3:
            await asyncio.sleep(0)
    try:
        await compared(writers, events, join, max_flow, memory, dice)
    finally:
        for writer in writers:
            await writer.close()


async def compared(
    writers: list[RedisIndex],
    events: list[Event],
    join: frozenset[str],
    max_flow: int,
    memory: MemoryIndex,
    dice: random.Random,
) -> None:
    for writer in writers:
        await writer.wait_until_written()
    expected = build_flows(events, join, max_flow)
    reader = dice.choice(writers)
    assert await reader.flows(1_000) == (expected, None)
    found, cursor = await reader.flows(2)
    while cursor is not None:
        page, cursor = await reader.flows(2, cursor)
        found += page
    assert found == expected
    assert await reader.newest() == await memory.newest()
    ids = {"a", "b", "x", "4711", "gone", f"{1:032x}"}
    ids |= {f"{node.trace_id:032x}" for flow in expected for node in flow.nodes}
    for id in sorted(ids):
        assert await reader.lookup(id) == await memory.lookup(id), id
        assert await reader.flow(id) == await memory.flow(id), id
    assert await reader.aggregate("4711") == await memory.aggregate("4711")
    for one in events:
        assert await reader.at(one.position) == await memory.at(one.position)


def event(offset: int, **fields: Any) -> Event:
    return Event(Position("kafka", "orders", 0, offset), None, offset, 0, **fields)


LOOP = [
    event(0, event_id="b", causation_id="a"),
    event(1, event_id="a", causation_id="c"),
    event(2, event_id="c", causation_id="b", correlation_id="x"),
    event(3, causation_id="a"),
]
"""A loop of three events that cause one another, and an event that one of them caused."""


@example(events=LOOP, join=frozenset({"correlation", "trace"}), max_flow=2, seed=0)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=EVENTS, join=JOINS, max_flow=st.sampled_from([2, 3, 5, 50]), seed=st.integers(0, 1 << 30))
def test_any_interleaving_of_any_writers_gives_the_same_answers_as_the_memory_index(
    valkey: EmbeddedValkey, events: list[Event], join: frozenset[str], max_flow: int, seed: int
) -> None:
    asyncio.run(written_by(valkey.url, events, join, max_flow, random.Random(seed)))
