"""Sagas: assignment of events, the state at each moment, and declarations learned from flows."""

from __future__ import annotations

import random
from typing import Any

import pytest

from sidecar.domain.model import Event, Rejection
from sidecar.domain.ports.index import Flow, Node
from sidecar.domain.position import Position
from sidecar.insights.sagas.counts import SagaCounts
from sidecar.insights.sagas.declaration import DeclaredStep, SagaDeclaration
from sidecar.insights.sagas.learner import SagaLearner
from sidecar.insights.sagas.saga import Saga, SagaState
from sidecar.insights.sagas.tracker import MAX_SAGAS_PER_KEY, SagaTracker

SECOND_US = 1_000_000
STEPS = (
    DeclaredStep(name="payment", types=("Paid",), within_us=5 * SECOND_US, expected_from="billing"),
    DeclaredStep(name="gift", types=("GiftAdded",), optional=True),
    DeclaredStep(name="shipment", types=("Shipped",), repeated=True),
)


def declare(**options: Any) -> SagaDeclaration:
    base: dict[str, Any] = {"name": "order", "start": "Placed", "steps": STEPS, "deadline_us": 60 * SECOND_US}
    ends = {"completed": frozenset({"Done"}), "compensated": frozenset({"Cancelled"}), "failed": frozenset({"Lost"})}
    return SagaDeclaration(**(base | ends | {"compensations": frozenset({"Refunded"})} | options))


def node(type: str, at_s: float, offset: int, *, status: str = "ok", stream: str = "orders", **fields: Any) -> Node:
    at = round(at_s * SECOND_US)
    event = Event(
        Position("kafka", stream, 0, offset), "k", at // 1000, at, event_id=f"e-{offset}", type=type, occurred_at=at,
        **({"trace_id": 7, "aggregate_id": "o-1"} | fields),
    )  # fmt: skip
    return Node(event, status, 7, None, False, 0)


def follow(*nodes: Node, **options: Any) -> Saga:
    tracker = SagaTracker([declare(**options)])
    tracker.observe(nodes)
    (saga,) = tracker.sagas()
    return saga


START = node("Placed", 0, 1)
PAID = node("Paid", 2, 2)
SHIPPED = node("Shipped", 4, 3)
DONE = node("Done", 5, 4)


def test_a_saga_completes_with_its_end() -> None:
    saga = follow(START, PAID, SHIPPED, DONE)
    assert saga.id == "order@kafka://orders/0/1"
    assert saga.state(6 * SECOND_US) is SagaState.COMPLETED
    assert saga.state(600 * SECOND_US) is SagaState.COMPLETED
    assert saga.list_missing() == []


@pytest.mark.parametrize(
    ("type", "state"), [("Cancelled", SagaState.COMPENSATED), ("Lost", SagaState.FAILED), ("Done", SagaState.COMPLETED)]
)
def test_each_kind_of_end(type: str, state: SagaState) -> None:
    assert follow(START, node(type, 3, 9)).state(99 * SECOND_US) is state


def test_a_saga_is_stuck_after_its_deadline_and_names_the_step() -> None:
    saga = follow(START)
    assert saga.state(5 * SECOND_US) is SagaState.RUNNING
    assert saga.state(5 * SECOND_US + 1) is SagaState.STUCK
    assert saga.overdue_since(9 * SECOND_US) == 5 * SECOND_US
    assert saga.next_missing() == 0
    paid = follow(START, PAID)
    assert paid.state(59 * SECOND_US) is SagaState.RUNNING
    assert paid.state(61 * SECOND_US) is SagaState.STUCK
    assert paid.next_missing() == 2, "the optional step does not count"
    before = paid.before(2)
    assert before is not None
    assert before.position == PAID.event.position


def test_an_optional_step_delays_no_deadline_and_may_be_the_cause() -> None:
    gift = node("GiftAdded", 30, 3)
    saga = follow(START, PAID, gift)
    before = saga.before(2)
    assert before is not None
    assert before.position == PAID.event.position
    assert [each.position for each in saga.list_before(2)] == [
        gift.event.position, PAID.event.position, START.event.position,
    ]  # fmt: skip


