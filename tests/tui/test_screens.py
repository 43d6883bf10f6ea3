"""The dashboard as a person uses it: keys and what they lead to, over answers that the test decides on."""

from __future__ import annotations

import gc

import msgspec
import pytest
from textual._styles_cache import StylesCache
from textual.widgets import Input, TextArea

from sidecar.api import models
from sidecar.api.client.client import LiveRetry, ServerFailed, Unauthorized, Unreachable
from sidecar.api.models import replays
from tests.support.dashboard import driven, on, rows, shown, until
from tests.support.dashboard_data import (
    HOSTILE,
    TRACE,
    Shop,
    cause,
    event,
    flow,
    job,
    letter,
    service_status,
    stream_status,
)
from tui.dialogs.confirm import ConfirmDialog
from tui.dialogs.copy_text import CopyDialog
from tui.dialogs.edit import EditDialog
from tui.dialogs.help import HelpDialog
from tui.dialogs.replay import ReplayDialog
from tui.dialogs.replay_progress import ReplayProgressDialog
from tui.dialogs.token import TokenDialog
from tui.screens.live import LiveScreen
from tui.theme import THEMES
from tui.widgets.detail_list import DetailList
from tui.widgets.header import PLACES
from tui.widgets.query_bar import QueryBar


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
async def test_each_number_key_shows_its_screen_and_escape_goes_back(size: tuple[int, int]) -> None:
    async with driven(Shop(), size) as (app, pilot):
        for number, (place, name) in enumerate(PLACES[1:], 2):
            await on(pilot, app, str(number), place)
            assert name in shown(app)
        for place, _ in PLACES[-2::-1]:
            await pilot.press("escape")
            await until(pilot, lambda place=place: app.screen is app.page(place), place)


async def test_a_tiny_terminal_breaks_no_screen() -> None:
    async with driven(Shop(), (24, 8)) as (app, pilot):
        for number, (place, _) in enumerate(PLACES, 1):
            await on(pilot, app, str(number), place)
            await pilot.press("j", "tab")
            assert len(shown(app).split("\n")) == 8
        app.open_flow(TRACE)
        await until(pilot, lambda: app.screen is app.page("flow") and rows(app, "tree").items)
        assert app.is_running


async def test_what_comes_is_followed_until_the_cursor_leaves_the_end() -> None:
    shop = Shop()
    async with driven(shop) as (app, pilot):
        await until(pilot, lambda: len(rows(app, "live").items) == 6)
        live = rows(app, "live")
        assert live.cursor == 5
        shop.coming.put_nowait(event(20, "orders", "OrderPlaced", 3_000))
        await until(pilot, lambda: live.cursor == 6)
        await pilot.press("k", "k")
        held = live.chosen_key
        shop.coming.put_nowait(event(21, "orders", "OrderPlaced", 3_100))
        await until(pilot, lambda: len(live.items) == 8)
        assert (live.cursor, live.chosen_key) == (4, held)
        await pilot.press("G")
        await until(pilot, lambda: live.cursor == 7 and live.follow)


async def test_who_moves_stands_also_where_more_comes_at_the_same_moment() -> None:
    shop = Shop()
    async with driven(shop) as (app, pilot):
        await until(pilot, lambda: len(rows(app, "live").items) == 6)
        live = rows(app, "live")
        live.action_move(-1)
        stood = live.chosen_key
        live.show([*live.items, *live.items])  # before anything else is done
        assert (live.cursor, live.chosen_key) == (4, stood)
        await until(pilot, lambda: "stopped" in shown(app))


async def test_what_was_there_before_is_shown_from_its_end() -> None:
    shop = Shop()
    shop.the_events = [event(number, "orders", "OrderPlaced", 1_000) for number in range(200)]
    async with driven(shop, (80, 24)) as (app, pilot):
        await until(pilot, lambda: len(rows(app, "live").items) == 200)
        live = rows(app, "live")
        await until(pilot, lambda: live.visible_items[-1] is live.items[-1])


