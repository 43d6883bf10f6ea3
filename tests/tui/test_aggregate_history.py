"""An aggregate over time: changes of each event and the state after it, and the screen that shows them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.api import models
from tests.support.dashboard import driven, on, rows, shown, until
from tests.support.dashboard_data import HOSTILE, TRACE, WHY, Shop, event
from tui.dialogs.copy_text import CopyDialog
from tui.text.aggregate_history import AggregateStep, put_together, steps
from tui.widgets.query_bar import QueryBar


def said(number: int, type: str, body: Any, **more: Any) -> models.EventModel:
    return event(number, "orders", type, number * 100, body=body, payload_note=None, **more)


def changed(step: AggregateStep) -> list[tuple[str, str, Any]]:
    return [(one.what, one.path, one.after if one.what != "removed" else one.before) for one in step.changes]


PLACED = {"eventId": "e-1", "data": {"status": "placed", "total": 10, "items": [1, 2]}}
PAID = {"eventId": "e-2", "data": {"status": "paid", "by": "card"}}


def test_states_are_merged_and_each_event_has_its_changes() -> None:
    first, paid, again = steps(
        [said(1, "Placed", PLACED), said(2, "Paid", PAID), said(3, "Paid", PAID | {"eventId": "e-3"})]
    )
    assert first.first
    assert first.known == {"data": PLACED["data"]}  # without the event's own id
    assert paid.known == {"data": {"status": "paid", "total": 10, "items": [1, 2], "by": "card"}}
    assert changed(paid) == [("changed", "data.status", "paid"), ("added", "data.by", "card")]
    assert paid.gap == 100
    assert again.changes == []


def test_a_field_that_a_type_no_longer_carries_is_removed() -> None:
    made = steps([said(1, "Changed", {"a": 1, "b": {"c": 1, "d": 2}}), said(2, "Changed", {"a": 1, "b": {"c": 1}})])
    assert made[1].known == {"a": 1, "b": {"c": 1}}
    assert changed(made[1]) == [("removed", "b.d", 2)]


def test_a_list_with_fewer_fields_of_the_same_items_removes_nothing() -> None:
    made = steps([
        said(1, "Placed", {"items": [{"sku": "A", "name": "Lamp"}, {"sku": "B", "name": "Desk"}]}),
        said(2, "Confirmed", {"items": [{"sku": "A"}, {"sku": "B"}]}),
        said(3, "Shortened", {"items": [{"sku": "A"}]}),
        said(4, "Confirmed", {"items": [{"sku": "B"}]}),
    ])  # fmt: skip
    assert made[1].changes == []
    assert made[2].known == {"items": [{"sku": "A"}]}
    assert changed(made[3]) == [("changed", "items[0].sku", "B")]


def test_rejected_duplicate_and_unread_events_do_not_change_the_state() -> None:
    made = steps([
        said(1, "Placed", {"a": 1}),
        said(2, "Placed", {"a": 2}, status="rejected", rejection=WHY),
        said(3, "Placed", {"a": 1}, status="duplicate"),
        said(4, "Placed", None, status="ok"),
        said(5, "Placed", {"base64": "AP8="}),
        said(6, "Placed", {"a": 3}),
    ])  # fmt: skip
    assert [bool(step.note) for step in made] == [False, True, True, True, True, False]
    assert made[4].known == {"a": 1}
    assert changed(made[5]) == [("changed", "a", 3)]


def test_masked_values_stay_masked_and_are_no_change() -> None:
    made = steps([
        said(1, "A", {"card": "[redacted]", "n": 1}), said(2, "B", {"card": "[redacted]", "n": 2}),
        said(3, "C", {"cards": ["[redacted]"]}),
    ])  # fmt: skip
    assert changed(made[1]) == [("changed", "n", 2)]
    assert changed(made[2]) == [("added", "cards", ["[redacted]"])]


BODIES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)


@given(BODIES, BODIES)
def test_the_latest_value_counts(one: Any, other: Any) -> None:
    assert put_together(one, one, other) == other  # a later event of the same type replaces the earlier
    if isinstance(one, dict) and isinstance(other, dict):
        assert put_together(one, None, other).items() >= {k: v for k, v in other.items() if k not in one}.items()


def test_bodies_without_end_are_no_crash() -> None:
    deep: Any = 1
    for _ in range(400):
        deep = {"a": deep}
    made = steps([said(1, "A", {"b": deep, "c": 1}), said(2, "A", {"b": {"a": deep}, "c": 2})])
    assert made[1].changes


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


async def test_many_events_are_read_together() -> None:
    shop = Shop()
    shop.the_events = [event(number, "orders", "Counted", number) for number in range(50)]
    shop.bodies = {one.position: {"n": number} for number, one in enumerate(shop.the_events)}
    async with driven(shop, (80, 24)) as (app, pilot):
        app.open_aggregate("order-1010")
        await until(pilot, lambda: app.screen is app.page("aggregate") and "48 → 49" in shown(app))
        assert len(shop.of("event")) == 0


async def test_only_the_latest_large_bodies_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.screens.aggregate.MAX_BODY_BYTES", 3_000)
    shop = Shop()
    shop.the_events = [event(number, "orders", "Counted", number) for number in range(20)]
    shop.bodies = {one.position: {"n": number, "text": "x" * 1_000} for number, one in enumerate(shop.the_events)}
    async with driven(shop, (120, 30)) as (app, pilot):
        app.open_aggregate("order-1010")
        await until(pilot, lambda: app.screen is app.page("aggregate") and "18 → 19" in shown(app))
        assert [bool(step.note) for step in rows(app, "steps").items] == [True] * 18 + [False] * 2


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