def test_a_late_event_frees_a_stuck_saga() -> None:
    tracker = SagaTracker([declare()])
    tracker.observe([START])
    (saga,) = tracker.sagas()
    assert saga.state(70 * SECOND_US) is SagaState.STUCK
    tracker.observe([node("Paid", 65, 2), node("Shipped", 66, 3), node("Done", 67, 4)])
    assert saga.state(70 * SECOND_US) is SagaState.COMPLETED


def test_without_ends_the_last_required_step_is_the_end() -> None:
    saga = follow(START, PAID, SHIPPED, completed=frozenset())
    assert saga.state(99 * SECOND_US) is SagaState.COMPLETED
    assert saga.end is not None
    assert saga.end.position == SHIPPED.event.position


def test_rejected_events_do_not_count_and_are_kept() -> None:
    bad = node("Paid", 2, 2, rejection=Rejection("schema.mismatch", "x"), status="rejected")
    saga = follow(START, bad)
    assert saga.list_missing() == [0, 2]
    assert [each.position for each in saga.rejected] == [bad.event.position]


def test_duplicates_and_repeated_reading_change_nothing() -> None:
    again = node("Shipped", 4, 9, status="duplicate")
    tracker = SagaTracker([declare()])
    for _ in range(3):
        tracker.observe([START, PAID, SHIPPED, again, node("Shipped", 4.5, 5)])
    (saga,) = tracker.sagas()
    assert (saga.count(0), saga.count(1), saga.count(2)) == (1, 0, 2)


def test_a_step_of_many_events_is_counted_once_however_often_it_is_read() -> None:
    tracker = SagaTracker([declare()])
    many = [node("Shipped", 4 + offset / 100, offset, producer="warehouse") for offset in range(10, 60)]
    for _ in range(2):
        tracker.observe([START, *many])
    (saga,) = tracker.sagas()
    assert saga.count(2) == 50
    assert len(saga.seen[2]) == 20


def test_an_id_that_many_sagas_share_joins_no_further_ones() -> None:
    tracker = SagaTracker([declare()])
    for at in range(MAX_SAGAS_PER_KEY + 1):
        tracker.observe([node("Placed", 0, at, trace_id=at + 1, correlation_id="default")])
    tracker.observe([node("Placed", 1, 900, trace_id=900, correlation_id="default")])
    tracker.observe([node("Paid", 2, 901, trace_id=900, correlation_id="default")])
    assert [saga.start.position.offset for saga in tracker.sagas() if saga.count(0)] == [900]


def test_the_order_in_which_events_are_read_does_not_matter() -> None:
    nodes = [
        START, PAID, node("Note", 2.5, 12, trace_id=None, causation_id="e-2", aggregate_id=None),
        node("Shipped", 4, 3, trace_id=None, causation_id="e-2", stream="shipping"), DONE,
    ]  # fmt: skip
    for seed in range(50):
        random.Random(seed).shuffle(nodes)
        saga = follow(*nodes)
        assert (saga.list_missing(), saga.end_state) == ([], SagaState.COMPLETED), seed


def test_events_are_joined_through_events_that_no_declaration_names() -> None:
    middle = node("Note", 2, 5, trace_id=None, causation_id="e-1", aggregate_id=None)
    last = node("Paid", 3, 6, trace_id=None, causation_id="e-5", aggregate_id=None)
    assert follow(START, middle, last).list_missing() == [2]


def test_correlation_by_a_key_joins_what_has_no_flow_and_nothing_else() -> None:
    strange = node("Paid", 2, 2, trace_id=99)
    other = node("Paid", 2, 3, aggregate_id="o-2")
    assert follow(START, strange, correlation="aggregate").list_missing() == [2]
    assert follow(START, other, correlation="aggregate").list_missing() == [0, 2]


def test_a_key_that_begins_a_process_again_belongs_to_the_latest() -> None:
    tracker = SagaTracker([declare(correlation="aggregate")])
    tracker.observe([START, PAID, SHIPPED, DONE, node("Placed", 100, 10), node("Paid", 101, 11)])
    first, latest = tracker.sagas()
    assert first.end_state is SagaState.COMPLETED
    assert latest.list_missing() == [2]