async def test_frozen_nothing_moves_and_nothing_is_lost() -> None:
    shop = Shop()
    async with driven(shop) as (app, pilot):
        live = rows(app, "live")
        await until(pilot, lambda: len(live.items) == 6)
        await pilot.press("space")
        for number in range(30, 33):
            shop.coming.put_nowait(event(number, "orders", "OrderPlaced", 3_000))
        page = app.page("live")
        assert isinstance(page, LiveScreen)
        await until(pilot, lambda: page.feed.waiting == 3)
        assert len(live.items) == 6
        await until(pilot, lambda: "frozen, 3 arrived since" in shown(app))
        await pilot.press("space")
        await until(pilot, lambda: len(live.items) == 9)


async def test_memory_is_bounded_however_much_comes() -> None:
    shop = Shop()
    async with driven(shop) as (app, pilot):
        page = app.page("live")
        assert isinstance(page, LiveScreen)
        one = event(1, "orders", "OrderPlaced", 3_000)
        for number in range(5_000):
            shop.coming.put_nowait(msgspec.structs.replace(one, position=f"kafka://orders/0/{number + 100}"))
        await until(pilot, lambda: page.feed.arrived == 5_000)
        newest = "kafka://orders/0/5099"
        await until(
            pilot, lambda: rows(app, "live").items[-1:] and rows(app, "live").items[-1].event.position == newest
        )
        assert len(rows(app, "live").items) == 2_000
        assert len(page.feed._positions) == 2_000


async def test_a_dialog_that_was_open_leaves_nothing_behind() -> None:
    async with driven(Shop()) as (app, pilot):

        async def painted() -> int:
            """Widgets whose lines are kept, after one more dialog."""
            await pilot.press("question_mark")
            await until(pilot, lambda: isinstance(app.screen, HelpDialog))
            await pilot.press("escape")
            await until(pilot, lambda: app.screen is app.page("live"))
            gc.collect()
            return sum(type(one) is StylesCache for one in gc.get_objects())

        first = [await painted() for _ in range(3)][-1]
        assert [await painted() for _ in range(5)][-1] <= first + 3


async def test_a_key_is_answered_while_a_flood_comes() -> None:
    shop = Shop()
    async with driven(shop) as (app, pilot):
        live = rows(app, "live")
        await until(pilot, lambda: len(live.items) == 6)
        one = event(1, "orders", "OrderPlaced", 3_000)
        for number in range(20_000):
            shop.coming.put_nowait(msgspec.structs.replace(one, position=f"kafka://orders/0/{number + 100}"))
        await pilot.press("2")
        await until(pilot, lambda: app.screen is app.page("flows"))


async def test_a_query_is_completed_asked_and_remembered() -> None:
    shop = Shop()
    async with driven(shop) as (app, pilot):
        await until(pilot, lambda: len(rows(app, "live").items) == 6)
        await pilot.press("slash", *"sta", "tab", *"rej", "tab", "enter")
        await until(pilot, lambda: shop.asked[-1] != ("live", "") and ("status:rejected",) in shop.of("live"))
        await until(pilot, lambda: [seen.event.status for seen in rows(app, "live").items] == ["rejected"])
        assert "status:rejected" in shown(app)
        assert rows(app, "live").has_focus
        await pilot.press("slash", *[["backspace"] * 40][0], "up")
        assert app.screen.query_one(QueryBar).line.value == "status:rejected"
        await pilot.press("escape")
        assert not app.screen.query_one(QueryBar).is_open
        await pilot.press("slash", *"type", "colon", "x", "enter")  # typing asks anew
        await until(pilot, lambda: ("type:x",) in shop.of("live"))
        await pilot.press("slash", "end", "y", "enter")  # and after an arrow key it goes on
        await until(pilot, lambda: ("type:xy",) in shop.of("live"))


@pytest.mark.parametrize(("key", "place"), [("3", "flow"), ("5", "map"), ("6", "schemas"), ("7", "status")])
async def test_a_query_from_any_screen_leads_to_events_and_leaving_it_back(key: str, place: str) -> None:
    shop = Shop()
    async with driven(shop) as (app, pilot):
        await on(pilot, app, key, place)
        await pilot.press("slash")
        await until(pilot, lambda: app.screen is app.page("live") and app.screen.query_one(QueryBar).is_open)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.page(place))
        await pilot.press("slash", *"type", "colon", "x", "enter")
        await until(pilot, lambda: app.screen is app.page("live") and ("type:x",) in shop.of("live"))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.page(place))


