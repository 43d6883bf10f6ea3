"""An aggregate over time: changes of each event and the state after it, and the screen that shows them."""

from __future__ import annotations

from typing import Any

import msgspec
from textual.widgets import Input

from sidecar.api import models
from sidecar.api.client.client import ServerFailed
from tests.support.dashboard import driven, on, rows, shown, until
from tests.support.dashboard_data import HOSTILE, TRACE, WHY, Shop, event
from tests.support.dashboard_times import coverage
from tui.dialogs.copy_text import CopyDialog
from tui.dialogs.moment import MomentDialog
from tui.screens.aggregate import what
from tui.text.aggregate_history import build_steps
from tui.text.aggregate_step_lines import step_facts
from tui.text.detail_line import FoldState
from tui.widgets.detail_list import DetailList
from tui.widgets.query_bar import QueryBar


def explained(*events: models.EventModel, **more: Any) -> models.AggregateModel:
    fields: dict[str, Any] = {
        "aggregate_id": "o-1", "aggregate_type": None, "events": list(events), "coverage": coverage(), "at": "now",
        "applied": len(events), "state": {}, "origins": {}, "notes": [], "steps": [],
    }  # fmt: skip
    return models.AggregateModel(**(fields | more))


def changed(path: str, before: Any, after: Any) -> models.ChangeModel:
    return models.ChangeModel(path=path, before=before, after=after, what="changed")


def test_steps_are_the_events_with_what_the_sidecar_says_of_them() -> None:
    events = [event(number, "orders", "Changed", number * 100) for number in (1, 2, 3)]
    first, second, third = (one.position for one in events)
    steps = build_steps(
        explained(
            *events,
            applied=2,
            steps=[
                models.AggregateStepModel(position=first, changes=[changed("a", 0, 1)]),
                models.AggregateStepModel(position=third, changes=[changed("b", 0, 1)], omitted=5),
            ],
            notes=[
                models.AggregateNoteModel(kind="rejected", position=second, message="rejected"),
                models.AggregateNoteModel(kind="gap", position=third, message="number 2 is missing"),
                models.AggregateNoteModel(kind="reordered", position=third, message="late"),
            ],
        )
    )
    assert [(step.applied, step.first, step.note, step.omitted) for step in steps] == [
        (True, True, "", 0), (False, False, "rejected", 0), (True, False, "number 2 is missing; late", 5),
    ]  # fmt: skip
    assert [step.gap for step in steps] == [None, 100.0, 100.0]
    assert what(steps[2]) == "b and 5 more"


def test_the_first_event_that_is_listed_need_not_be_the_aggregates_first() -> None:
    one = event(7, "orders", "Changed", 100)
    step = models.AggregateStepModel(position=one.position, changes=[changed("a", 0, 1)])
    assert [made.first for made in build_steps(explained(one, applied=500, steps=[step]))] == [False]
    (unexplained,) = build_steps(
        models.AggregateModel(aggregate_id="o-1", aggregate_type=None, events=[one], coverage=coverage())
    )
    assert not unexplained.applied


def story() -> Shop:
    """A shop with an order of three events; the second one is rejected."""
    shop = Shop()
    shop.the_events = [
        event(1, "orders", "OrderPlaced", 1_000),
        event(2, "orders", "AddressChanged", 1_400, status="rejected", rejection=WHY),
        event(3, "orders", "OrderPaid", 2_500),
    ]
    shop.bodies = {
        "kafka://orders/0/1": {"orderId": "order-1010", "status": "placed", "total": 10},
        "kafka://orders/0/2": {"orderId": "order-1010", "address": 7},
        "kafka://orders/0/3": {"orderId": "order-1010", "status": "paid"},
    }
    return shop


async def test_the_aggregate_of_an_event_is_a_key_away_and_escape_goes_back() -> None:
    async with driven(story(), (120, 30)) as (app, pilot):
        app.open_flow(TRACE, at="kafka://orders/0/1")
        await until(pilot, lambda: app.screen is app.page("flow") and rows(app, "tree").items)
        await pilot.press("v")
        await until(pilot, lambda: app.screen is app.page("aggregate") and len(rows(app, "steps").items) == 3)
        assert rows(app, "steps").chosen_key == "kafka://orders/0/1"
        await pilot.press("G")
        await until(pilot, lambda: '"placed" → "paid"' in shown(app))
        assert "aggregate order-1010" in shown(app)
        assert "total: 10" in shown(app)  # from an earlier event, and still known
        await pilot.press("n")
        await until(pilot, lambda: "rejected, so it does not change" in shown(app))
        assert "state before it" in shown(app)
        await pilot.press("y")
        await until(pilot, lambda: isinstance(app.screen, CopyDialog))
        await pilot.press("escape", "enter")
        await until(pilot, lambda: app.screen is app.page("flow"))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.page("aggregate"))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.page("flow") and rows(app, "tree").items)


