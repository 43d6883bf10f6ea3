"""Replays of dead letters in the dashboard: edit, dry run, confirmation, progress."""

from __future__ import annotations

import msgspec
import pytest
from textual.widgets import Button, TextArea

from sidecar.api.models import replays
from tests.support.dashboard import driven, on, rows, shown, until
from tests.support.dashboard_data import (
    TRACE,
    Shop,
    event,
    job,
    letter,
)
from tui.dialogs.confirm import ConfirmDialog
from tui.dialogs.edit import EditDialog
from tui.dialogs.replay import ReplayDialog
from tui.dialogs.replay_progress import ReplayProgressDialog
from tui.text.replay_plan import ask_where


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
        assert "warehouse, again" in shown(app)
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
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))  # the text was changed
        await pilot.press("y")
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


WHY_KEPT = (
    "a group has consumed it already: --again sends it to all groups once more, --group G to one, --to S elsewhere"
)


def passed_plan(groups: list[str], number: int = 1) -> replays.PlanModel:
    """Build the dry run of letters that groups have consumed."""
    return msgspec.structs.replace(
        Shop().the_plan, selected=number, sendable=0, kept_back=number, skipped={WHY_KEPT: number}, targets=[],
        passes=0, looked_at=0, warnings=[],
        receivers=[
            replays.ReceiverModel(group=name, stream="shipping", lag=0, passed=0, not_passed=0, unknown=0,
                             kept_back=number)
            for name in groups
        ],
    )  # fmt: skip


class PassedShop(Shop):
    """A shop whose groups have consumed the record already, until it is decided where to send it."""

    async def plan(self, request: replays.ReplayRequestModel) -> replays.PlanModel:
        free = await super().plan(request)
        decided = request.again or request.group or request.to
        if not decided:
            return passed_plan(["billing", "notifications"])
        receivers = [
            replays.ReceiverModel(group=name, stream="shipping", lag=0, passed=1, not_passed=0, unknown=0)
            for name in ("billing", "notifications")
        ]
        return msgspec.structs.replace(free, receivers=receivers)


async def test_the_dialog_asks_where_to_send_what_groups_have_consumed() -> None:
    shop = PassedShop()
    async with driven(shop, (80, 24)) as (app, pilot):
        await on(pilot, app, "4", "letters")
        await until(pilot, lambda: rows(app, "causes").items)
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, ReplayDialog) and "Send to:" in shown(app))
        said = " ".join(shown(app).replace("│", " ").split())
        assert "billing and notifications have already consumed past this record. Send to:" in said
        options = ("a [ ] all groups", "o [ ] only one group …", "s [ ] another stream …")
        assert all(option in said for option in options)
        assert "--" not in said.replace("──", "")
        assert "0 of 1 would be sent, 1 kept back" in said
        assert "Cancel (esc)" in said  # the dialog fits on a small screen
        await pilot.press("y")
        await until(pilot, lambda: any("answer with a, o or s" in toast.message for toast in app._notifications))
        assert shop.of("replay") == []
        await pilot.press("a")
        await until(pilot, lambda: "1 of 1 would be sent" in shown(app))
        said = " ".join(shown(app).replace("│", " ").split())
        assert "a [x] all groups o [ ] only one group … s [ ] another stream …" in said  # only the tick changed
        assert "Replay 1 letter (y)" in said
        await pilot.press("y")
        await until(pilot, lambda: shop.of("replay"))
        assert shop.of("replay")[0][0].again


async def test_one_group_is_chosen_from_a_list_and_another_stream_is_typed() -> None:
    shop = PassedShop()
    async with driven(shop) as (app, pilot):
        await on(pilot, app, "4", "letters")
        await until(pilot, lambda: rows(app, "causes").items)
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, ReplayDialog) and "Send to:" in shown(app))
        await pilot.press("o")
        await until(pilot, lambda: "Send to one group" in shown(app))
        await pilot.press("j", "enter")
        await until(pilot, lambda: shop.of("plan")[-1][0].group == "notifications")
        await until(pilot, lambda: "o [x] only one group …" in shown(app) and "notifications alone" in shown(app))
        await pilot.press("s")
        await until(pilot, lambda: "Send to another stream" in shown(app))
        await pilot.press(*"quiet", "enter")
        await until(pilot, lambda: shop.of("plan")[-1][0].to == "quiet" and shop.of("plan")[-1][0].group is None)
        await until(pilot, lambda: "s [x] another stream …" in shown(app))


@pytest.mark.parametrize(
    ("groups", "selected", "kept", "question"),
    [
        (["billing"], 1, 1, "billing has already consumed past this record. Send to:"),
        (["a", "b", "c"], 3, 3, "a, b and c have already consumed past these 3 records. Send to:"),
        (["a", "b"], 5, 2, "a and b have already consumed past 2 of these 5 records. Send to:"),
        (list("abcdefg"), 1, 1, "a, b, c and 4 more groups have already consumed past this record. Send to:"),
    ],
)
def test_the_question_names_groups_and_records(groups: list[str], selected: int, kept: int, question: str) -> None:
    plan = msgspec.structs.replace(passed_plan(groups), selected=selected, kept_back=kept)
    assert ask_where(plan).replace("\n", " ") == question


async def test_a_replay_that_is_expected_to_fail_is_not_the_primary_button() -> None:
    shop = Shop()
    shop.the_plan.passes = 0
    shop.the_plan.fails = [
        replays.CheckModel(
            code="schema.mismatch", message="items[1].qty: expected int", path=None, count=1, example="x"
        )
    ]
    async with driven(shop, (80, 24)) as (app, pilot):
        app.open_letters("state:open")
        await until(pilot, lambda: app.screen is app.page("letters") and rows(app, "list").items)
        await pilot.press("r")
        await until(pilot, lambda: "Replay 1 letter anyway (y)" in shown(app))
        button = app.screen.query_one("#begin", Button)
        assert button.variant == "default"
        assert app.screen.query_one("#leave", Button).has_focus
        shop.the_plan.passes, shop.the_plan.fails = 1, []
        await pilot.press("g")
        await until(pilot, lambda: "Replay 1 letter (y)" in shown(app))
        assert button.variant == "primary"


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 60)])
async def test_the_dry_run_shows_long_names(size: tuple[int, int]) -> None:
    shop = Shop()
    name = "company.department-07.very-long-domain-name.customer-order-events.v1"
    receiver = replays.ReceiverModel(group=f"{name}.consumers", stream=name, lag=0, passed=1, not_passed=0, unknown=0)
    shop.the_plan = msgspec.structs.replace(
        shop.the_plan, receivers=[receiver], targets=[replays.TargetModel(stream=name, count=1, exists=True)]
    )
    async with driven(shop, size) as (app, pilot):
        app.open_letters("state:open")
        await until(pilot, lambda: app.screen is app.page("letters") and rows(app, "list").items)
        await pilot.press("r")
        await until(pilot, lambda: "received by" in shown(app))
        said = shown(app)
        assert said.count("department-07") >= 2
        assert name in said or size[0] < 100


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
        assert "Replay 1 letter (y)" in said


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
