"""The sagas screen and the lint screen."""

from __future__ import annotations

import pytest

from sidecar.api import models
from tests.support.dashboard import driven, on, rows, shown, until
from tests.support.dashboard_data import Shop
from tests.support.dashboard_insights import saga

SIZES = [(80, 24), (120, 36), (200, 60)]


def shop_with_sagas() -> Shop:
    shop = Shop()
    shop.the_sagas = [saga(1, "completed"), saga(2, "running"), saga(3, "stuck")]
    return shop


@pytest.mark.parametrize("size", SIZES)
async def test_one_key_shows_the_stuck_order_the_missing_step_and_its_group(size: tuple[int, int]) -> None:
    async with driven(shop_with_sagas(), size) as (app, pilot):
        await on(pilot, app, "8", "sagas")
        await until(pilot, lambda: "tracecar.shop@kafka" in shown(app))
        screen = shown(app)
        assert rows(app, "sagas").item.aggregate_id == "order-3", "the stuck one is first, under the cursor"
        assert "order-3: stuck" in screen
        assert "dispatch is missing" in screen
        assert "shipping should have produced it" in screen
        assert "1 stuck" in screen


async def test_a_step_leads_to_its_event_and_a_dead_letter_to_itself() -> None:
    shop = shop_with_sagas()
    async with driven(shop) as (app, pilot):
        await on(pilot, app, "8", "sagas")
        await until(pilot, lambda: any(line.letter for line in rows(app, "steps").items))
        await pilot.press("enter")
        rows(app, "steps").select("step 0")
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is app.page("flow"))
        assert ("kafka://orders/0/1",) in shop.of("flow")
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.page("sagas"))
        rows(app, "steps").select("letter tracecar.shop@kafka://shipping/0/3")
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is app.page("letters"))
        assert app.page("letters").asked == '"tracecar.shop@kafka://shipping/0/3"'


async def test_keys_lead_to_the_flow_and_to_the_dead_letters() -> None:
    shop = shop_with_sagas()
    async with driven(shop) as (app, pilot):
        await on(pilot, app, "8", "sagas")
        await until(pilot, lambda: rows(app, "sagas").item is not None)
        await pilot.press("f")
        await until(pilot, lambda: app.screen is app.page("flow"))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.page("sagas"))
        await pilot.press("d")
        await until(pilot, lambda: app.screen is app.page("letters"))
        assert app.page("letters").asked.startswith("trace:")


async def test_a_query_is_shown_and_escape_clears_it_first() -> None:
    async with driven(shop_with_sagas()) as (app, pilot):
        await on(pilot, app, "8", "sagas")
        await until(pilot, lambda: len(rows(app, "sagas").items) == 3)
        app.page("sagas").ask("state:stuck")
        await until(pilot, lambda: len(rows(app, "sagas").items) == 1)
        assert "⌕ state:stuck" in shown(app)
        await pilot.press("escape")
        await until(pilot, lambda: len(rows(app, "sagas").items) == 3)
        assert app.screen is app.page("sagas")


async def test_without_declarations_the_screen_says_how_to_get_some() -> None:
    async with driven(Shop()) as (app, pilot):
        await on(pilot, app, "8", "sagas")
        await until(pilot, lambda: "tracecar sagas learn" in shown(app))


def finding(rule: str, severity: str) -> models.LintFindingModel:
    return models.LintFindingModel(
        rule=rule, severity=severity, subject="OrderPlaced", message=f"all 3 events lack something ({rule})",  # type: ignore[arg-type]
        stream="orders", type="OrderPlaced", evidence=["kafka://orders/0/1"], count=3, first_seen=None, last_seen=None,
    )  # fmt: skip


@pytest.mark.parametrize("size", SIZES)
async def test_a_finding_is_explained_and_leads_to_its_event(size: tuple[int, int]) -> None:
    shop = Shop()
    shop.the_findings = [finding("missing-id", "warning"), finding("missing-time", "warning")]
    async with driven(shop, size) as (app, pilot):
        await on(pilot, app, "9", "lint")
        await until(pilot, lambda: "all 3 events lack something (missing-id)" in shown(app))
        assert "2 warnings" in shown(app)
        assert "1,234 events" in shown(app)
        lines = [line.text for line in rows(app, "explanation").items]
        assert any("Set the header" in line for line in lines)
        assert any("ignore: [missing-id:OrderPlaced]" in line for line in lines)
        await pilot.press("enter", "enter")
        await until(pilot, lambda: app.screen is app.page("flow"))
        assert ("kafka://orders/0/1",) in shop.of("flow")


async def test_the_events_of_a_finding_are_one_key_away() -> None:
    shop = Shop()
    shop.the_findings = [finding("missing-id", "warning")]
    async with driven(shop) as (app, pilot):
        await on(pilot, app, "9", "lint")
        await until(pilot, lambda: rows(app, "findings").item is not None)
        await pilot.press("v")
        await until(pilot, lambda: app.screen is app.page("live"))
        assert app.page("live").asked == "stream:orders type:OrderPlaced"
