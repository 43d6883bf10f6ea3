"""The dashboard as a whole: moving between screens, help, palette, themes, mouse, connection and token."""

from __future__ import annotations

import gc

import pytest
from textual._styles_cache import StylesCache
from textual.widgets import Input

from sidecar.api.client.client import LiveRetry, ServerFailed, Unauthorized, Unreachable
from tests.support.dashboard import driven, on, rows, shown, until
from tests.support.dashboard_data import (
    TRACE,
    Shop,
    service_status,
)
from tui.dialogs.help import HelpDialog
from tui.dialogs.token import TokenDialog
from tui.theme import THEMES
from tui.widgets.header import NARROW_CELLS, PLACES, SHORT_NAMES


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
async def test_each_number_key_shows_its_screen_and_escape_goes_back(size: tuple[int, int]) -> None:
    async with driven(Shop(), size) as (app, pilot):
        for number, (place, name) in enumerate(PLACES[1:], 2):
            await on(pilot, app, str(number), place)
            assert (SHORT_NAMES.get(place, name) if size[0] < NARROW_CELLS else name) in shown(app)
        for place, _ in PLACES[-2::-1]:
            await pilot.press("escape")
            await until(pilot, lambda place=place: app.screen is app.page(place), place)


async def test_every_screen_works_in_a_tiny_terminal() -> None:
    async with driven(Shop(), (24, 8)) as (app, pilot):
        for number, (place, _) in enumerate(PLACES, 1):
            await on(pilot, app, str(number), place)
            await pilot.press("j", "tab")
            assert len(shown(app).split("\n")) == 8
        app.open_flow(TRACE)
        await until(pilot, lambda: app.screen is app.page("flow") and rows(app, "tree").items)
        assert app.is_running


async def test_a_closed_dialog_frees_its_memory() -> None:
    async with driven(Shop()) as (app, pilot):

        async def painted() -> int:
            """Open and close a dialog. Returns the number of cached widgets."""
            await pilot.press("question_mark")
            await until(pilot, lambda: isinstance(app.screen, HelpDialog))
            await pilot.press("escape")
            await until(pilot, lambda: app.screen is app.page("live"))
            gc.collect()
            return sum(type(one) is StylesCache for one in gc.get_objects())

        first = [await painted() for _ in range(3)][-1]
        assert [await painted() for _ in range(5)][-1] <= first + 3


async def test_an_outage_behind_the_sidecar_is_not_a_lost_connection() -> None:
    shop = Shop()
    async with driven(shop, (120, 30)) as (app, pilot):
        await on(pilot, app, "6", "schemas")
        await until(pilot, lambda: rows(app, "subjects").items)
        shop.failing = ServerFailed("the schema registry at http://127.0.0.1:8081 does not answer")
        await until(pilot, lambda: "could not answer" in shown(app).split("\n")[1])
        assert "the schema registry at http://127.0.0.1:8081 does not answer" in shown(app)
        assert "isconnected" not in shown(app)
        assert app.link.state == "connected"
        shop.failing = None
        await until(pilot, lambda: "could not answer" not in shown(app).split("\n")[1])


async def test_a_lost_connection_is_shown_and_recovers_by_itself() -> None:
    shop = Shop()
    async with driven(shop) as (app, pilot):
        await until(pilot, lambda: app.link.state == "connected")
        await on(pilot, app, "7", "status")
        await until(pilot, lambda: rows(app, "entries").items)
        shop.failing = Unreachable("the connection was refused")
        shop.coming.put_nowait(LiveRetry("the connection was refused", 0.2))
        await until(pilot, lambda: "✗ disconnected" in shown(app).split("\n")[0])
        assert rows(app, "entries").items  # known data stays on the screen
        shop.failing = None
        await until(pilot, lambda: app.link.state == "connected")
        assert "● shop" in shown(app).split("\n")[0]


