"""Text from outside: control sequences and markup are shown as text."""

from __future__ import annotations

import msgspec
import pytest
from textual.widgets import TextArea

from sidecar.api import models
from tests.support.dashboard import driven, rows, shown, until
from tests.support.dashboard_data import (
    HOSTILE,
    TRACE,
    Shop,
    cause,
    event,
    flow,
    letter,
    service_status,
    stream_status,
)
from tui.dialogs.edit import EditDialog
from tui.widgets.query_bar import QueryBar


@pytest.mark.parametrize("number", "1234567")
async def test_payloads_are_shown_as_text(number: str) -> None:
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
async def test_hostile_text_is_edited_as_text_and_stays_unchanged(body: object) -> None:
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


async def test_notifications_are_text() -> None:
    async with driven(Shop()) as (app, pilot):
        app.screen.notify(HOSTILE, title=HOSTILE)
        await until(pilot, lambda: len(app._notifications) == 1)
        (told,) = app._notifications
        assert not told.markup
        assert told.message.replace("\n", "").isprintable()
        assert told.title.isprintable()
