"""Journeys of users, with the number of their keys bounded."""

from __future__ import annotations

from textual.pilot import Pilot

from tests.support.dashboard import driven, rows, shown, until
from tests.support.dashboard_data import Shop, event, letter
from tui.app import Dashboard
from tui.dialogs.copy_text import CopyDialog
from tui.dialogs.edit import EditDialog
from tui.dialogs.replay import ReplayDialog
from tui.dialogs.replay_progress import ReplayProgressDialog
from tui.widgets.query_bar import QueryBar

MAX_REPAIR_KEYS = 11


class KeyCounter:
    """Presses keys and counts them."""

    def __init__(self, pilot: Pilot[None]) -> None:
        self._pilot = pilot
        self.number = 0

    async def press(self, *keys: str) -> None:
        self.number += len(keys)
        await self._pilot.press(*keys)


async def test_find_repair_replay_and_see_it_pass_takes_at_most_eleven_keys() -> None:
    shop = Shop()
    shop.the_letters = [letter(3)]
    async with driven(shop, (120, 36)) as (app, pilot):
        await until(pilot, lambda: rows(app, "live").items)
        keys = KeyCounter(pilot)
        await keys.press("4")
        await until(pilot, lambda: app.screen is app.page("letters") and rows(app, "causes").items)
        await keys.press("enter")
        await until(pilot, lambda: rows(app, "list").items and "◀ ✗ here" in shown(app))
        await keys.press("e")
        await until(pilot, lambda: isinstance(app.screen, EditDialog))
        dialog = app.screen
        assert isinstance(dialog, EditDialog)
        await keys.press("2")  # the failing value is selected
        await until(pilot, lambda: dialog.verdict == "passes")
        await keys.press("ctrl+s")
        await until(pilot, lambda: isinstance(app.screen, ReplayDialog) and "Replay 1 letter (y)" in shown(app))
        shop.the_events.append(
            event(9, "shipping", "shop.ParcelDispatched", 31_000, status="replayed", replay_of=letter(3).id)
        )
        await keys.press("y")
        await until(pilot, lambda: isinstance(app.screen, ReplayProgressDialog) and "accepted" in shown(app))
        await keys.press("enter")
        await until(pilot, lambda: app.screen is app.page("flow"))
        assert keys.number <= MAX_REPAIR_KEYS


async def test_from_a_stopped_group_to_its_event_takes_two_keys() -> None:
    from sidecar.api import models

    shop = Shop()
    stop = models.GroupStopModel(position="kafka://shipping/0/3", since=None, reason="not acknowledged for 2 min")
    shop.the_groups[0].stopped, shop.the_groups[0].stuck_at = [stop], stop.position
    async with driven(shop, (80, 24)) as (app, pilot):
        keys = KeyCounter(pilot)
        await keys.press("7")
        await until(pilot, lambda: app.screen is app.page("status") and "has stopped" in shown(app))
        await keys.press("enter")
        await until(pilot, lambda: app.screen is app.page("flow") and "◀ ✗ here" in shown(app))
        assert keys.number == 2


async def test_a_query_that_matches_nothing_offers_the_one_that_was_meant() -> None:
    class Helpful(Shop):
        async def events(self, query: str = "", **more: object):  # type: ignore[no-untyped-def]
            page = await super().events(query, **more)  # type: ignore[arg-type]
            if query == "status=rejected":
                page.items, page.did_you_mean = [], "status:rejected"
            return page

    shop = Helpful()
    async with driven(shop, (100, 30)) as (app, pilot):
        await until(pilot, lambda: rows(app, "live").items)
        await pilot.press("slash", *"status", "equals_sign", *"rejected", "enter")
        await until(pilot, lambda: "did you mean  status:rejected" in shown(app))
        bar = app.screen.query_one(QueryBar)
        assert bar.is_open
        await pilot.press("tab", "enter")
        await until(pilot, lambda: app.page("live").asked == "status:rejected")
        await pilot.press("slash", *"status", "equals_sign", *"rejected", "enter")
        await until(pilot, lambda: "did you mean" in shown(app))
        await pilot.press("enter")  # the typed one, all the same
        await until(pilot, lambda: app.page("live").asked == "status=rejected")


async def test_what_is_shown_is_copied_as_a_command_and_as_a_link() -> None:
    copied: list[str] = []
    async with driven(Shop(), (100, 30)) as (app, pilot):
        app.copy_to_clipboard = copied.append  # type: ignore[method-assign]
        await until(pilot, lambda: rows(app, "live").items)
        app.page("live").ask("type:Order* since:1h")
        await _copy(app, pilot, "command", copied)
        await _copy(app, pilot, "link", copied)
        app.open_flow("order-1010")
        await until(pilot, lambda: app.screen is app.page("flow") and rows(app, "tree").items)
        await _copy(app, pilot, "command", copied)
    assert copied == [
        "tracecar events 'type:Order* since:1h'",
        "http://127.0.0.1:1/#/events/type%3AOrder%2A%20since%3A1h",
        "tracecar flow order-1010",
    ]


async def _copy(app: Dashboard, pilot: Pilot[None], label: str, copied: list[str]) -> None:
    before = len(copied)
    await pilot.press("Y")
    await until(pilot, lambda: isinstance(app.screen, CopyDialog) and rows(app, "choices").items)
    rows(app, "choices").select(label)
    await pilot.press("enter")
    await until(pilot, lambda: len(copied) > before)
