"""Snapshots of the screens. Look at them when they change (pytest --snapshot-update); other tests check their texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.support.dashboard import until
from tests.support.dashboard_data import TRACE, Shop, cause
from tests.support.dashboard_times import NOW
from tests.tui.test_aggregate_history import story
from tui.app import Dashboard
from tui.text import time_format
from tui.theme import CONTRAST, DARK, LIGHT
from tui.widgets.key_hints import KeyHints

SMALL, LARGE = (80, 24), (140, 45)


@pytest.fixture(autouse=True)
def _fixed_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_format, "now", lambda: NOW)


def over(shop: Shop, theme: str) -> Dashboard:
    app = Dashboard(lambda token: shop)
    app.theme = theme
    app.animation_level = "none"
    return app


async def _calm(pilot: Pilot[None], holds: Callable[[Any], Any]) -> None:
    app: Any = pilot.app
    await until(pilot, lambda: holds(app))
    await until(pilot, lambda: not [worker for worker in app.workers if worker.group != "listen"])
    for hints in app.screen.query(KeyHints):  # the hints follow the rows at the next refresh, which may come later
        hints.refresh()
    await pilot.pause()


PLACES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "live": ("1", lambda app: len(app.screen.query_one("#live").items) == 6 and app.page("live")._status),
    "flows": ("2", lambda app: all(shown.gist for shown in app.screen.query_one("#flows").items)),
    "letters": ("4", lambda app: app.screen.query_one("#causes").items),
    "map": ("5", lambda app: app.screen.query_one("#lanes").items),
    "schemas": ("6", lambda app: len(app.screen.query_one("#schema").items) > 4),
    "status": ("7", lambda app: app.screen.query_one("#entries").items),
}


@pytest.mark.parametrize(("size", "theme"), [(SMALL, LIGHT), (LARGE, DARK)], ids=["small-light", "large-dark"])
@pytest.mark.parametrize("place", PLACES)
def test_a_screen_looks_as_it_did(snap_compare: Any, place: str, size: tuple[int, int], theme: str) -> None:
    shop = Shop()
    shop.the_causes = [
        cause(),
        cause("decode.truncated", "scans", 14, cause="b"),
        cause(number=2, states={}, cause="c"),
    ]
    key, there = PLACES[place]

    async def before(pilot: Pilot[None]) -> None:
        await pilot.press(key)
        await until(pilot, lambda: place == pilot.app.screen.PLACE)  # type: ignore[attr-defined]  # a page has one
        await _calm(pilot, there)

    assert snap_compare(over(shop, theme), terminal_size=size, run_before=before)


@pytest.mark.parametrize(
    ("size", "theme"), [(SMALL, DARK), (LARGE, LIGHT), (LARGE, CONTRAST)], ids=["small-dark", "large-light", "contrast"]
)
def test_a_flow_looks_as_it_did(snap_compare: Any, size: tuple[int, int], theme: str) -> None:
    async def before(pilot: Pilot[None]) -> None:
        app: Any = pilot.app
        await until(pilot, lambda: len(app.screen.query_one("#live").items) == 6)
        app.open_flow(TRACE, at="kafka://shipping/0/3")
        await _calm(pilot, lambda app: any(fact.marked for fact in app.screen.query_one("#facts").items))

    assert snap_compare(over(Shop(), theme), terminal_size=size, run_before=before)


@pytest.mark.parametrize(("size", "theme"), [(SMALL, DARK), (LARGE, LIGHT)], ids=["small-dark", "large-light"])
def test_an_aggregate_looks_as_it_did(snap_compare: Any, size: tuple[int, int], theme: str) -> None:
    async def before(pilot: Pilot[None]) -> None:
        app: Any = pilot.app
        await until(pilot, lambda: len(app.screen.query_one("#live").items) == 3)
        app.open_aggregate("order-1010")
        await _calm(
            pilot, lambda app: {"change.0", "origins"} <= {fact.key for fact in app.screen.query_one("#step").items}
        )

    assert snap_compare(over(story(), theme), terminal_size=size, run_before=before)
