"""The line of key hints names the next step from every place."""

from __future__ import annotations

from functools import partial

import pytest

from tests.support.dashboard import driven, on, rows, shown, until
from tests.support.dashboard_data import Shop


def bottom(app: object) -> str:
    return shown(app).split("\n")[-1]


def says(app: object, words: str) -> bool:
    return words in bottom(app)


@pytest.mark.parametrize("width", [80, 200])
async def test_each_screen_names_what_enter_does_and_the_key_of_help(width: int) -> None:
    async with driven(Shop(), (width, 24)) as (app, pilot):
        for key, place, words in (
            ("1", "live", "enter Open flow"),
            ("2", "flows", "enter Open flow"),
            ("4", "letters", "enter Show letters"),
            ("5", "map", "enter Show events"),
            ("6", "schemas", "enter Show versions"),
        ):
            await on(pilot, app, key, place)
            await until(pilot, partial(says, app, words), words)
            assert bottom(app).rstrip().endswith("? Help")
            assert len(bottom(app)) == width


async def test_dead_letters_show_the_keys_of_the_current_level() -> None:
    async with driven(Shop(), (80, 24)) as (app, pilot):
        await on(pilot, app, "4", "letters")
        await until(pilot, lambda: "r Replay" in bottom(app))
        assert "e Edit" not in bottom(app)
        assert "Mark" not in bottom(app)
        await pilot.press("enter")
        await until(pilot, lambda: "enter Open letter  e Edit  r Replay  space Mark" in bottom(app))
        await pilot.press("enter")
        await until(pilot, lambda: "e Edit  r Replay" in bottom(app) and "Mark" not in bottom(app))
        await until(pilot, lambda: "esc Letters" in bottom(app))


async def test_a_click_on_a_key_presses_it() -> None:
    async with driven(Shop(), (120, 30)) as (app, pilot):
        await until(pilot, lambda: rows(app, "live").items and "enter Open flow  space Pause" in bottom(app))
        await pilot.click("KeyHints", offset=(bottom(app).index("Pause"), 0))
        await until(pilot, lambda: "paused" in shown(app))


async def test_while_a_query_is_typed_the_hints_are_those_of_the_input() -> None:
    async with driven(Shop(), (80, 24)) as (app, pilot):
        await until(pilot, lambda: rows(app, "live").items)
        await pilot.press("slash")
        await until(pilot, lambda: "enter Run  tab Complete" in bottom(app) and "esc Cancel" in bottom(app))
