"""Sagas over the whole API, and as text on the command line."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.core import TyperCommand

from sidecar.api import models
from sidecar.api.client.client import BadRequest, NotFound
from sidecar.cli.completion import complete_saga, complete_saga_query
from sidecar.cli.output.saga_lines import proposal_yaml, saga_lines
from sidecar.config.loader import loads
from sidecar.config.schema import SagaConfig, SagaStepConfig
from sidecar.config.value_types import Duration
from sidecar.domain.model import Outgoing
from tests.support.api import READER, Sidecar, serving

ORDER = SagaConfig(
    name="order",
    start="OrderPlaced",
    deadline=Duration(0.001),
    steps=[
        SagaStepConfig(on=["OrderPaid"], name="payment", expected_from="billing"),
        SagaStepConfig(on=["OrderShipped"]),
    ],
    completed=["OrderShipped"],
)


async def _pass(sidecar: Sidecar, number: int, *types: str) -> list[str]:
    positions = []
    for at, type in enumerate(types):
        body: dict[str, Any] = {"eventId": f"{number}-{at}", "eventType": type, "aggregateId": f"o-{number}"}
        body["correlationId"] = f"c-{number}"
        positions.append(str((await sidecar.pass_on(body, "payments")).event.position))
    return positions


async def test_sagas_are_listed_by_state_and_shown_with_their_obstacle(tmp_path: Path) -> None:
    async with serving(tmp_path / "token", sagas=[ORDER]) as sidecar, sidecar.client(READER) as client:
        await _pass(sidecar, 1, "OrderPlaced", "OrderPaid", "OrderShipped")
        (placed,) = await _pass(sidecar, 2, "OrderPlaced")
        page = await client.sagas()
        stuck = await client.sagas("state:stuck")
        shown = await client.saga("o-2")
        assert await client.saga(shown.id) == shown
        with pytest.raises(NotFound, match="no saga has the id"):
            await client.saga("o-3")
        with pytest.raises(BadRequest, match="a saga has no field"):
            await client.sagas("producer:x")
    assert [saga.state for saga in page.items] == ["stuck", "completed"]
    assert page.states == {"running": 0, "completed": 1, "compensated": 0, "failed": 0, "stuck": 1}
    assert [saga.aggregate_id for saga in stuck.items] == ["o-2"]
    assert shown.id == f"order@{placed}"
    assert shown.missing == ["payment", "OrderShipped"]
    assert shown.obstacle is not None
    assert (shown.obstacle.step, shown.obstacle.expected_from, shown.obstacle.before) == ("payment", "billing", placed)
    assert shown.obstacle.message.startswith("payment is missing; billing should have produced it")
    lines = "\n".join(saga_lines(shown))
    assert "✗ payment" in lines
    assert "expected from billing" in lines


async def test_pages_follow_one_another(tmp_path: Path) -> None:
    async with serving(tmp_path / "token", sagas=[ORDER]) as sidecar, sidecar.client() as client:
        for number in range(5):
            await _pass(sidecar, number, "OrderPlaced")
        first = await client.sagas(limit=3)
        second = await client.sagas(limit=3, cursor=first.cursor)
        with pytest.raises(BadRequest, match="invalid cursor"):
            await client.sagas(cursor="x")
    assert (len(first.items), len(second.items), second.cursor) == (3, 2, None)
    assert len({saga.id for saga in first.items + second.items}) == 5


async def test_events_between_two_updates_are_counted_once(tmp_path: Path) -> None:
    async with serving(tmp_path / "token", sagas=[ORDER]) as sidecar, sidecar.client() as client:
        await _pass(sidecar, 1, "OrderPlaced", "OrderPaid")
        assert (await client.saga("o-1")).state == "stuck"
        await sidecar.pass_on(
            {"eventId": "x", "eventType": "OrderShipped", "aggregateId": "o-1", "correlationId": "c-1"}, "payments"
        )
        saga = await client.saga("o-1")
    assert saga.state == "completed"
    assert [step.count for step in saga.steps] == [1, 1, 1]


async def test_a_replay_with_the_time_of_its_original_frees_a_stuck_saga(tmp_path: Path) -> None:
    async with serving(tmp_path / "token", sagas=[ORDER]) as sidecar, sidecar.client() as client:
        await _pass(sidecar, 1, "OrderPlaced", "OrderPaid")
        assert (await client.saga("o-1")).state == "stuck"
        old = Outgoing(
            "payments",
            None,
            json.dumps({"eventId": "x", "eventType": "OrderShipped", "correlationId": "c-1"}).encode(),
            (),
            timestamp=time.time_ns() // 1_000_000 - 3_600_000,
        )
        record = await sidecar.broker.read(sidecar.log.append(old))
        assert record is not None
        await sidecar.show([record])
        assert (await client.saga("o-1")).state == "completed"
        assert (await client.sagas()).states["stuck"] == 0


async def test_without_declarations_the_answer_says_how_to_get_some(tmp_path: Path) -> None:
    async with serving(tmp_path / "token") as sidecar, sidecar.client() as client:
        with pytest.raises(NotFound, match="sagas learn"):
            await client.sagas()


async def test_a_proposal_is_a_configuration(tmp_path: Path) -> None:
    async with serving(tmp_path / "token") as sidecar, sidecar.client() as client:
        for number in range(6):
            await _pass(sidecar, number, "OrderPlaced", "OrderPaid", "OrderShipped")
        page: models.LearnedSagaPage = await client.learn_sagas()
        empty = await client.learn_sagas("stream:orders")
    text = proposal_yaml(page)
    base = "service: shop\nsources: {redis: {url: redis://127.0.0.1, streams: [a]}}\n"
    (saga,) = loads(base + text, {}, "tracecar.yaml").sagas
    assert (saga.start, [step.on for step in saga.steps]) == ("OrderPlaced", [["OrderPaid"], ["OrderShipped"]])
    assert "OrderPlaced → OrderPaid → OrderShipped" in text
    assert yaml.safe_load(proposal_yaml(empty)) is None


async def test_a_redacted_type_is_in_no_proposal(tmp_path: Path) -> None:
    async with serving(tmp_path / "token", redact=["body:eventType"]) as sidecar, sidecar.client() as client:
        for number in range(6):
            await _pass(sidecar, number, "OrderPlaced", "OrderPaid", "OrderShipped")
        page = await client.learn_sagas()
    assert "OrderPlaced" not in repr(page)


async def test_only_rejected_events_that_may_be_the_reason_are_blamed(tmp_path: Path) -> None:
    async with serving(tmp_path / "token", sagas=[ORDER]) as sidecar, sidecar.client() as client:
        await _pass(sidecar, 1, "OrderPlaced")
        await _pass(sidecar, 2, "OrderPlaced")
        headers: list[tuple[str, bytes | None]] = [("correlation-id", b"c-1")]
        broken = {"eventId": "x", "eventType": "OrderPacked", "aggregateId": "o-1", "data": {"total": [1]}}
        other = await sidecar.pass_on(broken, "orders", headers)
        headers[0] = ("correlation-id", b"c-2")
        own = await sidecar.pass_on(broken | {"eventId": "y"}, "orders", [*headers, ("producer", b"/shop/billing")])
        unrelated, blamed = await client.saga("o-1"), await client.saga("o-2")
    assert unrelated.obstacle is not None
    assert blamed.obstacle is not None
    assert unrelated.obstacle.rejected == [str(other.event.position)]
    assert "dead letter" not in unrelated.obstacle.message
    assert "rejected event" not in unrelated.obstacle.message
    assert str(own.event.position) in blamed.obstacle.dead_letters[0]
    assert blamed.obstacle.message.endswith(f"dead letter {blamed.obstacle.dead_letters[0]}")


async def test_ids_names_and_states_are_completed(tmp_path: Path) -> None:
    async with serving(tmp_path / "token", sagas=[ORDER]) as sidecar:
        (placed,) = await _pass(sidecar, 1, "OrderPlaced")
        context = typer.Context(TyperCommand("sagas"))
        context.params = {"url": sidecar.url, "token": READER}
        assert await asyncio.to_thread(complete_saga, context, "o-") == ["o-1"]
        assert await asyncio.to_thread(complete_saga, context, "order@") == [f"order@{placed}"]
        assert await asyncio.to_thread(complete_saga_query, context, "saga:o") == ["saga:order"]
        assert complete_saga_query(context, "state:c") == ["state:completed", "state:compensated"]
        assert complete_saga_query(context, "st") == ["state:", "stream:"]
