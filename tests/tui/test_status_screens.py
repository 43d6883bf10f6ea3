"""The map, the schemas screen and the status screen."""

from __future__ import annotations

from sidecar.api import models
from tests.support.dashboard import driven, on, rows, shown, until
from tests.support.dashboard_data import (
    Shop,
    service_status,
    stream_status,
)
from tui.dialogs.confirm import ConfirmDialog


async def test_the_map_shows_producers_and_groups_and_leads_to_their_events() -> None:
    async with driven(Shop()) as (app, pilot):
        await on(pilot, app, "5", "map")
        await until(pilot, lambda: "lag 12" in shown(app))
        lanes = rows(app, "lanes")
        lane = next(lane for lane in lanes.items if lane.group and lane.stream == "shipping")
        assert lane.group.group == "warehouse"
        lanes.select(next(lane.key for lane in lanes.items if lane.producer and lane.stream == "orders"))
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is app.page("live"))
        assert app.page("live").asked == "stream:orders producer:orders"


async def test_a_small_map_shows_latency_and_its_cursor_skips_empty_lines() -> None:
    async with driven(Shop(), (80, 24)) as (app, pilot):
        await on(pilot, app, "5", "map")
        await until(pilot, lambda: "lag 12" in shown(app))
        assert "2 ms 12/s" in shown(app)
        lanes = rows(app, "lanes")
        for _ in range(len(lanes.items)):
            lane = lanes.item
            assert lane.producer or lane.group or lane.row == (lane.rows - 1) // 2
            await pilot.press("j")
        assert lanes.item.stream == lanes.items[-1].stream


async def test_a_stopped_group_comes_first_and_leads_to_its_event() -> None:
    shop = Shop()
    stop = models.GroupStopModel(position="kafka://shipping/0/3", since=None, reason="it does not move")
    shop.the_groups[0].stopped, shop.the_groups[0].stuck_at = [stop], stop.position
    async with driven(shop) as (app, pilot):
        await on(pilot, app, "7", "status")
        await until(pilot, lambda: "The group warehouse has stopped" in shown(app))
        await pilot.press("enter")  # the cursor is on the problem, not on its heading
        await until(pilot, lambda: app.screen is app.page("flow"))
        assert ("kafka://shipping/0/3",) in shop.of("flow")


async def test_open_dead_letters_are_a_problem_that_leads_to_them() -> None:
    shop = Shop()
    async with driven(shop, (80, 24)) as (app, pilot):
        await on(pilot, app, "7", "status")
        await until(pilot, lambda: "open, from one cause" in shown(app) and "schema.mismatch on shipping" in shown(app))
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is app.page("letters"))


async def test_the_cursor_skips_headings_and_every_line_can_be_seen() -> None:
    shop = Shop()
    async with driven(shop, (80, 24)) as (app, pilot):
        await on(pilot, app, "7", "status")
        entries = rows(app, "entries")
        await until(pilot, lambda: "open, from one cause" in shown(app))
        kinds = set()
        for _ in range(30):
            kinds.add(entries.item.kind)
            await pilot.press("j")
        assert not {"head", "names", "do"} & kinds
        await until(pilot, lambda: "version 0.1.0" in shown(app))
        await pilot.press("g")
        await until(pilot, lambda: "Problems" in shown(app))


async def test_the_sidecars_of_a_group_are_listed_with_their_state() -> None:
    shop = Shop()
    shop.the_status.members = [
        models.MemberModel(
            member=name, here=name == "a", alive=name != "b", last_heartbeat="2026-05-03T10:00:00.000Z",
            host=f"host-{name}", service="shop", version="1.2.3", groups=[], started_at=None, lag=0, rate=2.0,
            waiting=0, not_indexed=0,
            streams=[models.MemberShareModel(stream="orders", partitions=[0, 2], lag=0, rate=2.0, rejected=0)],
        )
        for name in "ab"
    ]  # fmt: skip
    async with driven(shop, (140, 60)) as (app, pilot):
        await on(pilot, app, "7", "status")
        await until(pilot, lambda: "this one; version 1.2.3; partitions of orders 2" in shown(app))
        assert "✗ silent, last heartbeat at 10:00:00" in shown(app)


async def test_a_held_stream_is_resumed_after_a_confirmation() -> None:
    shop = Shop()
    held = models.HoldModel(since=None, reason="too much is rejected")
    shop.the_status = service_status(streams=[stream_status("orders", held=held)])
    async with driven(shop) as (app, pilot):
        await on(pilot, app, "7", "status")
        await until(pilot, lambda: "orders is held: too much is rejected" in shown(app))
        await until(pilot, lambda: "holds 1 stream" in shown(app).split("\n")[0])
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("y")
        await until(pilot, lambda: shop.of("resume") == [("orders",)])


async def test_schemas_show_the_versions_in_use() -> None:
    async with driven(Shop(), (140, 40)) as (app, pilot):
        await on(pilot, app, "6", "schemas")
        await until(pilot, lambda: "usage" in shown(app) and "weightGrams" in shown(app))
        assert "▲" in shown(app)  # orders-value: v2 is registered, v1 is in use
        await until(pilot, lambda: "changes from version 1 to version 2" in shown(app))
        said = shown(app)
        assert said.index("changes from version 1") < said.index("+ ") < said.index("version 2, compared with")
        await pilot.press("v")
        await until(pilot, lambda: app.page("live").asked == "schema:orders-value")
