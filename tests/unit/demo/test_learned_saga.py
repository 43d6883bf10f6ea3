"""The declaration that is learned from the shop's events, in index or history, equals the shop's code."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.adapters.history.builder import build_parquet_history
from sidecar.api.services.stored_paths import can_select, learn_paths
from sidecar.config.schema import HistoryConfig
from sidecar.demo.shop.orders import OrderOutcome
from sidecar.demo.shop.saga import PLACED, SERVICES, STEPS, publisher_of
from sidecar.domain.history_rows import encode_event
from sidecar.domain.ports.history import HistorySegment
from sidecar.insights.sagas.learner import LearnedSaga, LearnedStep, SagaLearner
from sidecar.query import parse
from tests.support.shop_events import ShopEvents, run_shop

ORDERS = 300
pytestmark = pytest.mark.slow


def _name(type: str) -> str:
    """Return the type as an event states it: CloudEvents have a prefix."""
    return f"shop.{type}" if publisher_of(type) is SERVICES["shipping"] else type


def _types_of(outcome: OrderOutcome) -> set[str]:
    """Return the types that an order with this outcome has by the shop's code."""
    types = {PLACED}
    while True:
        emitted = {step.emits for step in STEPS if step.on in types and outcome in step.outcomes}
        if emitted <= types:
            return types
        types |= emitted


def _expected_steps() -> set[tuple[str, bool, bool, str]]:
    """Return each step of the shop: type, optional, repeated, and the service."""
    outcomes = [outcome for outcome in OrderOutcome if outcome is not OrderOutcome.LOST]
    every = set.union(*map(_types_of, outcomes))
    required = _types_of(OrderOutcome.FINE)
    repeated = {step.emits for step in STEPS if step.per_line}
    for outcome in outcomes:
        of_outcome = [step for step in STEPS if outcome in step.outcomes and step.on in _types_of(outcome)]
        emitted = [step.emits for step in of_outcome]
        repeated |= {type for type in emitted if emitted.count(type) > 1}
    return {(_name(type), type not in required, type in repeated, publisher_of(type).name) for type in every - {PLACED}}


def _describe(step: LearnedStep) -> tuple[str, bool, bool, str]:
    return step.type, step.optional, step.repeated, step.producer or ""


def _check(saga: LearnedSaga) -> None:
    assert (saga.start, saga.flows) == (PLACED, ORDERS)
    assert set(map(_describe, saga.steps)) == _expected_steps()
    final = {type for type in _types_of(OrderOutcome.FINE) if not any(step.on == type for step in STEPS)}
    assert next(iter(saga.ends))[0] in set(map(_name, final))
    assert not saga.in_sequence, "scanning, invoicing and shipping go on beside one another"
    assert saga.not_fitting == 0
    assert saga.deadline_us > 1_000 * sum(after for after in (120, 30, 30, 250, 600, 30))


async def _learn_from_index(shop: ShopEvents) -> list[LearnedSaga]:
    learner = SagaLearner()
    for flow in await shop.flows():
        learner.observe_flow(flow)
    return learner.propose()


async def test_the_learned_declaration_equals_the_shops_code() -> None:
    (saga,) = await _learn_from_index(await run_shop(ORDERS, clean=True))
    _check(saga)


async def test_the_history_leads_to_the_same_declaration(tmp_path: Path) -> None:
    shop = await run_shop(ORDERS, "kafka", clean=True)
    history, sql = build_parquet_history(HistoryConfig(url=str(tmp_path / "history")))
    events = [each.event for each in shop.decoded]
    await history.append(HistorySegment([encode_event(event, None) for event in [*events, *events[:50]]], []))
    learner = SagaLearner()
    await learn_paths(learner, sql, parse(""))
    (stored,) = learner.propose()
    _check(stored)
    (held,) = await _learn_from_index(shop)
    assert set(stored.ends) == set(held.ends)
    assert {(step.type, step.flows) for step in stored.steps} == {(step.type, step.flows) for step in held.steps}

    chosen = SagaLearner()
    await learn_paths(chosen, sql, parse("stream:loyalty"))
    assert chosen.flows == next(step.flows for step in stored.steps if step.type == "PointsGranted")
    later = SagaLearner()
    await learn_paths(later, sql, parse("since:2026-01-01T00:01:00Z"))
    assert 0 < later.flows < ORDERS
    await history.close()


@pytest.mark.parametrize(
    ("query", "selects"),
    [("", True), ("stream:orders since:1h", True), ("stream:ord*", False), ("type:OrderPlaced", False),
     ("stream:a OR stream:b", False), ("-stream:orders", False), ("order-1", False)],
)  # fmt: skip
def test_queries_that_the_history_can_apply(query: str, selects: bool) -> None:
    assert can_select(parse(query)) is selects