async def test_values_that_were_seen_are_offered() -> None:
    async with driven(Shop()) as (app, pilot):
        await until(pilot, lambda: len(rows(app, "live").items) == 6)
        await pilot.press("slash", *"type", "colon", *"Order", "tab")
        assert app.screen.query_one(QueryBar).line.value == "type:OrderPlaced "


async def test_a_wrong_query_says_what_and_where_and_stays_open() -> None:
    async with driven(Shop()) as (app, pilot):
        await until(pilot, lambda: len(rows(app, "live").items) == 6)
        await pilot.press("slash", *"type", "colon", "left_parenthesis", "enter")
        bar = app.screen.query_one(QueryBar)
        await until(pilot, lambda: bar.error)
        assert bar.is_open
        assert bar.error == "     ▲ expected a value, found an open bracket"
        await pilot.press("backspace")
        assert bar.error == ""


async def test_enter_on_an_event_shows_its_flow_with_the_cursor_on_it() -> None:
    async with driven(Shop()) as (app, pilot):
        live = rows(app, "live")
        await until(pilot, lambda: len(live.items) == 6)
        live.select(live.key_of(live.items[2]))
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is app.page("flow"))
        tree = rows(app, "tree")
        await until(pilot, lambda: tree.chosen_key == "kafka://shipping/0/3")
        await until(pilot, lambda: "◀ ✗ here" in shown(app))
        here = live.chosen_key
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.page("live"))
        assert live.chosen_key == here


async def test_who_comes_back_from_a_flow_stands_on_its_event_though_more_came() -> None:
    shop = Shop()
    async with driven(shop) as (app, pilot):
        live = rows(app, "live")
        await until(pilot, lambda: len(live.items) == 6)
        looked_at = live.chosen_key
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is app.page("flow"))
        shop.coming.put_nowait(event(40, "orders", "OrderPlaced", 3_000))
        page = app.page("live")
        assert isinstance(page, LiveScreen)
        await until(pilot, lambda: page.feed.arrived == 1)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is page and len(live.items) == 7)
        assert live.chosen_key == looked_at
        assert "stopped" in shown(app)


async def test_a_flow_says_what_caused_what_and_what_is_wrong() -> None:
    async with driven(Shop(), (160, 45)) as (app, pilot):
        app.open_flow(TRACE)
        await until(pilot, lambda: "schema.mismatch items[1].qty" in shown(app))
        said = shown(app)
        assert "╌" in said  # an inferred link is drawn otherwise
        assert "PaymentAuthorized ≡1" in said
        assert "6 events in 1.10 s" in said
        tree = rows(app, "tree")
        assert [line.event.type for line in tree.items if not line.why].count("PaymentAuthorized") == 1
        tree.select("kafka://payments/0/2")
        await pilot.press("space")
        await until(pilot, lambda: len([line for line in tree.items if line.event.stream == "payments"]) == 2)


async def test_cause_effect_failure_and_the_aggregates_neighbours_are_a_key_away() -> None:
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


async def test_ids_and_bodies_are_copied_as_they_are() -> None:
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
async def test_the_trace_is_opened_elsewhere_where_that_is_configured(
    monkeypatch: pytest.MonkeyPatch, browser: bool
) -> None:
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


async def test_what_folds_is_opened_and_closed_by_keys() -> None:
    async with driven(Shop()) as (app, pilot):
        app.open_flow(TRACE, at="kafka://shipping/0/3")
        await until(pilot, lambda: app.screen is app.page("flow") and "◀ ✗ here" in shown(app))
        await pilot.press("tab")
        facts = app.screen.query_one("#facts", DetailList)
        assert facts.has_focus
        assert facts.item is not None
        assert facts.item.label == "qty"  # the cursor stands where it failed
        await pilot.press("h")
        assert facts.item.label == "[1]"
        await pilot.press("h", "h")
        assert facts.item.label == "items"
        await pilot.press("space")
        await until(pilot, lambda: "[0] {2}" not in shown(app) and "is not there" not in shown(app))
        await pilot.press("enter")
        await until(pilot, lambda: "▸ [1] {2}" in shown(app))
        await pilot.press("escape")
        assert rows(app, "tree").has_focus


