"""The dashboard over the real API, with the real decoder, index and dead letters on a memory broker."""

from __future__ import annotations

from pathlib import Path

from textual.widgets import TextArea

from tests.support.api import order, serving
from tests.support.dashboard import driven, on, rows, shown, until
from tui.dialogs.edit import EditDialog
from tui.dialogs.replay import ReplayDialog
from tui.dialogs.replay_progress import ReplayProgressDialog


async def test_an_event_is_shown_and_its_letter_repaired_and_replayed(tmp_path: Path) -> None:
    async with serving(tmp_path / "token", redact=["body:data.card"]) as sidecar:
        await sidecar.pass_on(order(1, correlationId="c-1"))
        async with sidecar.client() as client, driven(client, (140, 45)) as (app, pilot):
            await until(pilot, lambda: len(rows(app, "live").items) == 1)
            await sidecar.pass_on(order(2, correlationId="c-1", causationId="e-1", data={"card": "4711-4711"}))
            bad = await sidecar.pass_on(order(3, correlationId="c-1", causationId="e-2", data={"total": [1]}))
            await until(pilot, lambda: len(rows(app, "live").items) == 3)
            await pilot.press("slash", *"status", "colon", *"rejected", "enter")
            await until(pilot, lambda: len(rows(app, "live").items) == 1)
            await pilot.press("enter")
            await until(pilot, lambda: app.screen is app.page("flow") and "◀ ✗ here" in shown(app))
            assert rows(app, "tree").chosen_key == str(bad.event.position)
            await pilot.press("c")
            await until(pilot, lambda: "card" in shown(app))
            assert "4711-4711" not in shown(app)
            await pilot.press("n", "d")
            await until(pilot, lambda: app.screen is app.page("letters") and "◀ ✗ here" in shown(app))
            await pilot.press("e")
            await until(pilot, lambda: isinstance(app.screen, EditDialog))
            dialog = app.screen
            assert isinstance(dialog, EditDialog)
            dialog.query_one(TextArea).text = dialog.query_one(TextArea).text.replace("[\n      1\n    ]", "1")
            await until(pilot, lambda: dialog.verdict == "passes", "the edit passes")
            await pilot.press("ctrl+s")
            await until(pilot, lambda: isinstance(app.screen, ReplayDialog) and "would be sent" in shown(app))
            await pilot.press("y")
            await until(pilot, lambda: isinstance(app.screen, ReplayProgressDialog) and "Replay done" in shown(app))
            await pilot.press("escape")
            await until(pilot, lambda: rows(app, "list").items[0].state == "replayed")


async def test_every_screen_shows_a_real_sidecar(tmp_path: Path) -> None:
    async with serving(tmp_path / "token") as sidecar:
        await sidecar.pass_on(order(1))
        await sidecar.pass_on(b"\x00\xff")
        async with sidecar.client() as client, driven(client, (80, 24)) as (app, pilot):
            await until(pilot, lambda: len(rows(app, "live").items) == 2)
            for key, place, list_id in (
                ("2", "flows", "flows"),
                ("4", "letters", "causes"),
                ("5", "map", "lanes"),
                ("6", "schemas", "subjects"),
                ("7", "status", "entries"),
            ):
                await on(pilot, app, key, place)
                await until(pilot, lambda list_id=list_id: rows(app, list_id).items, place)
            await sidecar.serving.stop()
            await until(pilot, lambda: app.link.state == "lost")


async def test_an_aggregate_is_shown_through_time_and_what_is_hidden_stays_so(tmp_path: Path) -> None:
    async with serving(tmp_path / "token", redact=["body:data.card"]) as sidecar:
        await sidecar.pass_on(order(1, aggregateId="o-7", data={"total": 10, "card": "4711-4711"}))
        await sidecar.pass_on(order(2, aggregateId="o-7", data={"total": 12, "card": "4712-4712"}))
        async with sidecar.client() as client, driven(client, (140, 45)) as (app, pilot):
            await until(pilot, lambda: len(rows(app, "live").items) == 2)
            await pilot.press("v")
            await until(pilot, lambda: app.screen is app.page("aggregate") and "10 → 12" in shown(app))
            assert [change.path for change in rows(app, "steps").items[1].changes] == ["total"]
            assert "[redacted]" in shown(app)
            assert "4711-4711" not in shown(app)
            await pilot.press("enter")
            await until(pilot, lambda: app.screen is app.page("flow") and rows(app, "tree").items)
