"""Replays of dead letters in the dashboard: edit, dry run, confirmation, progress."""

from __future__ import annotations

import msgspec
from textual.widgets import TextArea

from sidecar.api.models import replays
from tests.support.dashboard import driven, on, rows, shown, until
from tests.support.dashboard_data import (
    TRACE,
    Shop,
    event,
    job,
    letter,
)
from tui.dialogs.edit import EditDialog
from tui.dialogs.replay import ReplayDialog
from tui.dialogs.replay_progress import ReplayProgressDialog


async def test_a_rejected_event_is_found_edited_and_replayed() -> None:
    """From the flow to the letter, the edit, the dry run, the confirmation and the outcome."""
    shop = Shop()
    shop.the_letters = [letter(3)]
    async with driven(shop) as (app, pilot):
        app.open_flow(TRACE, at="kafka://shipping/0/3")
        await until(pilot, lambda: app.screen is app.page("flow") and rows(app, "tree").items)
        await pilot.press("d")
        await until(pilot, lambda: app.screen is app.page("letters") and "◀ ✗ here" in shown(app))
        assert ("position:kafka://shipping/0/3",) in shop.of("dead_letters")
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, EditDialog))
        dialog = app.screen
        assert isinstance(dialog, EditDialog)
        area = dialog.query_one(TextArea)
        assert area.selected_text == '"two"'  # the failing value; typing replaces it
        await pilot.press("2")
        await until(pilot, lambda: dialog.verdict == "passes")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: isinstance(app.screen, ReplayDialog) and "1 of 1 would be sent" in shown(app))
        assert "warehouse on shipping, again" in shown(app)
        assert "1 group will receive it again" in shown(app)
        assert shop.of("replay") == []
        shop.the_events.append(
            event(9, "shipping", "shop.ParcelDispatched", 31_000, status="replayed", replay_of=letter(3).id)
        )
        await pilot.press("y")
        await until(pilot, lambda: isinstance(app.screen, ReplayProgressDialog) and "ParcelDispatched at" in shown(app))
        (request,) = shop.of("replay")[0]
        assert request.ids == [letter(3).id]
        assert request.edit == replays.EditRequest(set={"items[1].qty": 2})  # masked values are not in it
        assert "✓ Replay done" in shown(app)
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is app.page("flow"))
        assert ("kafka://shipping/0/9",) in shop.of("flow")


async def test_an_edit_that_does_not_pass_is_not_sent() -> None:
    shop = Shop()
    shop.the_plan.passes = 0
    shop.the_plan.fails = [
        replays.CheckModel(
            code="schema.mismatch", message="items[1].qty: expected int", path=None, count=1, example="x"
        )
    ]
    async with driven(shop) as (app, pilot):
        app.open_letters("state:open")
        await until(pilot, lambda: app.screen is app.page("letters") and "◀ ✗ here" in shown(app))
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, EditDialog))
        dialog = app.screen
        assert isinstance(dialog, EditDialog)
        dialog.query_one(TextArea).text = "{"
        await until(pilot, lambda: dialog.verdict == "wrong" and "not valid JSON yet: line 1" in shown(app))
        dialog.query_one(TextArea).text = "[" * 50_000
        await until(pilot, lambda: "nested too deeply" in shown(app))
        dialog.query_one(TextArea).text = '{"items": []}'
        await until(pilot, lambda: dialog.verdict == "fails")
        await pilot.press("ctrl+s", "escape")
        await until(pilot, lambda: app.screen is app.page("letters"))
        assert shop.of("replay") == []


async def test_an_edit_never_overwrites_masked_values() -> None:
    shop = Shop()
    shop.the_body = {"items": [1], "card": "[redacted]", "cards": ["[redacted]"]}
    async with driven(shop) as (app, pilot):
        app.open_letters("state:open")
        await until(pilot, lambda: app.screen is app.page("letters") and '[0]: "[redacted]"' in shown(app))
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, EditDialog))
        dialog = app.screen
        assert isinstance(dialog, EditDialog)
        dialog.query_one(TextArea).text = '{"items": [1], "card": "[redacted]", "cards": ["[redacted]", 2]}'
        await until(pilot, lambda: dialog.verdict == "wrong" and "cards: [redacted] would" in shown(app))
        dialog.query_one(TextArea).text = '{"items": [2], "card": "[redacted]", "cards": ["[redacted]"]}'
        await until(pilot, lambda: dialog.verdict == "passes")
        assert dialog.edit == replays.EditRequest(set={"items[0]": 2})