async def test_a_flow_that_is_not_there_says_what_to_do() -> None:
    async with driven(Shop()) as (app, pilot):
        app.open_flow("nothing")
        await until(pilot, lambda: "There is no flow of nothing" in shown(app))
        assert "--scan" in shown(app)


async def test_failing_and_slow_flows_come_first_on_one_key() -> None:
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
        assert rows(app, "tree").chosen_key == "kafka://shipping/0/3"  # where it failed


async def test_from_the_failure_to_the_repaired_letter_that_passes() -> None:
    """The whole way back: flow, letter, edit, dry run, question, outcome."""
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
        assert area.selected_text == '"two"'  # what failed; what is typed takes its place
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
        assert request.edit == replays.EditRequest(set={"items[1].qty": 2})  # and nothing of what is masked
        assert "✓ Replay done" in shown(app)
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is app.page("flow"))
        assert ("kafka://shipping/0/9",) in shop.of("flow")


async def test_an_edit_that_does_not_pass_goes_nowhere() -> None:
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


async def test_what_is_masked_is_not_written_over() -> None:
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


async def test_letters_that_groups_have_already_are_kept_back_and_the_keys_say_what_to_do() -> None:
    shop = Shop()
    why = "a group has passed it already: --again sends it to all of them once more, --group G to one, --to S elsewhere"
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
        assert "warehouse on shipping, has 3 of those kept back" in said
        assert "key a sends it to" in said
        assert "--" not in said
        assert "a [ ] also the 3 kept back, to all groups once more" in said
        assert "o [ ] only for one group, those kept back too" in said
        assert "Cancel (esc)" in said  # all of it, on a small screen too
        await pilot.press("y", "o")
        await until(pilot, lambda: shop.of("plan")[-1][0].group == "warehouse")
        assert shop.of("replay") == []


async def test_a_small_terminal_shows_the_whole_question_whoever_reads_there() -> None:
    shop = Shop()
    first = shop.the_plan.receivers[0]
    shop.the_plan.receivers = [msgspec.structs.replace(first, group=f"group-{number}") for number in range(8)]
    async with driven(shop, (80, 24)) as (app, pilot):
        app.open_letters("state:open")
        await until(pilot, lambda: app.screen is app.page("letters") and rows(app, "list").items)
        await pilot.press("r")
        await until(pilot, lambda: "check now" in shown(app))
        said = " ".join(shown(app).replace("│", " ").split())
        assert all(f"group-{number}" in said for number in range(8))
        assert "group-7 on shipping" in said
        assert "Replay (y)" in said


async def test_letters_are_marked_and_replayed_together_after_a_question() -> None:
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
        await pilot.press("enter")  # the button that leaves it has the focus
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


async def test_the_history_says_who_did_what_and_why() -> None:
    shop = Shop()
    shop.the_acts = [
        replays.AuditEntryModel(
            act="dead_letters.discarded", at="2026-05-03T10:00:00Z", by="ann", address=None, letters=3, ids=["x"],
            why=f"test data {HOSTILE}",
        )
    ]  # fmt: skip
    async with driven(shop, (140, 45)) as (app, pilot):
        await on(pilot, app, "4", "letters")
        await pilot.press("H")
        await until(pilot, lambda: "2026-05-03 10:00:00  discarded" in shown(app))
        assert "test data \\x1b" in shown(app)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.page("letters"))


async def test_a_letter_and_its_cause_say_what_can_be_done() -> None:
    shop = Shop()
    async with driven(shop, (140, 45)) as (app, pilot):
        await on(pilot, app, "4", "letters")
        await until(pilot, lambda: "→ e edits the body" in shown(app))
        shop.the_letters = [letter(3, state="discarded")]
        await pilot.press("enter")
        await until(pilot, lambda: "→ It was discarded: u restores it." in shown(app))


async def test_letters_of_another_question_are_not_those_of_the_last() -> None:
    shop = Shop()
    async with driven(shop) as (app, pilot):
        app.open_letters("state:open")
        await until(pilot, lambda: app.screen is app.page("letters") and "◀ ✗ here" in shown(app))
        shop.the_letters = []
        app.open_letters("state:parked")
        assert rows(app, "letter").items == []
        await until(pilot, lambda: "No letters match" in shown(app) and "0 letters" in shown(app))
        assert rows(app, "schema").items == []