@pytest.mark.parametrize(("key", "place"), [("2", "flows"), ("3", "flow"), ("4", "letters"), ("6", "schemas")])
async def test_a_missing_answer_is_not_shown_as_an_empty_list(key: str, place: str) -> None:
    shop = Shop()
    shop.failing = Unreachable("http://127.0.0.1:9 cannot be reached: refused")
    async with driven(shop, (100, 24)) as (app, pilot):
        await on(pilot, app, key, place)
        await until(pilot, lambda: "Disconnected, retrying" in shown(app) and "does not answer" in shown(app))
        for words in ("No flows", "No dead letters", "No schemas", "0 subjects"):
            assert words not in shown(app)
        shop.failing = None
        await until(pilot, lambda: "Disconnected" not in shown(app) and "does not answer" not in shown(app))


async def test_a_refused_token_opens_the_token_dialog() -> None:
    shop = Shop()
    shop.failing = Unauthorized("the token is unknown")
    async with driven(shop) as (app, pilot):
        await until(pilot, lambda: isinstance(app.screen, TokenDialog))
        assert "the token is unknown" in shown(app)
        shop.failing = None
        app.screen.query_one(Input).value = "another"
        await pilot.press("enter")
        await until(pilot, lambda: app.link.state == "connected" and rows(app, "live").items)


async def test_without_a_token_the_dashboard_ends() -> None:
    async with driven(Shop(), ask_token=True) as (app, pilot):
        await until(pilot, lambda: isinstance(app.screen, TokenDialog))
        await pilot.press("escape")
        await until(pilot, lambda: app._exit)


async def test_failed_requests_do_not_end_the_dashboard() -> None:
    shop = Shop()
    async with driven(shop) as (app, pilot):
        shop.failing = ServerFailed("the index is gone")
        for number in "2345671":
            await pilot.press(number)
            await pilot.pause()
        assert app.is_running


async def test_help_describes_the_current_screen() -> None:
    async with driven(Shop(), (80, 24)) as (app, pilot):
        await on(pilot, app, "4", "letters")
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(app.screen, HelpDialog))
        assert "Why events failed" in shown(app)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.page("letters"))


async def test_help_scrolls_with_the_keys_of_lists() -> None:
    async with driven(Shop(), (80, 24)) as (app, pilot):
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(app.screen, HelpDialog) and "Open flow" not in shown(app))
        assert "cancelled" not in shown(app)
        await pilot.press("G")
        await until(pilot, lambda: "cancelled" in shown(app))
        await pilot.press("g")
        await until(pilot, lambda: "Events as they arrive" in shown(app))


async def test_the_command_palette_finds_screens_and_actions_by_name() -> None:
    async with driven(Shop()) as (app, pilot):
        names = [command.title for command in app.get_system_commands(app.screen)]
        assert {"Go to Dead letters", "Theme: light", "Pause", "Query", "Quit"} <= set(names)
        await pilot.press("ctrl+p", *"map", "enter")
        await until(pilot, lambda: app.screen is app.page("map"), "the map")


async def test_a_key_changes_the_theme_and_every_screen_draws_in_each() -> None:
    async with driven(Shop()) as (app, pilot):
        for theme in THEMES:
            app.theme = theme.name
            for number, (place, _) in enumerate(PLACES, 1):
                await on(pilot, app, str(number), place)
        before = app.theme
        await pilot.press("ctrl+t")
        assert app.theme != before


async def test_the_mouse_selects_and_opens_rows() -> None:
    async with driven(Shop()) as (app, pilot):
        live = rows(app, "live")
        await until(pilot, lambda: len(live.items) == 6)
        await pilot.click("#live", offset=(5, 3))
        assert live.cursor == 2
        await pilot.click("#live", offset=(5, 3))
        await until(pilot, lambda: app.screen is app.page("flow"))
        await pilot.click("TopBar", offset=(19, 0))
        await until(pilot, lambda: app.screen is not app.page("flow"))


async def test_empty_screens_say_what_to_do() -> None:
    shop = Shop()
    shop.the_events, shop.the_letters, shop.the_causes, shop.the_groups = [], [], [], []
    shop.the_status = service_status(streams=[])
    async with driven(shop) as (app, pilot):
        for number, words in {
            "1": "No events yet", "3": "No flow is open", "4": "No dead letters", "5": "Nothing to show yet",
            "7": "None of the configured streams",
        }.items():  # fmt: skip
            await pilot.press(number)
            await until(pilot, lambda words=words: words in shown(app), words)