async def test_an_aggregate_opens_from_the_list_from_a_letter_and_by_its_id() -> None:
    shop = story()
    shop.the_letters[0].aggregate_id, shop.the_letters[0].origin = "order-1010", "kafka://orders/0/2"
    async with driven(shop, (120, 30)) as (app, pilot):
        await until(pilot, lambda: len(rows(app, "live").items) == 3)
        await pilot.press("v")
        await until(pilot, lambda: app.screen is app.page("aggregate") and len(rows(app, "steps").items) == 3)
        assert rows(app, "steps").chosen_key == "kafka://orders/0/3"
        await on(pilot, app, "4", "letters")
        await until(pilot, lambda: rows(app, "causes").items)
        await pilot.press("enter")
        await until(pilot, lambda: rows(app, "list").items)
        await pilot.press("v")
        await until(pilot, lambda: app.screen is app.page("aggregate") and len(rows(app, "steps").items) == 3)
        assert rows(app, "steps").chosen_key == "kafka://orders/0/2"
        await on(pilot, app, "7", "status")
        app.look_up_aggregate()
        await until(pilot, lambda: app.screen is app.page("aggregate") and app.screen.query_one(QueryBar).is_open)
        bar = app.screen.query_one(QueryBar)
        bar.line.value = "missing"
        await pilot.press("enter")
        await until(pilot, lambda: "no aggregate has the id missing" in bar.error)
        bar.line.value = "order-1010"
        await pilot.press("enter")
        await until(pilot, lambda: not bar.is_open and len(rows(app, "steps").items) == 3)


async def test_new_events_are_added_and_followed() -> None:
    shop = story()
    async with driven(shop, (120, 30)) as (app, pilot):
        app.open_aggregate("order-1010")
        await until(pilot, lambda: app.screen is app.page("aggregate") and len(rows(app, "steps").items) == 3)
        shop.bodies["kafka://orders/0/4"] = {"orderId": "order-1010", "status": "sent"}
        shop.the_events.append(event(4, "orders", "OrderSent", 3_000))
        await until(pilot, lambda: '"paid" → "sent"' in shown(app))
        assert rows(app, "steps").cursor == 3


async def test_keys_step_through_time_and_jump_to_a_moment() -> None:
    shop = story()
    async with driven(shop, (120, 30)) as (app, pilot):
        app.open_aggregate("order-1010")
        await until(pilot, lambda: app.screen is app.page("aggregate") and len(rows(app, "steps").items) == 3)
        await until(pilot, lambda: "status: paid" in shown(app) or '"paid"' in shown(app))
        await pilot.press("left_square_bracket", "left_square_bracket")
        await until(pilot, lambda: rows(app, "steps").cursor == 0 and "placed" in shown(app))
        await pilot.press("right_square_bracket")
        await until(pilot, lambda: rows(app, "steps").cursor == 1)
        await pilot.press("at")
        await until(pilot, lambda: isinstance(app.screen, MomentDialog))
        app.screen.query_one(Input).value = "kafka://orders/0/1"
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is app.page("aggregate") and rows(app, "steps").cursor == 0)
        await pilot.press("at")
        await until(pilot, lambda: isinstance(app.screen, MomentDialog))
        app.screen.query_one(Input).value = "noon"
        await pilot.press("enter")
        await until(pilot, lambda: any("not a moment" in message.message for message in app._notifications))
        assert rows(app, "steps").cursor == 0


async def test_what_came_from_which_event_is_shown() -> None:
    async with driven(story(), (120, 40)) as (app, pilot):
        app.open_aggregate("order-1010")
        await until(pilot, lambda: app.screen is app.page("aggregate") and "set by" in shown(app))
        facts = app.screen.query_one(DetailList)
        step, state = rows(app, "steps").item, app.page("aggregate")._states["kafka://orders/0/3"]
        lines = step_facts(step, state, FoldState(), 60)
        assert not [line for line in lines if line.key.startswith("origin.")]  # folded at first
        folds = FoldState()
        folds.put("origins", True)
        origins = {
            line.label: (line.value, line.go)
            for line in step_facts(step, state, folds, 60)
            if line.key.startswith("origin.")
        }
        assert origins["status"] == ("this event", "flow:kafka://orders/0/3")
        assert origins["total"] == ("kafka://orders/0/1", "flow:kafka://orders/0/1")
        assert facts is not None


async def test_a_reducer_that_fails_leaves_the_events() -> None:
    shop = story()
    original = shop.aggregate

    async def fail(id: str, **more: Any) -> models.AggregateModel:
        if more.get("at") is not None:
            raise ServerFailed("the reducer shop:order failed on kafka://orders/0/3: KeyError")
        return await original(id, **more)

    shop.aggregate = fail  # type: ignore[method-assign]
    async with driven(shop, (120, 30)) as (app, pilot):
        app.open_aggregate("order-1010")
        await until(pilot, lambda: app.screen is app.page("aggregate") and len(rows(app, "steps").items) == 3)
        await until(pilot, lambda: "the reducer shop:order failed" in shown(app))


async def test_hostile_contents_stay_text() -> None:
    shop = story()
    shop.the_events = [
        msgspec.structs.replace(one, aggregate_id=HOSTILE, type=HOSTILE, stream=HOSTILE) for one in shop.the_events
    ]
    shop.bodies = {one.position: {HOSTILE: [n, {HOSTILE: HOSTILE}]} for n, one in enumerate(shop.the_events)}
    async with driven(shop, (120, 30)) as (app, pilot):
        app.open_aggregate(HOSTILE)
        await until(pilot, lambda: app.screen is app.page("aggregate") and len(rows(app, "steps").items) == 3)
        await until(pilot, lambda: "▾ changes" in shown(app))
        said = shown(app)
        assert said.replace("\n", "").isprintable(), [c for c in said if not c.isprintable() and c != "\n"]