async def test_who_discards_a_cause_is_told_how_many_letters_that_is() -> None:
    shop = Shop()
    shop.the_causes = [cause(states={"open": 4, "parked": 2, "replayed": 9})]
    async with driven(shop) as (app, pilot):
        await on(pilot, app, "4", "letters")
        await until(pilot, lambda: rows(app, "causes").items)
        await pilot.press("x")
        await until(pilot, lambda: "schema.mismatch on shipping (4 open, 2 parked)?" in shown(app))


async def test_discarding_wants_a_reason() -> None:
    shop = Shop()
    async with driven(shop) as (app, pilot):
        app.open_letters("state:open")
        await until(pilot, lambda: app.screen is app.page("letters") and rows(app, "list").items)
        await pilot.press("x")
        await until(pilot, lambda: "Discard the letter" in shown(app))
        await pilot.press("enter")
        assert "Discard the letter" in shown(app)
        await pilot.press(*"tests", "enter")
        await until(pilot, lambda: shop.of("discard"))
        assert shop.of("discard") == [([letter(1).id], "tests", "")]


async def test_a_letter_stands_beside_its_schema_with_the_path_marked_in_both() -> None:
    async with driven(Shop(), (140, 40)) as (app, pilot):
        app.open_letters("state:open")
        await until(pilot, lambda: app.screen is app.page("letters") and rows(app, "list").items)
        await pilot.press("enter")
        await until(pilot, lambda: "◀ expected" in shown(app))
        line = next(line for line in shown(app).split("\n") if "◀ expected" in line)
        assert "qty" in line


async def test_the_map_draws_who_publishes_and_who_reads_and_leads_to_the_events() -> None:
    async with driven(Shop()) as (app, pilot):
        await on(pilot, app, "5", "map")
        await until(pilot, lambda: "12 behind" in shown(app))
        lanes = rows(app, "lanes")
        lane = next(lane for lane in lanes.items if lane.group and lane.stream == "shipping")
        assert lane.group.group == "warehouse"
        lanes.select(next(lane.key for lane in lanes.items if lane.producer and lane.stream == "orders"))
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is app.page("live"))
        assert app.page("live").asked == "stream:orders producer:orders"


async def test_a_small_map_has_latency_too_and_its_cursor_stands_on_names() -> None:
    async with driven(Shop(), (80, 24)) as (app, pilot):
        await on(pilot, app, "5", "map")
        await until(pilot, lambda: "12 behind" in shown(app))
        assert "2 ms 12/s" in shown(app)
        lanes = rows(app, "lanes")
        for _ in range(len(lanes.items)):
            lane = lanes.item
            assert lane.producer or lane.group or lane.row == (lane.rows - 1) // 2
            await pilot.press("j")
        assert lanes.item.stream == lanes.items[-1].stream


async def test_a_stopped_group_is_the_first_thing_and_leads_to_the_event() -> None:
    shop = Shop()
    stop = models.GroupStopModel(position="kafka://shipping/0/3", since=None, reason="it does not move")
    shop.the_groups[0].stopped, shop.the_groups[0].stuck_at = [stop], stop.position
    async with driven(shop) as (app, pilot):
        await on(pilot, app, "7", "status")
        await until(pilot, lambda: "The group warehouse has stopped" in shown(app))
        await pilot.press("enter")  # the cursor stands on what is wrong, not on its heading
        await until(pilot, lambda: app.screen is app.page("flow"))
        assert ("kafka://shipping/0/3",) in shop.of("flow")


async def test_open_dead_letters_are_a_finding_that_leads_to_them() -> None:
    shop = Shop()
    async with driven(shop, (80, 24)) as (app, pilot):
        await on(pilot, app, "7", "status")
        await until(pilot, lambda: "open, of one cause" in shown(app) and "schema.mismatch on shipping" in shown(app))
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is app.page("letters"))


