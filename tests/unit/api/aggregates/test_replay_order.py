"""The order in which the events of an aggregate are applied, and the notes about it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sidecar.api.services.aggregates.replay_order import AggregateEvent, ReplayOrder, order_events
from sidecar.api.services.aggregates.sequence import SequenceReader
from sidecar.domain.model import Event, Rejection
from sidecar.domain.ports.index import Node
from sidecar.domain.position import Position

READER = SequenceReader()


def event(
    offset: int, body: Any = None, *, partition: int = 0, occurred: int | None = None, **more: Any
) -> AggregateEvent:
    unread = more.pop("unread", None)
    made = Event(
        Position("memory", "orders", partition, offset),
        None,
        1_000 + offset,
        0,
        occurred_at=occurred,
        **{"event_id": f"e-{partition}-{offset}", **more},
    )
    numbers = () if unread else READER.numbers([], body if body is not None else {})
    return AggregateEvent(Node(made, "ok", 1, None, False, 0), numbers, unread)


def offsets(order: ReplayOrder) -> list[int]:
    return [each.event.position.offset for each in order.iterate_applied()]


def kinds(order: ReplayOrder) -> list[tuple[str, int | None]]:
    return [(note.kind, None if note.position is None else note.position.offset) for note in order.notes]


def test_without_numbers_a_partition_keeps_its_order_and_partitions_are_merged_by_time() -> None:
    order = order_events(
        [
            event(1, occurred=50), event(2, occurred=20), event(3, occurred=60),
            event(7, partition=1, occurred=10), event(8, partition=1, occurred=55),
        ],
        READER,
    )  # fmt: skip
    assert offsets(order) == [7, 1, 2, 8, 3]
    assert kinds(order) == [("reordered", 2)]
    assert order.sequence is None
    assert not order.whole


def test_a_cause_comes_before_its_effect_though_clocks_say_otherwise() -> None:
    order = order_events(
        [
            event(1, occurred=50, event_id="created"), event(2, occurred=50, event_id="sent", causation_id="paid"),
            event(7, partition=1, occurred=50, event_id="paid", causation_id="created"),
            event(8, partition=1, occurred=10, event_id="other", causation_id="gone"),
            event(3, partition=2, occurred=5, event_id="x", causation_id="y"),
            event(4, partition=2, occurred=6, event_id="y", causation_id="x"),
        ],
        READER,
    )  # fmt: skip
    assert offsets(order) == [1, 7, 8, 2, 3, 4]
    assert kinds(order) == [("reordered", 8)]


def test_the_aggregates_own_version_orders_its_events_and_shows_that_all_are_there() -> None:
    order = order_events([event(n, {"aggregateVersion": version}) for n, version in ((1, 1), (2, 3), (3, 2))], READER)
    assert offsets(order) == [1, 3, 2]
    assert order.sequence is not None
    assert order.sequence.location == "body:aggregateVersion"
    assert kinds(order) == [("reordered", 2)]
    assert order.whole


def test_missing_numbers_and_a_late_begin_are_gaps_and_equal_numbers_a_conflict() -> None:
    numbers = (3, 4, 7, 8, 8, 9)
    order = order_events([event(n, {"aggregateVersion": number}) for n, number in enumerate(numbers)], READER)
    assert kinds(order) == [("gap", 0), ("gap", 2), ("conflict", 4)]
    assert "numbers 5 to 6 are missing" in order.notes[1].message
    assert not order.whole


def test_a_global_sequence_orders_but_its_gaps_say_nothing() -> None:
    order = order_events([event(n, {"sequence": number}) for n, number in enumerate((900, 17, 400))], READER)
    assert offsets(order) == [1, 2, 0]
    assert not [note for note in order.notes if note.kind == "gap"]
    assert not order.whole


def test_a_version_that_repeats_is_a_schema_version_and_orders_nothing() -> None:
    order = order_events([event(n, {"version": version}) for n, version in enumerate((2, 1, 1))], READER)
    assert order.sequence is None
    assert offsets(order) == [0, 1, 2]


def test_rejected_duplicate_and_unread_events_are_noted_and_not_applied() -> None:
    order = order_events(
        [
            event(1, event_id="a"),
            event(2, event_id="a", digest=7),
            event(3, event_id="b", rejection=Rejection("schema.mismatch", "no")),
            event(4, event_id="b", replay_of="g@memory://orders/0/3"),
            event(5, event_id="c", unread="the broker no longer has it"),
        ],
        READER,
    )
    assert offsets(order) == [1, 4]
    assert kinds(order) == [("duplicate", 2), ("rejected", 3), ("unread", 5)]
    assert "with different content" in order.notes[0].message


@given(st.data())
def test_the_order_of_arrival_makes_no_difference_and_nothing_is_lost(data: st.DataObject) -> None:
    places = data.draw(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), unique=True, min_size=1, max_size=12))
    events = [
        event(
            offset,
            data.draw(st.sampled_from([{}, {"aggregateVersion": offset}, {"version": partition}])),
            partition=partition,
            occurred=data.draw(st.none() | st.integers(0, 5)),
            event_id=data.draw(st.sampled_from([None, "a", f"e-{partition}-{offset}"])),
        )
        for partition, offset in places
    ]
    order = order_events(events, READER)
    again = order_events(data.draw(st.permutations(events)), READER)
    assert again == order
    assert sorted(each.event.position for each in order.events) == sorted(each.event.position for each in events)
    noted = {note.position for note in order.notes}
    assert order.skipped <= noted
    if order.sequence is None:
        for partition in range(3):
            own = [each for each in order.events if each.event.position.partition == partition]
            assert own == sorted(own, key=lambda each: each.event.position)
    else:
        numbers = [each.numbers[order.sequence.index] for each in order.iterate_applied()]
        assert numbers == sorted(numbers, key=lambda number: number or 0)