def test_ended_sagas_are_evicted_before_running_ones() -> None:
    tracker = SagaTracker([declare()], max_sagas=2)
    for number in range(3):
        tracker.observe([node("Placed", number, number * 10, trace_id=number + 1)])
        if number != 0:
            tracker.observe([node("Done", number + 0.5, number * 10 + 1, trace_id=number + 1)])
    assert tracker.evicted == 1
    assert [saga.state(3 * SECOND_US) for saga in tracker.sagas()] == [SagaState.RUNNING, SagaState.COMPLETED]


def test_the_usual_producer_of_a_step_is_learned() -> None:
    tracker = SagaTracker([declare()])
    for number in range(5):
        trace = number + 1
        tracker.observe([
            node("Placed", 0, number * 10, trace_id=trace),
            node("Shipped", 1, number * 10 + 1, trace_id=trace, producer="warehouse" if number else "test"),
        ])  # fmt: skip
    (declaration,) = tracker.declarations
    assert tracker.expected_from(declaration, 2) == "warehouse"
    assert tracker.expected_from(declaration, 0) == "billing"
    assert tracker.expected_from(declaration, 1) is None


def test_states_and_waiting_steps_are_counted() -> None:
    tracker = SagaTracker([declare()])
    tracker.observe([START, node("Placed", 0, 20, trace_id=8), node("Done", 1, 21, trace_id=8)])
    counts = SagaCounts(tracker.declarations, 10 * SECOND_US)
    counts.add(tracker.sagas())
    assert counts.states["order", SagaState.STUCK] == counts.states["order", SagaState.COMPLETED] == 1
    assert counts.states["order", SagaState.FAILED] == 0
    assert counts.waiting == {("order", "payment"): 1}
    assert [saga.start.position for saga in counts.stuck] == [START.event.position]


def test_sagas_of_a_partition_that_was_created_again_are_forgotten() -> None:
    tracker = SagaTracker([declare()])
    tracker.observe([START, PAID, node("Placed", 0, 5, trace_id=8, stream="others")])
    tracker.discard(START.event.position.log)
    (saga,) = tracker.sagas()
    assert saga.start.position.stream == "others"
    tracker.observe([node("Placed", 50, 1, trace_id=9)])
    assert len(tracker.sagas()) == 2, "the new stream uses the same offsets"


def flow(trace_id: int, *types: str) -> Flow:
    nodes = [node(type, at, trace_id * 100 + at, producer=f"{type.lower()}-service") for at, type in enumerate(types)]
    return Flow(trace_id, nodes)


def test_a_declaration_is_learned_with_its_paths_and_what_does_not_fit() -> None:
    learner = SagaLearner()
    for number in range(90):
        learner.observe_flow(flow(number, "Placed", "Paid", "Shipped", "Shipped", "Done"))
    for number in range(90, 98):
        learner.observe_flow(flow(number, "Placed", "Paid", "GiftAdded", "Shipped", "Done"))
    for number in range(98, 101):
        learner.observe_flow(flow(number, "Placed", "Cancelled"))
    learner.observe_flow(flow(500, "Placed", "Paid"))
    learner.observe_flow(flow(501, "Seen", "Once"))
    (learned,) = learner.propose()
    assert (learned.start, learned.flows, learned.in_sequence) == ("Placed", 102, True)
    steps = {step.type: step for step in learned.steps}
    assert list(steps) == ["Paid", "Cancelled", "Shipped", "GiftAdded", "Done"] or set(steps) == {
        "Paid", "Cancelled", "Shipped", "GiftAdded", "Done",
    }  # fmt: skip
    assert {type for type, step in steps.items() if not step.optional} == {"Paid", "Shipped", "Done"}
    assert {type for type, step in steps.items() if step.repeated} == {"Shipped"}
    assert steps["Paid"].producer == "paid-service"
    assert dict(learned.ends) == {"Done": 98, "Cancelled": 3}
    assert learned.variants[0].flows == 90
    assert learned.not_fitting == 1
    assert learned.examples == (f"{500:032x}",)


def test_steps_in_any_order_are_recognized() -> None:
    learner = SagaLearner()
    for number in range(20):
        middle = ["Paid", "Packed"] if number % 2 else ["Packed", "Paid"]
        learner.observe_flow(flow(number, "Placed", *middle, "Done"))
    (learned,) = learner.propose()
    assert not learned.in_sequence