async def test_the_cursor_stands_on_what_can_be_chosen_and_all_else_can_be_seen() -> None:
    shop = Shop()
    async with driven(shop, (80, 24)) as (app, pilot):
        await on(pilot, app, "7", "status")
        entries = rows(app, "entries")
        await until(pilot, lambda: "open, of one cause" in shown(app))
        kinds = set()
        for _ in range(30):
            kinds.add(entries.item.kind)
            await pilot.press("j")
        assert not {"head", "names", "do"} & kinds
        await until(pilot, lambda: "version 0.1.0" in shown(app))
        await pilot.press("g")
        await until(pilot, lambda: "Problems" in shown(app))


async def test_the_sidecars_of_a_fleet_are_told_apart_by_words() -> None:
    shop = Shop()
    shop.the_status.members = [
        models.MemberModel(
            member=name, here=name == "a", alive=name != "b", last_heartbeat="2026-05-03T10:00:00.000Z",
            host=f"host-{name}", service="shop", version="1.2.3", groups=[], started_at=None, lag=0, rate=2.0,
            waiting=0, not_indexed=0,
            streams=[models.MemberShareModel(stream="orders", partitions=[0, 2], lag=0, rate=2.0, rejected=0)],
        )
        for name in "ab"
    ]  # fmt: skip
    async with driven(shop, (140, 60)) as (app, pilot):
        await on(pilot, app, "7", "status")
        await until(pilot, lambda: "answers here; version 1.2.3; partitions of orders 2" in shown(app))
        assert "✗ silent, last heartbeat at 10:00:00" in shown(app)


async def test_a_held_stream_is_tried_again_after_a_question() -> None:
    shop = Shop()
    held = models.HoldModel(since=None, reason="too much is rejected")
    shop.the_status = service_status(streams=[stream_status("orders", held=held)])
    async with driven(shop) as (app, pilot):
        await on(pilot, app, "7", "status")
        await until(pilot, lambda: "orders is held: too much is rejected" in shown(app))
        await until(pilot, lambda: "holds 1 stream" in shown(app).split("\n")[0])
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("y")
        await until(pilot, lambda: shop.of("resume") == [("orders",)])


async def test_schemas_show_what_is_really_seen() -> None:
    async with driven(Shop(), (140, 40)) as (app, pilot):
        await on(pilot, app, "6", "schemas")
        await until(pilot, lambda: "usage" in shown(app) and "weightGrams" in shown(app))
        assert "▲" in shown(app)  # of orders-value v2 is registered, v1 is in use
        await until(pilot, lambda: "what version 2 changed of version 1" in shown(app))
        said = shown(app)
        assert said.index("what version 2 changed") < said.index("+ ") < said.index("version 2, beside version 1")
        await pilot.press("v")
        await until(pilot, lambda: app.page("live").asked == "schema:orders-value")


async def test_a_lost_connection_is_shown_and_mended_by_itself() -> None:
    shop = Shop()
    async with driven(shop) as (app, pilot):
        await until(pilot, lambda: app.link.state == "connected")
        await on(pilot, app, "7", "status")
        await until(pilot, lambda: rows(app, "entries").items)
        shop.failing = Unreachable("nobody answers")
        shop.coming.put_nowait(LiveRetry("nobody answers", 0.2))
        await until(pilot, lambda: "✗ disconnected" in shown(app).split("\n")[0])
        assert rows(app, "entries").items  # what was known stays
        shop.failing = None
        await until(pilot, lambda: app.link.state == "connected")
        assert "● shop" in shown(app).split("\n")[0]


@pytest.mark.parametrize(("key", "place"), [("2", "flows"), ("3", "flow"), ("4", "letters"), ("6", "schemas")])
async def test_no_answer_is_not_taken_for_an_empty_one(key: str, place: str) -> None:
    shop = Shop()
    shop.failing = Unreachable("http://127.0.0.1:9 cannot be reached: refused")
    async with driven(shop, (100, 24)) as (app, pilot):
        await on(pilot, app, key, place)
        await until(pilot, lambda: "Disconnected, retrying" in shown(app) and "does not answer" in shown(app))
        for words in ("No flows here", "No dead letters", "No schemas", "0 subjects"):
            assert words not in shown(app)
        shop.failing = None
        await until(pilot, lambda: "Disconnected" not in shown(app) and "does not answer" not in shown(app))


