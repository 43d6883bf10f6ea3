"""The live screen: following, freezing, the query bar."""

from __future__ import annotations

import msgspec
import pytest

from tests.support.dashboard import driven, on, rows, shown, until
from tests.support.dashboard_data import (
    Shop,
    event,
)
from tui.screens.live import LiveScreen
from tui.widgets.query_bar import QueryBar


async def test_new_events_are_followed_until_the_cursor_leaves_the_end() -> None:
    shop = Shop()
    async with driven(shop) as (app, pilot):
        await until(pilot, lambda: len(rows(app, "live").items) == 6)
        live = rows(app, "live")
        assert live.cursor == 5
        shop.coming.put_nowait(event(20, "orders", "OrderPlaced", 3_000))
        await until(pilot, lambda: live.cursor == 6)
        await pilot.press("k", "k")
        held = live.chosen_key
        shop.coming.put_nowait(event(21, "orders", "OrderPlaced", 3_100))
        await until(pilot, lambda: len(live.items) == 8)
        assert (live.cursor, live.chosen_key) == (4, held)
        await pilot.press("G")
        await until(pilot, lambda: live.cursor == 7 and live.follow)


async def test_a_moved_cursor_keeps_its_row_when_events_arrive_at_the_same_moment() -> None:
    shop = Shop()
    async with driven(shop) as (app, pilot):
        await until(pilot, lambda: len(rows(app, "live").items) == 6)
        live = rows(app, "live")
        live.action_move(-1)
        stood = live.chosen_key
        live.show([*live.items, *live.items])  # before anything else happens
        assert (live.cursor, live.chosen_key) == (4, stood)
        await until(pilot, lambda: "stopped" in shown(app))


async def test_older_events_are_shown_from_their_end() -> None:
    shop = Shop()
    shop.the_events = [event(number, "orders", "OrderPlaced", 1_000) for number in range(200)]
    async with driven(shop, (80, 24)) as (app, pilot):
        await until(pilot, lambda: len(rows(app, "live").items) == 200)
        live = rows(app, "live")
        await until(pilot, lambda: live.visible_items[-1] is live.items[-1])


async def test_a_frozen_list_does_not_move_and_loses_no_event() -> None:
    shop = Shop()
    async with driven(shop) as (app, pilot):
        live = rows(app, "live")
        await until(pilot, lambda: len(live.items) == 6)
        await pilot.press("space")
        for number in range(30, 33):
            shop.coming.put_nowait(event(number, "orders", "OrderPlaced", 3_000))
        page = app.page("live")
        assert isinstance(page, LiveScreen)
        await until(pilot, lambda: page.feed.waiting == 3)
        assert len(live.items) == 6
        await until(pilot, lambda: "paused, 3 arrived since" in shown(app))
        await pilot.press("space")
        await until(pilot, lambda: len(live.items) == 9)


async def test_memory_is_bounded_for_any_number_of_events() -> None:
    shop = Shop()
    async with driven(shop) as (app, pilot):
        page = app.page("live")
        assert isinstance(page, LiveScreen)
        one = event(1, "orders", "OrderPlaced", 3_000)
        for number in range(5_000):
            shop.coming.put_nowait(msgspec.structs.replace(one, position=f"kafka://orders/0/{number + 100}"))
        await until(pilot, lambda: page.feed.arrived == 5_000)
        newest = "kafka://orders/0/5099"
        await until(
            pilot, lambda: rows(app, "live").items[-1:] and rows(app, "live").items[-1].event.position == newest
        )
        assert len(rows(app, "live").items) == 2_000
        assert len(page.feed._positions) == 2_000


async def test_keys_work_during_a_flood_of_events() -> None:
    shop = Shop()
    async with driven(shop) as (app, pilot):
        live = rows(app, "live")
        await until(pilot, lambda: len(live.items) == 6)
        one = event(1, "orders", "OrderPlaced", 3_000)
        for number in range(20_000):
            shop.coming.put_nowait(msgspec.structs.replace(one, position=f"kafka://orders/0/{number + 100}"))
        await pilot.press("2")
        await until(pilot, lambda: app.screen is app.page("flows"))


