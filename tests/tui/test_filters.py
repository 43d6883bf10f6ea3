"""A filter is always visible, always removable, and never outlives what the user was doing."""

from __future__ import annotations

import msgspec
import pytest

from tests.support.dashboard import driven, on, rows, shown, until
from tests.support.dashboard_data import Shop, cause
from tui.query_completion import toggle_term
from tui.screens.base_screen import BaseScreen
from tui.widgets.query_bar import QueryBar
from tui.widgets.summary_line import SummaryLine


async def _ask(pilot: object, app: object, query: str) -> None:
    page = app.screen  # type: ignore[attr-defined]
    assert isinstance(page, BaseScreen)
    page.ask(query)
    await until(pilot, lambda: page.asked == query)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "place"), [("1", "live"), ("2", "flows"), ("4", "letters"), ("8", "sagas"), ("9", "lint")]
)
async def test_a_number_key_shows_its_screen_whole(key: str, place: str) -> None:
    """Also from another screen, and also where the screen is shown already; Escape restores what was there."""
    async with driven(Shop(), (80, 24)) as (app, pilot):
        await on(pilot, app, "7", "status")
        await on(pilot, app, key, place)
        await _ask(pilot, app, "stream:orders")
        await until(pilot, lambda: "⌕ stream:orders ✕" in shown(app))
        await on(pilot, app, "7", "status")
        await on(pilot, app, key, place)
        page = app.page(place)
        await until(pilot, lambda: page.asked == "" and "⌕" not in shown(app))
        await pilot.press("escape", "escape")
        await until(pilot, lambda: app.screen is page and "⌕ stream:orders ✕" in shown(app))  # as it was left
        await pilot.press(key)
        await until(pilot, lambda: page.asked == "" and "⌕" not in shown(app))


async def test_escape_clears_the_filter_then_goes_up_then_back() -> None:
    async with driven(Shop()) as (app, pilot):
        await on(pilot, app, "7", "status")
        await on(pilot, app, "4", "letters")
        await _ask(pilot, app, "stream:shipping")
        await until(pilot, lambda: rows(app, "causes").items)
        await pilot.press("enter")
        await until(pilot, lambda: len(rows(app, "list").items) == 3)
        page = app.page("letters")
        for hint, is_after in (
            ("Clear filter", lambda: page.asked == "" and rows(app, "list").has_focus),
            ("Causes", lambda: rows(app, "causes").has_focus),
            ("Back", lambda: app.screen is app.page("status")),
        ):
            await until(pilot, lambda hint=hint: f"esc {hint}" in shown(app), hint)
            await pilot.press("escape")
            await until(pilot, is_after, hint)


async def test_the_chip_is_visible_in_any_width_and_removed_with_the_mouse() -> None:
    shop = Shop()
    async with driven(shop, (80, 24)) as (app, pilot):
        await until(pilot, lambda: len(rows(app, "live").items) == 6)
        await _ask(pilot, app, "stream:orders type:OrderPlaced producer:orders since:15m -status:ok aggregate:order-1")
        await until(pilot, lambda: "✕" in shown(app).split("\n")[1])
        line = shown(app).split("\n")[1]
        await pilot.click(SummaryLine, offset=(line.index("⌕"), 0))
        await until(pilot, lambda: app.screen.query_one(QueryBar).is_open)
        await pilot.press("escape")
        await pilot.click(SummaryLine, offset=(line.index("✕"), 0))
        await until(pilot, lambda: app.page("live").asked == "" and "✕" not in shown(app))


async def test_the_filter_stays_visible_while_the_sidecar_does_not_answer() -> None:
    from sidecar.api.client.client import Unreachable

    shop = Shop()
    async with driven(shop, (80, 24)) as (app, pilot):
        await on(pilot, app, "2", "flows")
        await _ask(pilot, app, "stream:orders")
        shop.failing = Unreachable("the connection was refused")
        await until(pilot, lambda: "Disconnected" in shown(app))
        assert "⌕ stream:orders ✕" in shown(app)


async def test_counts_say_of_what_they_count() -> None:
    shop = Shop()
    shop.the_causes = [cause(number=3_000)]
    shop.the_events = [
        msgspec.structs.replace(shop.the_events[0], position=f"kafka://orders/0/{number}") for number in range(1_200)
    ]
    async with driven(shop, (140, 30)) as (app, pilot):
        await until(pilot, lambda: "✗ 7 rejected of 6,020 since " in shown(app))
        await on(pilot, app, "5", "map")
        shop.sampled = 50_000
        await until(pilot, lambda: "of the newest 1,000 of 50,000 events" in shown(app))
        shop.the_letters = [msgspec.structs.replace(shop.the_letters[0], id=str(number)) for number in range(600)]
        await on(pilot, app, "4", "letters")
        await until(pilot, lambda: "1 cause of 3,000 letters" in shown(app))
        await pilot.press("enter")
        await until(pilot, lambda: "newest 500 of 3,000 letters" in shown(app))


@pytest.mark.parametrize(
    ("query", "toggled"),
    [
        ("", "state:open"),
        ("stream:a", "stream:a state:open"),
        ("stream:a OR stream:b", "(stream:a OR stream:b) state:open"),
        ("(stream:a) OR (stream:b)", "((stream:a) OR (stream:b)) state:open"),
    ],
)
def test_a_key_that_filters_keeps_the_query_that_was_typed(query: str, toggled: str) -> None:
    assert toggle_term(query, "state:open") == toggled
    assert toggle_term(toggled, "state:open") == query


def test_a_term_is_removed_only_where_it_is_the_whole_word() -> None:
    assert toggle_term("my-state:open", "state:open") == "my-state:open state:open"
