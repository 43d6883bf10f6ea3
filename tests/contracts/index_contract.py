"""The contract of every index (`ports.Index`). An adapter's test subclasses `IndexContract`."""

from __future__ import annotations

import asyncio
import random

import pytest

from sidecar.domain.correlation.flows import build_flows, flow_event_status
from sidecar.domain.derived_ids import derive_trace_id
from sidecar.domain.model import Event, Rejection, SchemaRef, TraceOrigin
from sidecar.domain.ports.history import HistoryKey
from sidecar.domain.ports.index import Coverage, Index
from sidecar.domain.position import Partition, Position
from tests.support.conditions import until

JOIN = frozenset({"trace", "correlation", "causation"})
NOW = 1_790_000_000_000
"""In milliseconds."""


def event(offset: int, stream: str = "orders", *, at: int | None = None, **words: object) -> Event:
    """Build an event that was appended `at` milliseconds after a fixed time; by default its offset."""
    appended_at = NOW + (offset if at is None else at)
    words.setdefault("observed_at", appended_at * 1000 + 500)
    return Event(Position("memory", stream, 0, offset), None, appended_at, **words)


def positions(found: object) -> list[Position]:
    return [node.event.position for node in found]


class IndexContract:
    """The promises.

    Subclasses provide an empty `index` that joins by everything, holds at least 1,000 events, and in which a key joins
    at most 50 events.
    """

    MAX_FLOW = 50

    @pytest.fixture
    def index(self) -> Index:
        raise NotImplementedError

    async def held(self, index: Index) -> Coverage:
        """Return the coverage of the index once it has everything that was added."""
        return index.coverage()

    async def test_an_event_is_returned_unchanged(self, index):
        whole = Event(
            position=Position("redis", "orders\udcff", 0, (1 << 40) << 64 | 3),
            key="k",
            appended_at=1 << 40,
            observed_at=NOW * 1000,
            event_id="e",
            type="OrderCreated",
            version="2",
            occurred_at=-5,
            aggregate_id="4711",
            aggregate_type="order",
            trace_id=(1 << 128) - 1,
            span_id=(1 << 64) - 1,
            parent_span_id=1,
            trace_origin=TraceOrigin.B3,
            correlation_id="c",
            causation_id="d",
            producer="shop",
            schema=SchemaRef("orders-value", 3, 7, "guid"),
            unchecked=True,
            rejection=Rejection("schema.mismatch", "expected int", "data.total"),
            replay_of="group@memory://orders/0/1",
            digest=0xFFFF_FFFF,
        )
        index.add([whole])
        node = await index.at(whole.position)
        assert node is not None
        assert node.event == whole
        assert await index.at(Position("redis", "orders\udcff", 0, 3)) is None
        assert await index.at(Position("memory", "elsewhere", 0, 0)) is None

    async def test_a_flow_is_found_by_each_of_its_ids(self, index):
        one = event(1, event_id="e", trace_id=0xABC, aggregate_id="4711", correlation_id="c")
        index.add([one, event(2, event_id="other", trace_id=5)])
        for id in (str(one.position), "e", f"{0xABC:032x}", f"{0xABC:032X}", "4711", "c"):
            assert positions(await index.lookup(id)) == [one.position], id
            flow = await index.flow(id)
            assert flow is not None, id
            assert positions(flow.nodes) == [one.position], id
        for id in ("", "nobody", "0" * 32, "memory://orders/0/7", "kafka://", "abc"):
            assert await index.lookup(id) == []
            assert await index.flow(id) is None

    async def test_a_trace_id_is_tried_before_an_event_id_and_that_before_the_others(self, index):
        id = f"{7:032x}"
        index.add([event(1, event_id=id), event(2, trace_id=7), event(3, aggregate_id=id), event(4, correlation_id=id)])
        flow = await index.flow(id)
        assert positions(flow.nodes) == [event(2).position]
        assert positions(await index.lookup(id)) == [event(offset).position for offset in (4, 3, 2, 1)]

    async def test_derived_trace_ids_find_their_events(self, index):
        index.add(
            [
                event(1, correlation_id="c"),
                event(2, "payments", event_id="p", causation_id="gone"),
                event(3, "stock", event_id="s", causation_id="p"),
                event(4, event_id="alone"),
                event(5),
            ]
        )
        for text, found in {
            "c": [event(1)],
            "gone": [event(3, "stock"), event(2, "payments")],
            "alone": [event(4)],
            "memory://orders/0/5": [event(5)],
        }.items():
            nodes = await index.lookup(f"{derive_trace_id(text):032x}")
            assert positions(nodes) == [one.position for one in found]
            assert {node.trace_id for node in nodes} == {derive_trace_id(text)}
            flow = await index.flow(f"{derive_trace_id(text):032x}")
            assert flow.trace_id == derive_trace_id(text)
            assert set(positions(flow.nodes)) == set(positions(nodes))

    async def test_a_copy_that_was_appended_before_its_original_is_as_old_as_the_original(self, index):
        original = event(7, event_id="a")
        copy = event(1, "retry", event_id="a", hop_of=str(original.position))
        other = event(2, "payments", event_id="a")
        index.add([original, copy, other])
        same = [original, copy, other]
        expected = {each.position: flow_event_status(each, same)[0] for each in same}
        assert expected[copy.position] == "duplicate"
        assert {node.event.position: node.status for node in await index.lookup("a")} == expected

    async def test_carriers_of_ids_are_found_and_no_others(self, index):
        events = [
            event(1, event_id="e", trace_id=0xABC, aggregate_id="4711", correlation_id="c"),
            event(2, event_id="f", causation_id="e", correlation_id="c", producer="shop"),
            event(3, "payments", event_id="e", aggregate_id="c", causation_id="f", producer="till"),
        ]
        index.add([*events, event(4, event_id="other", correlation_id="d", causation_id="gone")])
        for keys, carriers in (
            ([HistoryKey("event_id", "e")], [1, 3]),
            ([HistoryKey("trace_id", f"{0xABC:032x}")], [1]),
            ([HistoryKey("aggregate_id", "4711"), HistoryKey("causation_id", "e")], [1, 2]),
            ([HistoryKey("correlation_id", "c"), HistoryKey("event_id", "f")], [1, 2]),
            ([HistoryKey("correlation_id", "4711"), HistoryKey("replay_of", "e"), HistoryKey("trace_id", "0")], []),
            ([], []),
        ):
            found = await index.find_carriers(keys, 100)
            assert sorted(one.position.offset for one in found) == carriers, keys
            assert all(one in events for one in found)
        consumption = await index.find_consumption(["shop", "till", "unknown"])
        assert consumption.get("shop") == {("memory", "orders"), ("memory", "payments")}
        assert consumption.get("till") == {("memory", "orders")}
        assert not consumption.get("unknown")

    async def test_an_id_on_many_events_finds_a_minimum_of_them(self, index):
        index.add([event(offset, correlation_id="session", event_id=f"e-{offset}") for offset in range(60)])
        assert len(await index.find_carriers([HistoryKey("correlation_id", "session")], 20)) >= 20

    async def test_the_flow_of_an_aggregate_is_that_of_its_latest_event(self, index):
        index.add([event(1, trace_id=1, aggregate_id="4711"), event(3, trace_id=1)])
        index.add([event(2, trace_id=2, aggregate_id="4711")])
        assert (await index.flow("4711")).trace_id == 2
        assert positions(await index.aggregate("4711")) == [event(1).position, event(2).position]

    async def test_an_aggregate_is_in_the_order_in_which_things_happened(self, index):
        index.add([event(offset, aggregate_id="4711", occurred_at=(NOW - offset) * 1000) for offset in range(5)])
        assert positions(await index.aggregate("4711")) == [event(offset).position for offset in (4, 3, 2, 1, 0)]
        assert positions(await index.aggregate("4711", 2)) == [event(1).position, event(0).position]
        assert await index.aggregate("nobody") == []

    async def test_lookups_give_the_newest_thousand(self, index):
        index.add([event(offset, aggregate_id="hot", event_id=str(offset)) for offset in range(999)])
        assert positions(await index.lookup("hot")) == [event(offset).position for offset in range(998, -1, -1)]

    async def test_statuses(self, index):
        no = Rejection("decode.malformed", "no")
        index.add(
            [
                event(1, event_id="a", rejection=no, digest=1),
                event(2, event_id="a", replay_of="group@memory://orders/0/1", digest=2),
                event(3, event_id="a", digest=1),
                event(4, event_id="a", digest=9, unchecked=True),
                event(5, event_id="b", unchecked=True),
                event(6, event_id="c"),
                event(7, event_id="a", rejection=no, digest=1),
            ]
        )
        nodes = [await index.at(event(offset).position) for offset in range(1, 8)]
        assert [(node.status, node.changed) for node in nodes] == [
            ("rejected", False),
            ("replayed", False),
            ("duplicate", False),
            ("duplicate", True),
            ("unchecked", False),
            ("ok", False),
            ("rejected", False),
        ]

    async def test_effects_of_a_replay_are_its_children_if_the_original_was_rejected(self, index):
        no, replay = Rejection("schema.mismatch", "no"), "group@memory://orders/0/1"
        index.add(
            [
                event(1, event_id="o", rejection=no),
                event(2, "payments", event_id="early", causation_id="o"),
                event(3, event_id="o", rejection=no, replay_of=replay),
                event(4, event_id="o", replay_of=replay),
                event(5, "payments", event_id="late", causation_id="o"),
                event(6, event_id="o", replay_of=replay),
                event(7, "stock", event_id="ok", causation_id="early"),
                event(8, event_id="early", replay_of="group@memory://payments/0/2"),
                event(9, "stock", event_id="still", causation_id="early"),
            ]
        )
        flow = await index.flow("o")
        parents = {node.event.position.offset: node.parent and node.parent.offset for node in flow.nodes}
        assert {offset: parents[offset] for offset in (2, 5, 7, 9)} == {2: 1, 5: 4, 7: 2, 9: 2}

    async def test_a_flow_is_a_forest_of_causes(self, index):
        index.add(
            [
                event(3, "stock", event_id="s", causation_id="p", producer="store"),
                event(1, event_id="o", trace_id=9, producer="shop"),
                event(4, "mail", trace_id=9, producer="post"),
                event(2, "payments", event_id="p", causation_id="o", producer="till"),
            ]
        )
        flow = await index.flow("s")
        assert flow.trace_id == 9
        assert [(node.event.position.stream, node.depth, node.parent_inferred) for node in flow.nodes] == [
            ("orders", 0, False),
            ("payments", 1, False),
            ("stock", 2, False),
            ("mail", 3, True),
        ]
        assert flow.nodes[3].parent == event(3, "stock").position

    async def test_other_flows_of_a_producer_determine_the_parent(self, index):
        index.add(
            [event(1, event_id="o", trace_id=1), event(1, "bills", causation_id="o", trace_id=1, producer="till")]
        )
        index.add([event(2, trace_id=2), event(3, "stock", trace_id=2), event(4, "bills", trace_id=2, producer="till")])
        flow = await index.flow(f"{2:032x}")
        bill = next(node for node in flow.nodes if node.event.position.stream == "bills")
        assert (bill.parent, bill.parent_inferred) == (event(2).position, True)

    async def test_evicted_events_say_nothing_about_a_producer(self, index):
        index.add([event(1, event_id="o", trace_id=1), event(1, "bills", causation_id="o", producer="till")])
        index.add([event(2, trace_id=2), event(3, "stock", trace_id=2), event(4, "bills", trace_id=2, producer="till")])
        index.add([event(1, "bills", causation_id=None, producer="till")])
        flow = await index.flow(f"{2:032x}")
        assert flow.nodes[-1].parent == event(3, "stock").position

    async def test_a_key_of_too_many_events_joins_none_and_is_reported(self, index):
        index.add([event(offset, correlation_id="session", trace_id=offset // 2 + 1) for offset in range(51)])
        flow = await index.flow(str(event(10).position))
        assert positions(flow.nodes) == [event(10).position, event(11).position]
        assert flow.broken_keys == ["correlation:session"]
        index.add([event(offset, "other", correlation_id="just few enough") for offset in range(50)])
        flow = await index.flow("just few enough")
        assert (len(flow.nodes), flow.broken_keys) == (50, [])

    async def test_pages_list_flows_newest_first_and_each_once(self, index):
        dice = random.Random(3)
        events = [
            event(offset, dice.choice(["orders", "stock"]), at=dice.randint(0, 200), trace_id=dice.randint(1, 40))
            for offset in range(200)
        ]
        index.add(events)
        expected = build_flows(events, JOIN, self.MAX_FLOW)
        found, cursor = await index.flows(7)
        while cursor is not None:
            page, cursor = await index.flows(7, cursor)
            assert len(page) <= 7
            found += page
        assert found == expected

    async def test_an_index_of_nothing_answers(self, index):
        index.add([])
        assert await index.flows(10) == ([], None)
        held = index.coverage()
        assert (held.events, held.evicted, held.filling, held.partitions) == (0, 0, False, [])

    async def test_adding_a_batch_twice_changes_nothing(self, index):
        events = [event(offset, event_id=str(offset), trace_id=offset // 3 + 1) for offset in range(30)]
        index.add(events[10:])
        expected = build_flows(events, JOIN, self.MAX_FLOW)
        index.add(events[:20])
        index.add(events)
        assert await index.flows(100) == (expected, None)
        assert (await self.held(index)).events == 30

    async def test_an_event_replaces_the_one_at_its_position(self, index):
        index.add([event(1, event_id="old", trace_id=1, unchecked=True), event(2, event_id="x", trace_id=2)])
        index.add([event(1, event_id="new", trace_id=2)])
        assert await index.lookup("old") == []
        assert await index.flow(f"{1:032x}") is None
        assert positions((await index.flow(f"{2:032x}")).nodes) == [event(1).position, event(2).position]
        assert (await index.at(event(1).position)).status == "ok"
        assert (await self.held(index)).events == 2

    async def test_the_order_of_arrival_does_not_show(self, index):
        dice = random.Random(7)
        events = [
            event(
                offset,
                stream,
                at=dice.randint(0, 300),
                event_id=str(dice.randint(0, 120)),
                trace_id=dice.choice([None, dice.randint(1, 60)]),
                correlation_id=dice.choice([None, None, str(dice.randint(0, 60))]),
                causation_id=dice.choice([None, str(dice.randint(0, 120))]),
                producer=stream,
            )
            for stream in ("orders", "payments", "stock")
            for offset in range(60)
        ]
        expected = build_flows(events, JOIN, self.MAX_FLOW)
        dice.shuffle(events)
        for begin in range(0, len(events), 7):
            index.add(events[begin : begin + 7])
        assert await index.flows(1000) == (expected, None)

    async def test_nothing_that_an_event_holds_makes_it_fail(self, index):
        odd = [
            event(1, event_id="\ud800", type="x" * 100_000, producer="\0\x1b[31m"),
            event(2, occurred_at=1 << 90, digest=-(1 << 70), span_id=-1, parent_span_id=1 << 64),
            event(3, trace_id=-1, trace_origin=TraceOrigin.W3C),
            event(4, trace_id=1 << 128, correlation_id="c" * 5_000),
            event(
                5, correlation_id="c" * 4_999 + "d", rejection=Rejection("decode.limit", "m" * 2_000_000, "p" * 9_999)
            ),
            event(6, event_id="sound"),
            Event(Position("redis", "orders", 0, (1 << 128) - 1), "k", (1 << 64) - 1, 1 << 80),
            Event(Position("kafka", "orders", 0, 1), "k", -(1 << 80), 0, replay_of="@", event_id=""),
        ]
        index.add(odd)
        assert (await self.held(index)).events == len(odd)
        found, _ = await index.flows(100)
        assert {node.event.position for flow in found for node in flow.nodes} == {one.position for one in odd}
        assert positions(await index.lookup("sound")) == [event(6).position]
        assert positions(await index.lookup("c" * 5_000)) == [event(4).position]
        assert len((await index.at(event(1).position)).event.type or "") < 1_000

    async def test_a_large_flow_leaves_the_event_loop_its_turns(self, index):
        index.add([event(offset, trace_id=1, event_id=str(offset)) for offset in range(50)])
        index.add([event(offset, "stock", causation_id=str(offset % 50), trace_id=2) for offset in range(40)])
        turns = 0

        async def watch() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        watching = asyncio.ensure_future(watch())
        for _ in range(10):
            await index.flow(f"{1:032x}")
        watching.cancel()
        assert turns > 3

    async def test_events_of_a_former_stream_are_removed_and_later_ones_stay(self, index):
        before = (NOW + 5_000) * 1000
        index.add([event(offset, event_id=f"old-{offset}", trace_id=offset + 1) for offset in range(300)])
        index.add([event(offset, "orders*", event_id=f"other-{offset}") for offset in range(3)])
        assert (await self.held(index)).events == 303
        index.discard(Partition("memory", "orders", 0), before)
        new = [event(offset, event_id=f"new-{offset}", observed_at=before + offset) for offset in (0, 2, 500)]
        index.add(new)

        async def is_removed() -> bool:
            return (await self.held(index)).events == 6

        await until(is_removed)
        found, _ = await index.flows(1000)
        ids = {node.event.event_id for flow in found for node in flow.nodes}
        assert ids == {"new-0", "new-2", "new-500", "other-0", "other-1", "other-2"}
        assert await index.lookup("old-7") == []
        assert (await index.at(event(7).position)) is None
        assert (await index.at(event(2).position)).event.event_id == "new-2"

    async def test_partitions_are_added_and_removed(self, index):
        orders, stock = Partition("memory", "orders", 0), Partition("memory", "stock", 0)
        index.filling(orders, True)
        index.covering(orders, NOW - 900)
        index.covering(stock, NOW - 50)
        held = index.coverage()
        assert (held.partitions, held.filling, held.since) == ([orders, stock], True, NOW - 50)
        index.filling(orders, False)
        assert not index.coverage().filling
        assert index.coverage().note is None
        index.add([event(1, event_id="a")])
        index.forget(orders)
        held = index.coverage()
        assert held.partitions == [stock]
        assert "orders" in (held.note or "")
        index.covering(orders, NOW)
        assert index.coverage().note is None