async def test_letters_that_groups_have_consumed_are_kept_back_with_keys_to_send_them() -> None:
    shop = Shop()
    why = (
        "a group has consumed it already: --again sends it to all groups once more, --group G to one, --to S elsewhere"
    )
    shop.the_plan = msgspec.structs.replace(
        shop.the_plan, selected=3, sendable=0, kept_back=3, skipped={why: 3}, targets=[], passes=0, looked_at=0,
        receivers=[
            replays.ReceiverModel(group="warehouse", stream="shipping", lag=0, passed=0, not_passed=0, unknown=0,
                             kept_back=3)
        ],
    )  # fmt: skip
    async with driven(shop, (80, 24)) as (app, pilot):
        await on(pilot, app, "4", "letters")
        await until(pilot, lambda: rows(app, "causes").items)
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, ReplayDialog) and "3 kept back" in shown(app))
        said = shown(app)
        assert "0 of 3 would be sent, 3 kept back" in said
        assert "warehouse on shipping, consumed 3 of those kept back" in said
        assert "key a sends it" in said
        assert "--" not in said
        assert "a [ ] also the 3 kept back, although groups have consumed them" in said
        assert "o [ ] only for one group, those kept back too" in said
        assert "Cancel (esc)" in said  # the dialog fits on a small screen
        await pilot.press("y", "o")
        await until(pilot, lambda: shop.of("plan")[-1][0].group == "warehouse")
        assert shop.of("replay") == []


async def test_a_small_terminal_shows_the_whole_dry_run() -> None:
    shop = Shop()
    first = shop.the_plan.receivers[0]
    shop.the_plan.receivers = [msgspec.structs.replace(first, group=f"group-{number}") for number in range(8)]
    async with driven(shop, (80, 24)) as (app, pilot):
        app.open_letters("state:open")
        await until(pilot, lambda: app.screen is app.page("letters") and rows(app, "list").items)
        await pilot.press("r")
        await until(pilot, lambda: "valid now" in shown(app))
        said = " ".join(shown(app).replace("│", " ").split())
        assert all(f"group-{number}" in said for number in range(8))
        assert "group-7 on shipping" in said
        assert "Replay (y)" in said


async def test_marked_letters_are_replayed_together_after_a_confirmation() -> None:
    shop = Shop()
    async with driven(shop) as (app, pilot):
        await on(pilot, app, "4", "letters")
        await until(pilot, lambda: rows(app, "causes").items)
        await pilot.press("enter")
        await until(pilot, lambda: len(rows(app, "list").items) == 3)
        await pilot.press("space", "space")
        assert "2 marked" in shown(app)
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, ReplayDialog) and "would be sent" in shown(app))
        await pilot.press("enter")  # the Cancel button has the focus
        await until(pilot, lambda: app.screen is app.page("letters"))
        assert shop.of("replay") == []
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, ReplayDialog) and "would be sent" in shown(app))
        await pilot.press("g")
        await until(pilot, lambda: shop.of("plan")[-1][0].batch_growth and "would be sent" in shown(app))
        await pilot.press("y")
        await until(pilot, lambda: isinstance(app.screen, ReplayProgressDialog))
        (request,) = shop.of("replay")[0]
        assert (request.ids, request.batch_growth) == ([letter(1).id, letter(2).id], True)


async def test_a_replay_is_paused_and_cancelled_while_it_runs() -> None:
    shop = Shop()
    shop.the_jobs = [job(state="running", selected=10, published=4)]
    async with driven(shop) as (app, pilot):
        await on(pilot, app, "4", "letters")
        await until(pilot, lambda: "replay running 4/10" in shown(app))
        await pilot.press("p")
        await until(pilot, lambda: "4 of 10" in shown(app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ReplayProgressDialog) and "40%" in shown(app))
        await pilot.press("p")
        await until(pilot, lambda: "Replay paused" in shown(app))
        await pilot.press("c")
        await until(pilot, lambda: "Replay cancelled" in shown(app))