async def test_a_query_is_completed_run_and_remembered() -> None:
    shop = Shop()
    async with driven(shop) as (app, pilot):
        await until(pilot, lambda: len(rows(app, "live").items) == 6)
        await pilot.press("slash", *"sta", "tab", *"rej", "tab", "enter")
        await until(pilot, lambda: shop.asked[-1] != ("live", "") and ("status:rejected",) in shop.of("live"))
        await until(pilot, lambda: [seen.event.status for seen in rows(app, "live").items] == ["rejected"])
        assert "status:rejected" in shown(app)
        assert rows(app, "live").has_focus
        await pilot.press("slash", *["backspace"] * 40, "up")
        assert app.screen.query_one(QueryBar).line.value == "status:rejected"
        await pilot.press("escape")
        assert not app.screen.query_one(QueryBar).is_open
        await pilot.press("slash", *"type", "colon", "x", "enter")  # typing replaces the query
        await until(pilot, lambda: ("type:x",) in shop.of("live"))
        await pilot.press("slash", "end", "y", "enter")  # after an arrow key, typing extends it
        await until(pilot, lambda: ("type:xy",) in shop.of("live"))


@pytest.mark.parametrize(("key", "place"), [("3", "flow"), ("6", "schemas"), ("7", "status")])
async def test_a_query_from_any_screen_shows_live_events_and_escape_returns(key: str, place: str) -> None:
    shop = Shop()
    async with driven(shop) as (app, pilot):
        await on(pilot, app, key, place)
        await pilot.press("slash")
        await until(pilot, lambda: app.screen is app.page("live") and app.screen.query_one(QueryBar).is_open)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.page(place))
        await pilot.press("slash", *"type", "colon", "x", "enter")
        await until(pilot, lambda: app.screen is app.page("live") and ("type:x",) in shop.of("live"))
        await pilot.press("escape", "escape")  # the first one clears the query
        await until(pilot, lambda: app.screen is app.page(place))


async def test_values_of_received_events_are_completed() -> None:
    async with driven(Shop()) as (app, pilot):
        await until(pilot, lambda: len(rows(app, "live").items) == 6)
        await pilot.press("slash", *"type", "colon", *"Order", "tab")
        assert app.screen.query_one(QueryBar).line.value == "type:OrderPlaced "


async def test_an_invalid_query_stays_open_with_the_error_and_its_place() -> None:
    async with driven(Shop()) as (app, pilot):
        await until(pilot, lambda: len(rows(app, "live").items) == 6)
        await pilot.press("slash", *"type", "colon", "left_parenthesis", "enter")
        bar = app.screen.query_one(QueryBar)
        await until(pilot, lambda: bar.error)
        assert bar.is_open
        assert bar.error == "     ▲ expected a value, found an open bracket"
        await pilot.press("backspace")
        assert bar.error == ""


async def test_enter_on_an_event_shows_its_flow_with_the_cursor_on_it() -> None:
    async with driven(Shop()) as (app, pilot):
        live = rows(app, "live")
        await until(pilot, lambda: len(live.items) == 6)
        live.select(next(str(seen.number) for seen in live.items if seen.event.position == "kafka://shipping/0/3"))
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is app.page("flow"))
        tree = rows(app, "tree")
        await until(pilot, lambda: tree.chosen_key == "kafka://shipping/0/3")
        await until(pilot, lambda: "◀ ✗ here" in shown(app))
        here = live.chosen_key
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.page("live"))
        assert live.chosen_key == here


async def test_back_from_a_flow_the_cursor_is_on_its_event_though_more_arrived() -> None:
    shop = Shop()
    async with driven(shop) as (app, pilot):
        live = rows(app, "live")
        await until(pilot, lambda: len(live.items) == 6)
        looked_at = live.chosen_key
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is app.page("flow"))
        shop.coming.put_nowait(event(40, "orders", "OrderPlaced", 3_000))
        page = app.page("live")
        assert isinstance(page, LiveScreen)
        await until(pilot, lambda: page.feed.arrived == 1)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is page and len(live.items) == 7)
        assert live.chosen_key == looked_at
        assert "stopped" in shown(app)
