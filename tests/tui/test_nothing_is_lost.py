"""Nothing that was typed is lost in silence, and Space resumes where it paused."""

from __future__ import annotations

import pytest
from textual import events
from textual.widgets import TextArea

from tests.support.dashboard import driven, on, rows, shown, until
from tests.support.dashboard_data import Shop, event
from tui.dialogs.confirm import ConfirmDialog
from tui.dialogs.edit import MAX_BODY_CHARS, EditDialog
from tui.screens.live import LiveScreen
from tui.widgets.checked_input import describe_refused_paste
from tui.widgets.query_bar import MAX_QUERY_CHARS, QueryBar


async def test_leaving_an_editor_with_changes_asks() -> None:
    async with driven(Shop(), (100, 30)) as (app, pilot):
        app.open_letters("state:open")
        await until(pilot, lambda: app.screen is app.page("letters") and "◀ ✗ here" in shown(app))
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, EditDialog))
        await pilot.press("escape")  # nothing was changed
        await until(pilot, lambda: app.screen is app.page("letters"))
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, EditDialog))
        await pilot.press("2", "escape")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog) and "Your changes are lost" in shown(app))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, EditDialog))
        assert ": 2" in app.screen.query_one(TextArea).text
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("y")
        await until(pilot, lambda: app.screen is app.page("letters"))


@pytest.mark.parametrize(
    ("text", "words"),
    [("x" * (MAX_QUERY_CHARS + 1), "at most 2,000 fit here"), ("type:a\ntype:b", "has 2 lines")],
)
async def test_a_paste_that_does_not_fit_says_so(text: str, words: str) -> None:
    async with driven(Shop(), (100, 30)) as (app, pilot):
        await until(pilot, lambda: rows(app, "live").items)
        await pilot.press("slash", "a")
        line = app.screen.query_one(QueryBar).line
        line.post_message(events.Paste(text))
        await until(pilot, lambda: any(words in toast.message for toast in app._notifications))
        assert line.value == "a"
        line.post_message(events.Paste("bc"))
        await until(pilot, lambda: line.value == "abc")


def test_a_refused_paste_names_what_fits() -> None:
    assert describe_refused_paste("a" * 10, MAX_BODY_CHARS, MAX_BODY_CHARS, max_lines=0).endswith("300,000 fit here.")
    assert describe_refused_paste("a\nb\n", 0, MAX_BODY_CHARS, max_lines=0) == ""
    assert describe_refused_paste("one line\n", 0, 100) == ""


async def test_a_query_that_was_typed_and_not_run_is_in_the_history() -> None:
    async with driven(Shop(), (100, 30)) as (app, pilot):
        await until(pilot, lambda: rows(app, "live").items)
        await pilot.press("slash", *"type", "colon", "x", "escape")
        await until(pilot, lambda: not app.screen.query_one(QueryBar).is_open)
        await pilot.press("slash", "up")
        assert app.screen.query_one(QueryBar).line.value == "type:x"


async def test_space_resumes_where_it_paused() -> None:
    shop = Shop()
    async with driven(shop) as (app, pilot):
        live, page = rows(app, "live"), app.page("live")
        assert isinstance(page, LiveScreen)
        await until(pilot, lambda: len(live.items) == 6)
        await pilot.press("k", "k")
        held = live.chosen_key
        await pilot.press("space")
        shop.coming.put_nowait(event(30, "orders", "OrderPlaced", 3_000))
        await until(pilot, lambda: page.feed.waiting == 1)
        assert (len(live.items), live.chosen_key) == (6, held)
        await pilot.press("space")
        await until(pilot, lambda: len(live.items) == 7)
        assert (live.chosen_key, live.follow) == (held, False)


async def test_live_events_are_in_time_order_and_late_ones_are_marked() -> None:
    shop = Shop()
    async with driven(shop, (100, 30)) as (app, pilot):
        live = rows(app, "live")
        await until(pilot, lambda: len(live.items) == 6)
        shop.coming.put_nowait(event(40, "orders", "OrderPlaced", 9_000))
        shop.coming.put_nowait(event(41, "orders", "LateOne", 5_000))
        shop.coming.put_nowait(event(42, "orders", "WrongClock", 10_000, occurred_at="2026-11-24T11:39:00Z"))
        shop.coming.put_nowait(event(43, "orders", "OrderPlaced", 10_100))
        await until(pilot, lambda: len(live.items) == 10)
        assert [seen.event.type for seen in live.items[-2:]] == ["WrongClock", "OrderPlaced"]
        assert [seen.at for seen in live.items] == sorted(seen.at for seen in live.items)
        assert [seen.event.type for seen in live.items if seen.is_late] == ["LateOne"]
        line = next(line for line in shown(app).split("\n") if "LateOne" in line)
        assert "●◷" in line
        assert "late: y" in line


async def test_a_wide_terminal_shows_the_event_under_the_cursor() -> None:
    async with driven(Shop(), (130, 36)) as (app, pilot):
        await until(pilot, lambda: len(rows(app, "live").items) == 6)
        live = rows(app, "live")
        assert live.select(live.key_of(live.items[3]))
        await until(pilot, lambda: "e-3" in shown(app) or "ParcelDispatched" in shown(app))
        await until(pilot, lambda: "carrier" in shown(app))  # its body, once the cursor rests
        assert app.screen.query_one("#preview").region.x > 40  # beside the list
        await pilot.press("tab", "escape")
        await until(pilot, lambda: live.has_focus)
    async with driven(Shop(), (100, 30)) as (app, pilot):
        await until(pilot, lambda: len(rows(app, "live").items) == 6)
        assert not app.screen.query_one("#preview").display
        assert rows(app, "live").size.width == 100


async def test_panes_are_resized_and_a_short_list_takes_no_more_lines_than_it_has() -> None:
    async with driven(Shop(), (80, 24)) as (app, pilot):
        await on(pilot, app, "4", "letters")
        await until(pilot, lambda: rows(app, "causes").items)
        await pilot.press("enter")
        await until(pilot, lambda: len(rows(app, "list").items) == 3)
        await until(pilot, lambda: rows(app, "list").size.height == 4)  # a title and three letters
        assert rows(app, "letter").size.height > 12
    async with driven(Shop(), (140, 36)) as (app, pilot):
        await on(pilot, app, "6", "schemas")
        await until(pilot, lambda: rows(app, "subjects").items)
        before = rows(app, "subjects").size.width
        await pilot.press("greater_than_sign")
        await until(pilot, lambda: rows(app, "subjects").size.width != before)
