"""Bounds of the memory index: it evicts whole flows, oldest first, and counts them. Also its pages of newest events."""

from __future__ import annotations

import asyncio
import random
import tracemalloc
from collections.abc import Coroutine

import pytest

from sidecar.adapters.index.memory.index import MemoryIndex
from sidecar.adapters.index.memory.offset_ranges import MAX_SPANS_PER_PARTITION, PartitionRanges
from sidecar.adapters.index.memory.segment import SlotRuns
from sidecar.domain.correlation.flows import build_flows
from sidecar.domain.model import Event, SchemaRef, TraceOrigin
from sidecar.domain.ports.index import Flow
from sidecar.domain.position import Partition, Position
from tests.contracts.index_contract import JOIN, NOW, event, positions


async def held(index: MemoryIndex) -> list[Event]:
    found, _ = await index.flows(1_000_000)
    return [node.event for flow in found for node in flow.nodes]


def whole(events: list[Event], remaining: list[Event]) -> bool:
    """Assert that no flow of `events` is in the index in part."""
    left = {one.position for one in remaining}
    flow_positions = [set(positions(flow.nodes)) for flow in build_flows(events, JOIN, 10_000)]
    return all(flow <= left or not flow & left for flow in flow_positions)


@pytest.mark.parametrize("bound", [1, 2, 3, 10, 57, 100])
async def test_the_bound_holds_and_everything_is_counted(bound):
    index = MemoryIndex(bound, JOIN, 10_000)
    dice = random.Random(bound)
    for number in range(400):
        index.add([event(number, dice.choice("abc"), trace_id=dice.randint(1, 400), event_id=str(number))])
        assert index.coverage().events <= bound
    coverage = index.coverage()
    assert coverage.events == len(await held(index)) > 0
    assert coverage.events + coverage.evicted == 400


async def test_the_flows_whose_latest_event_is_oldest_go_first_and_whole():
    index = MemoryIndex(12, JOIN, 10_000)
    # Four flows in turn with three events each; the second one continues.
    events = [event(number, trace_id=number % 4 + 1) for number in range(12)] + [event(12, trace_id=2)]
    for one in events:
        index.add([one])
    assert whole(events, await held(index))
    assert {one.trace_id for one in await held(index)} == {2, 3, 4}
    assert (index.coverage().events, index.coverage().evicted) == (10, 3)


@pytest.mark.parametrize("batch", [1, 7, 60])
@pytest.mark.parametrize("keys", ["trace", "correlation", "causation", "mixed"])
async def test_flows_in_any_mixture_go_whole(batch, keys):
    dice = random.Random(batch)
    index = MemoryIndex(200, JOIN, 10_000)
    open_flows: list[list[int]] = []
    events: list[Event] = []
    for number in range(1_500):
        if len(open_flows) < 8:
            open_flows.append([])
        flow = dice.choice(open_flows)
        name = f"{id(flow)}"
        words: dict[str, object] = {"event_id": str(number), "producer": dice.choice([None, "shop"])}
        kind = dice.choice(["trace", "correlation", "causation"]) if keys == "mixed" else keys
        if kind != "trace":
            words["causation_id" if kind == "causation" else "correlation_id"] = str(flow[-1]) if flow else name
        if kind == "correlation":
            words["correlation_id"] = name
        if kind == "trace" or keys == "mixed":
            words["trace_id"] = id(flow)
        flow.append(number)
        events.append(event(number, dice.choice(["orders", "stock"]), **words))
        if len(flow) == 6:
            open_flows.remove(flow)
            # Kept alive, so that no other flow gets the same id().
            done.append(flow)
    for begin in range(0, len(events), batch):
        index.add(events[begin : begin + batch])
    remaining = await held(index)
    # An event is alone only if it arrived after the eviction of its flow; with so few open flows there is none.
    assert whole(events, remaining)
    assert 150 <= len(remaining) <= 200
    assert len(remaining) + index.coverage().evicted == len(events)
    since = index.coverage().since
    assert {one.position for one in events if one.appended_at >= since} <= {one.position for one in remaining}


done: list[list[int]] = []


async def test_a_look_back_that_is_too_large_pushes_out_itself_not_what_is_newer():
    index = MemoryIndex(100, JOIN, 10_000)
    live = [event(1_000 + number, at=10_000 + number, trace_id=1_000 + number) for number in range(60)]
    past = [event(number, at=number, trace_id=1 + number, observed_at=(NOW + 20_000) * 1000) for number in range(900)]
    for number in range(60):
        index.add([live[number]])
        index.add(past[number * 15 : number * 15 + 15])
    remaining = {one.position for one in await held(index)}
    assert {one.position for one in live} <= remaining
    assert len(remaining) <= 100
    assert index.coverage().since > past[-41].appended_at - 100