async def test_a_refused_token_is_asked_for() -> None:
    shop = Shop()
    shop.failing = Unauthorized("the token is unknown")
    async with driven(shop) as (app, pilot):
        await until(pilot, lambda: isinstance(app.screen, TokenDialog))
        assert "the token is unknown" in shown(app)
        shop.failing = None
        app.screen.query_one(Input).value = "another"
        await pilot.press("enter")
        await until(pilot, lambda: app.link.state == "connected" and rows(app, "live").items)


async def test_who_is_asked_for_the_token_and_gives_none_sees_nothing() -> None:
    async with driven(Shop(), ask_token=True) as (app, pilot):
        await until(pilot, lambda: isinstance(app.screen, TokenDialog))
        await pilot.press("escape")
        await until(pilot, lambda: app._exit)


async def test_a_failed_question_is_no_crash() -> None:
    shop = Shop()
    async with driven(shop) as (app, pilot):
        shop.failing = ServerFailed("the index is gone")
        for number in "2345671":
            await pilot.press(number)
            await pilot.pause()
        assert app.is_running


async def test_help_says_what_can_be_done_here() -> None:
    async with driven(Shop(), (80, 24)) as (app, pilot):
        await on(pilot, app, "4", "letters")
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(app.screen, HelpDialog))
        assert "Why events failed" in shown(app)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.page("letters"))


async def test_help_scrolls_by_the_keys_of_lists() -> None:
    async with driven(Shop(), (80, 24)) as (app, pilot):
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(app.screen, HelpDialog) and "Open flow" not in shown(app))
        assert "cancelled" not in shown(app)
        await pilot.press("G")
        await until(pilot, lambda: "cancelled" in shown(app))
        await pilot.press("g")
        await until(pilot, lambda: "Events as they come" in shown(app))


async def test_the_palette_reaches_everything_by_name() -> None:
    async with driven(Shop()) as (app, pilot):
        names = [command.title for command in app.get_system_commands(app.screen)]
        assert {"Go to Dead letters", "Theme: light", "Freeze", "Query", "Quit"} <= set(names)
        await pilot.press("ctrl+p", *"map", "enter")
        await until(pilot, lambda: app.screen is app.page("map"), "the map")


async def test_themes_change_by_a_key_and_every_screen_draws_in_each() -> None:
    async with driven(Shop()) as (app, pilot):
        for theme in THEMES:
            app.theme = theme.name
            for number, (place, _) in enumerate(PLACES, 1):
                await on(pilot, app, str(number), place)
        before = app.theme
        await pilot.press("ctrl+t")
        assert app.theme != before


async def test_the_mouse_chooses_and_opens() -> None:
    async with driven(Shop()) as (app, pilot):
        live = rows(app, "live")
        await until(pilot, lambda: len(live.items) == 6)
        await pilot.click("#live", offset=(5, 3))
        assert live.cursor == 2
        await pilot.click("#live", offset=(5, 3))
        await until(pilot, lambda: app.screen is app.page("flow"))
        await pilot.click("TopBar", offset=(19, 0))
        await until(pilot, lambda: app.screen is not app.page("flow"))


@pytest.mark.parametrize("number", "1234567")
async def test_payloads_are_text_whatever_they_contain(number: str) -> None:
    shop = Shop()
    events = [
        event(
            one, HOSTILE, HOSTILE, 1_000, status="rejected", aggregate_id=HOSTILE, producer=HOSTILE, key=HOSTILE,
            schema=models.SchemaRefModel(subject=HOSTILE, version=1, id=1, guid=None),
            rejection=models.RejectionModel(stage="schema", code="schema.mismatch", message=HOSTILE, path=HOSTILE),
        )
        for one in range(1, 4)
    ]  # fmt: skip
    shop.the_events, shop.the_flow = list(events), flow(events, aggregates=[HOSTILE], streams=[HOSTILE])
    shop.the_body = {HOSTILE: [HOSTILE, {HOSTILE: HOSTILE}]}
    shop.the_letters = [letter(1, message=HOSTILE, type=HOSTILE, stream=HOSTILE, aggregate_id=HOSTILE, state=HOSTILE)]
    shop.the_causes = [cause(HOSTILE, HOSTILE, message=HOSTILE)]
    shop.the_groups[0].group = HOSTILE
    shop.the_status = service_status(service=HOSTILE, streams=[stream_status(HOSTILE)], trouble=[HOSTILE])
    async with driven(shop) as (app, pilot):
        app.open_flow(TRACE)
        await until(pilot, lambda: app.screen is app.page("flow") and rows(app, "tree").items)
        for key in (number, "enter", "enter", "y"):
            await pilot.press(key)
            for _ in range(5):
                await pilot.pause()
            said = shown(app)
            assert said.replace("\n", "").isprintable(), [c for c in said if not c.isprintable() and c != "\n"]
            assert all(len(line) >= 1 for line in said.split("\n"))
        assert app.is_running


