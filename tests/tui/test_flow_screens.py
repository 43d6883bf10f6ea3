"""The flows screen and the flow screen."""

from __future__ import annotations

import pytest

from tests.support.dashboard import driven, on, rows, shown, until
from tests.support.dashboard_data import (
    TRACE,
    Shop,
    event,
    flow,
)
from tui.dialogs.copy_text import CopyDialog
from tui.widgets.detail_list import DetailList


async def test_a_flow_shows_causes_and_failures() -> None:
    async with driven(Shop(), (160, 45)) as (app, pilot):
        app.open_flow(TRACE)
        await until(pilot, lambda: "schema.mismatch items[1].qty" in shown(app))
        said = shown(app)
        assert "╌" in said  # an inferred link has dashed lines
        assert "PaymentAuthorized ≡1" in said
        assert "6 events in 1.10 s" in said
        tree = rows(app, "tree")
        assert [line.event.type for line in tree.items if not line.why].count("PaymentAuthorized") == 1
        tree.select("kafka://payments/0/2")
        await pilot.press("space")
        await until(pilot, lambda: len([line for line in tree.items if line.event.stream == "payments"]) == 2)


async def test_one_key_leads_to_cause_effect_failure_or_the_aggregates_next_event() -> None:
    async with driven(Shop()) as (app, pilot):
        app.open_flow(TRACE, at="kafka://orders/0/1")
        await until(pilot, lambda: app.screen is app.page("flow") and rows(app, "tree").items)
        tree = rows(app, "tree")
        await pilot.press("n")
        assert tree.chosen_key == "kafka://shipping/0/3"
        await pilot.press("c")
        assert tree.chosen_key == "kafka://payments/0/2"
        await pilot.press("e")
        assert tree.chosen_key == "kafka://shipping/0/3"
        await pilot.press("g", "right_square_bracket")
        await until(pilot, lambda: tree.chosen_key == "kafka://payments/0/2")
        await pilot.press("left_square_bracket")
        await until(pilot, lambda: tree.chosen_key == "kafka://orders/0/1")


async def test_ids_and_bodies_are_copied_unchanged() -> None:
    async with driven(Shop()) as (app, pilot):
        app.open_flow(TRACE, at="kafka://shipping/0/3")
        await until(pilot, lambda: app.screen is app.page("flow") and "◀ ✗ here" in shown(app))
        await pilot.press("y")
        await until(pilot, lambda: isinstance(app.screen, CopyDialog))
        await pilot.press("enter")
        assert '"qty": "two"' in app.clipboard
        await pilot.press("enter", "y")
        await until(pilot, lambda: app.screen is app.page("flow"))


@pytest.mark.parametrize("browser", [True, False])
async def test_the_trace_opens_in_the_configured_tool(monkeypatch: pytest.MonkeyPatch, browser: bool) -> None:
    monkeypatch.setattr("tui.screens.flow.has_browser", lambda: browser)
    async with driven(Shop(), trace_url="http://jaeger/trace/{trace_id}") as (app, pilot):
        opened: list[str] = []
        monkeypatch.setattr(app, "open_url", lambda url, **_: opened.append(url))
        app.open_flow(TRACE)
        await until(pilot, lambda: app.screen is app.page("flow") and rows(app, "tree").items)
        await pilot.press("o")
        address = f"http://jaeger/trace/{TRACE}"
        assert opened == ([address] if browser else [])
        assert app.clipboard == ("" if browser else address)


async def test_keys_fold_and_unfold_the_details() -> None:
    async with driven(Shop()) as (app, pilot):
        app.open_flow(TRACE, at="kafka://shipping/0/3")
        await until(pilot, lambda: app.screen is app.page("flow") and "◀ ✗ here" in shown(app))
        await pilot.press("tab")
        facts = app.screen.query_one("#facts", DetailList)
        assert facts.has_focus
        assert facts.item is not None
        assert facts.item.label == "qty"  # the cursor is on the failing field
        await pilot.press("h")
        assert facts.item.label == "[1]"
        await pilot.press("h", "h")
        assert facts.item.label == "items"
        await pilot.press("space")
        await until(pilot, lambda: "[0] {2}" not in shown(app) and "missing" not in shown(app))
        await pilot.press("enter")
        await until(pilot, lambda: "▸ [1] {2}" in shown(app))
        await pilot.press("escape")
        assert rows(app, "tree").has_focus


async def test_a_missing_flow_says_what_to_do() -> None:
    async with driven(Shop()) as (app, pilot):
        app.open_flow("nothing")
        await until(pilot, lambda: "There is no flow of nothing" in shown(app))
        assert "--scan" in shown(app)


async def test_one_key_sorts_failing_and_slow_flows_first() -> None:
    async with driven(Shop()) as (app, pilot):
        await on(pilot, app, "2", "flows")
        flows = rows(app, "flows")
        await until(pilot, lambda: len(flows.items) == 2)
        assert flows.items[0].flow.status == "ok"
        await pilot.press("f")
        await until(pilot, lambda: flows.items[0].flow.status == "rejected")
        await until(pilot, lambda: "OrderPlaced" in shown(app))
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is app.page("flow") and rows(app, "tree").items)
        assert rows(app, "tree").chosen_key == "kafka://shipping/0/3"  # the rejected event


async def test_redacted_values_stay_redacted() -> None:
    async with driven(Shop()) as (app, pilot):
        app.open_flow(TRACE, at="kafka://shipping/0/3")
        await until(pilot, lambda: 'card: "***"' in shown(app))


async def test_large_flows_and_bodies_are_shown() -> None:
    shop = Shop()
    first = "kafka://orders/0/0"
    events = [event(0, "orders", "OrderPlaced", 0)]
    events += [event(n, "orders", "OrderPlaced", n, parent=f"kafka://orders/0/{n - 1}" if n % 3 else first, depth=1)
               for n in range(1, 500)]  # fmt: skip
    shop.the_flow, shop.the_events = flow(events), list(events)
    shop.the_body = {"rows": [{"number": n, "text": "x" * 60, "more": [n] * 3} for n in range(10_000)]}
    async with driven(shop) as (app, pilot):
        app.open_flow(TRACE)
        await until(pilot, lambda: app.screen is app.page("flow") and len(rows(app, "tree").items) == 500)
        await until(pilot, lambda: "rows [10000]" in shown(app))  # folded, because it is too long to read
        await pilot.press("G")
        assert rows(app, "tree").cursor == 499