async def test_replays_and_wrong_clocks_are_not_pushed_out_for_their_age():
    index = MemoryIndex(100, JOIN, 10_000)
    index.add([event(number, trace_id=number + 1) for number in range(100)])
    observed = (NOW + 100) * 1000
    index.add([event(1, "replays", at=-1_000_000, replay_of="g@memory://x/0/1", observed_at=observed)])
    index.add([Event(Position("kafka", "old", 0, 1), None, -1, observed)])
    index.add([Event(Position("kafka", "new", 0, 1), None, 1 << 60, observed)])
    for stream in ("replays", "old", "new"):
        assert stream in {one.position.stream for one in await held(index)}
    index.add([event(number, at=number, trace_id=number + 1) for number in range(200, 400)])
    assert {one.position.stream for one in await held(index)} == {"orders"}


async def test_a_flow_above_the_bound_loses_its_first_events_and_says_so():
    index = MemoryIndex(50, JOIN, 10_000)
    for number in range(200):
        index.add([event(number, trace_id=1)])
    remaining = sorted(one.position.offset for one in await held(index))
    assert remaining == list(range(200 - len(remaining), 200))
    assert 40 <= len(remaining) <= 50
    assert "first events" in (index.coverage().note or "")


async def test_a_key_that_joins_too_many_keeps_nothing_alive():
    index = MemoryIndex(100, JOIN, 20)
    for number in range(1_000):
        index.add([event(number, trace_id=number // 2 + 1, correlation_id="session")])
    remaining = sorted(one.position.offset for one in await held(index))
    assert remaining == list(range(1_000 - len(remaining), 1_000))
    assert index.coverage().note is None


async def test_huge_events_count_for_more():
    index = MemoryIndex(1_000, JOIN, 10_000)
    for number in range(1_000):
        words = {name: name * 60 for name in ("type", "version", "producer", "replay_of", "aggregate_type")}
        index.add([event(number, trace_id=number + 1, **words)])
    assert 300 <= index.coverage().events <= 1_000 * 1_024 // 2_520
    assert index.coverage().evicted == 1_000 - index.coverage().events


async def test_events_that_are_replaced_again_and_again_do_not_pile_up():
    index = MemoryIndex(100, JOIN, 10_000)
    for time in range(100):
        index.add([event(number, at=number, event_id=f"{number}-{time}", trace_id=1 + number) for number in range(40)])
    assert index.coverage().events == 40
    assert index.coverage().evicted == 0
    assert sum(len(segment.packed) for segment in index._store.segments) < 1_000


async def test_an_evicted_position_can_be_read_again():
    index = MemoryIndex(20, JOIN, 10_000)
    events = [event(number, trace_id=number + 1) for number in range(60)]
    index.add(events)
    index.add([event(0, at=100, trace_id=1)])
    assert (await index.at(event(0).position)).trace_id == 1


async def test_newest_events_are_paged():
    dice = random.Random(5)
    index = MemoryIndex(1_000, JOIN, 10_000)
    events = [
        event(number, dice.choice(["orders", "stock"]), at=dice.randint(-50, 300), event_id=str(dice.randint(0, 300)))
        for number in range(500)
    ]
    for begin in range(0, 500, 30):
        index.add(events[begin : begin + 30])
        await index.newest(None, 3)
    expected = sorted(events, key=lambda one: (one.appended_at, one.position), reverse=True)
    for bounds in ({}, {"since": NOW + 20, "until": NOW + 200}, {"streams": ["stock"]}, {"until": NOW}):
        wanted = [
            one.position
            for one in expected
            if bounds.get("since", 0) <= one.appended_at < bounds.get("until", NOW * 2)
            and one.position.stream in bounds.get("streams", ["orders", "stock"])
        ]
        page = await index.newest(None, 9, **bounds)
        found = positions(page.nodes)
        while page.cursor is not None:
            page = await index.newest(page.cursor, 9, **bounds)
            assert len(page.nodes) <= 9
            found += positions(page.nodes)
        assert found == wanted
    with pytest.raises(ValueError, match="invalid cursor"):
        await index.newest("yesterday")
    with pytest.raises(ValueError, match="invalid cursor"):
        await index.flows(3, "5@nowhere")


async def test_events_that_arrive_between_pages_repeat_and_hide_nothing():
    index = MemoryIndex(1_000, JOIN, 10_000)
    index.add([event(number, trace_id=number + 1) for number in range(20)])
    page = await index.newest(None, 5)
    index.add([event(number, trace_id=number + 1) for number in range(20, 40)])
    following = await index.newest(page.cursor, 5)
    assert [node.event.position.offset for node in page.nodes + following.nodes] == list(range(19, 9, -1))


async def test_queries_continue_while_events_are_added_and_evicted():
    index = MemoryIndex(2_000, JOIN, 10_000)
    index.add([event(number, trace_id=1, event_id=str(number)) for number in range(1_500)])
    question = index.flow(f"{1:032x}")
    step = question.send(None)  # up to its first await
    assert step is None
    index.add([event(number, trace_id=number) for number in range(2_000, 6_000)])
    assert len(finish(question).nodes) == 1_500


def finish(question: Coroutine[None, None, Flow]) -> Flow:
    try:
        while True:
            question.send(None)
    except StopIteration as end:
        return end.value


def test_runs_find_offsets_that_came_in_any_order():
    runs = SlotRuns()
    runs.add(300, 300, 0, 1)
    runs.add(200, 250, 1, 40)
    runs.add(400, 500, 50, 90)
    assert runs.around(220) == [range(1, 40)]
    assert runs.around(450) == [range(50, 90)]
    assert runs.around(300) == [range(1)]
    assert runs.around(350) == runs.around(100) == runs.around(501) == []


def test_adjacent_ranges_are_merged():
    runs = SlotRuns()
    runs.add(1, 5, 0, 5)
    runs.add(8, 9, 5, 7)
    assert runs.around(7) == [range(7)]


def test_an_offset_below_the_end_starts_another_range():
    runs = SlotRuns()
    runs.add(100, 500, 0, 3)
    runs.add(300, 300, 3, 4)
    assert runs.around(500) == [range(3)]
    assert runs.around(300) == [range(3), range(3, 4)]


def test_a_known_offset_is_never_new_again():
    dice = random.Random(11)
    place = PartitionRanges(0, Partition("memory", "orders", 0))
    taken: set[int] = set()
    for _ in range(3_000):
        offset = dice.randint(0, 1_000)
        for one in range(offset, offset + dice.randint(1, 20)):
            if place.last < one < place.limit or place.may_add(one):
                assert one not in taken
                place.last = one
            taken.add(one)
        if dice.random() < 0.1:
            place.close_span()
    assert len(place._lows) <= MAX_SPANS_PER_PARTITION


@pytest.mark.slow
def test_an_event_takes_no_more_than_450_bytes():
    dice = random.Random(1)
    index = MemoryIndex(40_000, JOIN, 10_000)
    schema = SchemaRef("orders-value", 3, 7)

    def fresh(number: int) -> Event:
        flow = random.Random(number // 5)
        return Event(
            position=Position("kafka", "orders", 0, number),
            key=f"order-{number // 5}",
            appended_at=NOW + number,
            observed_at=(NOW + number) * 1000,
            event_id=f"{dice.getrandbits(128):032x}----",
            type="OrderCreated",
            version="1",
            occurred_at=(NOW + number) * 1000,
            aggregate_id=f"order-{number // 5}",
            aggregate_type="order",
            trace_id=flow.getrandbits(128),
            span_id=dice.getrandbits(64),
            trace_origin=TraceOrigin.W3C,
            producer="shop",
            schema=schema,
            digest=dice.getrandbits(32),
        )

    tracemalloc.start()
    try:
        for begin in range(0, 40_000, 500):
            index.add([fresh(number) for number in range(begin, begin + 500)])
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert index.coverage().events == 40_000
    assert held / 40_000 <= 450


async def test_the_events_of_a_partition_that_was_created_again_go_and_the_new_ones_stay():
    index = MemoryIndex(5_000, JOIN, 10_000)
    index.add([event(number, trace_id=number + 1, event_id=f"old-{number}") for number in range(1_500)])
    other = event(7, "payments", trace_id=9_000, event_id="other")
    index.add([other])
    index.discard(Partition("memory", "orders", 0), (NOW + 10_000) * 1000)
    new = event(3, trace_id=8_000, event_id="new")
    index.add([new])
    assert index.coverage().events == 2
    for _ in range(10):
        await asyncio.sleep(0)
    assert {one.event_id for one in await held(index)} == {"new", "other"}
    assert await index.lookup("old-3") == []
    assert await index.at(Position("memory", "orders", 0, 4)) is None
    node = await index.at(Position("memory", "orders", 0, 3))
    assert node is not None
    assert node.event.event_id == "new"


async def test_the_same_event_in_a_partition_that_was_created_again_stays():
    index = MemoryIndex(5_000, JOIN, 10_000)
    old = [event(number, trace_id=number + 1, event_id=f"e-{number}") for number in range(1_500)]
    index.add(old)
    index.discard(Partition("memory", "orders", 0), (NOW + 10_000) * 1000)
    index.add(old[:3])
    for _ in range(10):
        await asyncio.sleep(0)
    assert {one.event_id for one in await held(index)} == {"e-0", "e-1", "e-2"}