@pytest.mark.parametrize("body", [{HOSTILE: [HOSTILE]}, HOSTILE], ids=["tree", "text"])
async def test_hostile_text_is_edited_as_text_and_stays_what_it_is(body: object) -> None:
    shop = Shop()
    shop.the_body = body
    async with driven(shop) as (app, pilot):
        app.open_letters("state:open")
        await until(pilot, lambda: app.screen is app.page("letters"))
        await pilot.press("e")  # before the letter is read
        await until(pilot, lambda: isinstance(app.screen, EditDialog))
        area = app.screen.query_one(TextArea)
        assert msgspec.json.decode(area.text.encode()) == body
        area.insert(HOSTILE.replace("\r", "").replace("\n", ""))  # pasted
        for key in ("home", "end", "down", "home", "end"):
            await pilot.press(key)
            assert shown(app).replace("\n", "").isprintable()


async def test_a_query_for_a_hostile_value_carries_no_control_sequences() -> None:
    shop = Shop()
    shop.the_events = [event(1, "orders", HOSTILE, 1_000)]
    async with driven(shop) as (app, pilot):
        await until(pilot, lambda: rows(app, "live").items)
        await pilot.press("t", "slash")
        bar = app.screen.query_one(QueryBar)
        assert bar.line.value.startswith("type:/^")
        bar.line.value = HOSTILE  # pasted
        for key in ("home", "end"):
            await pilot.press(key)
            assert shown(app).replace("\n", "").isprintable()


async def test_what_is_told_is_text() -> None:
    async with driven(Shop()) as (app, pilot):
        app.screen.notify(HOSTILE, title=HOSTILE)
        await until(pilot, lambda: len(app._notifications) == 1)
        (told,) = app._notifications
        assert not told.markup
        assert told.message.replace("\n", "").isprintable()
        assert told.title.isprintable()


async def test_what_is_redacted_stays_so() -> None:
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
        await until(pilot, lambda: "rows [10000]" in shown(app))  # folded: nobody reads ten thousand
        await pilot.press("G")
        assert rows(app, "tree").cursor == 499


async def test_where_nothing_is_it_says_what_to_do() -> None:
    shop = Shop()
    shop.the_events, shop.the_letters, shop.the_causes, shop.the_groups = [], [], [], []
    shop.the_status = service_status(streams=[])
    async with driven(shop) as (app, pilot):
        for number, words in {
            "1": "No events yet", "3": "No flow is open", "4": "No dead letters", "5": "Nothing to draw yet",
            "7": "None of the configured streams",
        }.items():  # fmt: skip
            await pilot.press(number)
            await until(pilot, lambda words=words: words in shown(app), words)


async def test_the_selection_stays_on_its_row_while_rows_come_and_go() -> None:
    shop = Shop()
    async with driven(shop) as (app, pilot):
        app.open_letters("state:open")
        await until(pilot, lambda: app.screen is app.page("letters") and len(rows(app, "list").items) == 3)
        listed = rows(app, "list")
        await pilot.press("j")
        assert listed.chosen_key == letter(2).id
        shop.the_letters = [letter(9), letter(8), *shop.the_letters]
        await until(pilot, lambda: len(listed.items) == 5)
        assert (listed.cursor, listed.chosen_key) == (3, letter(2).id)
        shop.the_letters = [one for one in shop.the_letters if one.id != letter(2).id]
        await until(pilot, lambda: len(listed.items) == 4)
        assert listed.cursor == 3
