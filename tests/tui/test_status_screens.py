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
    async with driven(Shop(), (80, 24)) as (app, pilot):
        await on(pilot, app, "5", "map")
        lanes = rows(app, "lanes")
        await until(pilot, lambda: len(lanes.items) == 5)
        assert [line.stream for line in lanes.items] == sorted(line.stream for line in lanes.items)
        orders = next(line for line in shown(app).split("\n") if " orders " in line)
        assert orders.split() == ["▸", "orders", "─▶", "orders", "12/s", "─▶", "warehouse", "lag", "12"]
        lanes.select("stream orders")
        await pilot.press("space")
        await until(pilot, lambda: "from orders" in shown(app) and "until appended" in shown(app))
        await until(pilot, lambda: "to   warehouse" in shown(app))
        await pilot.press("j", "enter")
        await until(pilot, lambda: app.screen is app.page("live"))
        assert app.page("live").asked == "stream:orders producer:orders"


async def test_the_map_is_searched_and_shown_from_a_service_or_a_stream_outward() -> None:
    async with driven(Shop()) as (app, pilot):
        await on(pilot, app, "5", "map")
        lanes = rows(app, "lanes")
        await until(pilot, lambda: len(lanes.items) == 5)
        await pilot.press("slash", *"warehouse", "enter")
        await until(pilot, lambda: [line.stream for line in lanes.items] == ["orders", "shipping"])
        assert "⌕ warehouse ✕" in shown(app)
        assert "2 of 5 streams" in shown(app)
        await pilot.press("escape")
        await until(pilot, lambda: len(lanes.items) == 5)
        lanes.select("stream payments")
        await pilot.press("o")
        await until(pilot, lambda: "⌕ stream:payments ✕" in shown(app) and len(lanes.items) == 1)
        await pilot.press("5")
        await until(pilot, lambda: len(lanes.items) == 5 and "⌕" not in shown(app))


async def test_streams_with_the_same_beginning_are_collapsed_to_a_line() -> None:
    shop = Shop()
    names = ["orders", *(f"payments.{name}" for name in ("authorized", "refunds", "settlements"))]
    shop.the_status = service_status(streams=[stream_status(name, rate=2.0) for name in names])
    async with driven(shop) as (app, pilot):
        await on(pilot, app, "5", "map")
        lanes = rows(app, "lanes")
        await until(pilot, lambda: len(lanes.items) == 4)
        await pilot.press("c")
        await until(pilot, lambda: [line.key for line in lanes.items] == ["stream orders", "prefix payments."])
        assert "payments. (3 streams)" in shown(app)
        assert "6.0/s" in shown(app)
        lanes.select("prefix payments.")
        await pilot.press("enter")
        await until(pilot, lambda: len(lanes.items) == 5)
        await pilot.press("c")
        await until(pilot, lambda: len(lanes.items) == 4)


async def test_a_stopped_group_is_one_line_and_leads_to_its_event() -> None:
    shop = Shop()
    stops = [
        models.GroupStopModel(position=f"kafka://shipping/{number}/3", since=None, reason="not acknowledged for 2 min")
        for number in range(3)
    ]
    shop.the_groups[0].stopped, shop.the_groups[0].stuck_at = stops, stops[0].position
    shop.the_status.trouble = [f"warehouse stopped at {stop.position}: {stop.reason}" for stop in stops]
    async with driven(shop, (80, 24)) as (app, pilot):
        await on(pilot, app, "7", "status")
        await until(pilot, lambda: "warehouse has stopped: not acknowledged for 2 min" in shown(app))
        problems = [entry.key for entry in rows(app, "entries").items if entry.kind in ("bad", "warn")]
        assert problems == ["stuck warehouse", "letters"]
        line = next(line for line in shown(app).split("\n") if "has stopped" in line)
        assert line.rstrip().endswith("enter event")
        assert "Enter opens the event that it stopped at, kafka://shipping/0/3" in " ".join(shown(app).split())
        await pilot.press("enter")  # the cursor is on the problem, not on its heading
        await until(pilot, lambda: app.screen is app.page("flow"))
        assert ("kafka://shipping/0/3",) in shop.of("flow")


async def test_lag_is_a_problem_by_its_time_and_the_own_lag_is_named_so() -> None:
    shop = Shop()
    shop.the_groups[0].streams[1].behind_s, shop.the_groups[0].streams[1].lag = 95.0, 4
    shop.the_status = service_status(
        streams=[stream_status("orders", lag=5_000, rate=10.0), stream_status("payments", lag=5_000, rate=5_000.0)]
    )
    async with driven(shop, (120, 36)) as (app, pilot):
        await on(pilot, app, "7", "status")
        await until(pilot, lambda: "warehouse is 2 min behind on orders, 4 records" in shown(app))
        assert "Tracecar's own lag on orders: 5,000 records, about 8 min" in shown(app)
        problems = [entry.key for entry in rows(app, "entries").items if entry.kind in ("bad", "warn")]
        assert problems == ["lag orders", "slow warehouse", "letters"]  # payments is 1 s behind
        assert "own lag" in shown(app)


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
