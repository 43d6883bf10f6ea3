"""SQL in the dashboard: the dialog in the command palette, its rows and its errors."""

from __future__ import annotations

from sidecar.api import models
from sidecar.api.client.client import BadRequest
from tests.support.dashboard import driven, rows, shown, until
from tests.support.dashboard_data import HOSTILE, Shop
from tui.dialogs.sql import EXAMPLE, SqlDialog
from tui.text.sql_rows import build_columns, cell_text


def test_columns_are_as_wide_as_their_rows_and_numbers_are_on_the_right() -> None:
    answer = models.SqlAnswerModel(
        columns=[
            models.SqlColumnModel(name="a", type="VARCHAR"), models.SqlColumnModel(name="total", type="DECIMAL(18,2)"),
        ],
        rows=[["x" * 100, "1.50"], [None, None]], truncated=False, elapsed_ms=1.0, files=1,
    )  # fmt: skip
    columns = build_columns(answer)
    assert [(column.title, column.most, column.right) for column in columns] == [("a", 60, False), ("total", 5, True)]
    assert [cell_text(value) for value in (None, [1, None], {"a": "b"}, 1.5, True)] == [
        "-", "[1,null]", '{"a":"b"}', "1.5", "true",
    ]  # fmt: skip


async def test_the_palette_opens_sql_and_enter_runs_the_statement() -> None:
    shop = Shop()
    async with driven(shop, (120, 30)) as (app, pilot):
        assert "SQL" in [command.title for command in app.get_system_commands(app.screen)]
        app.open_sql()
        await until(pilot, lambda: isinstance(app.screen, SqlDialog))
        await pilot.press("enter")
        await until(pilot, lambda: len(rows(app, "sql-rows").items) == 2)
        text = shown(app)
        assert shop.of("sql") == [(EXAMPLE,)]
        assert "OrderPlaced" in text
        assert "2 rows in 12 ms from 3 files" in text
        shop.failing = BadRequest(f"expected one SELECT statement, found DROP {HOSTILE}")
        await pilot.press("enter")
        await until(pilot, lambda: "expected one SELECT statement, found DROP" in shown(app))
        assert shown(app).replace("\n", "").isprintable()
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, SqlDialog))


async def test_hostile_rows_stay_text() -> None:
    shop = Shop()
    shop.sql_answer = models.SqlAnswerModel(
        columns=[models.SqlColumnModel(name=HOSTILE, type="VARCHAR")],
        rows=[[HOSTILE], [{HOSTILE: [HOSTILE]}]], truncated=True, elapsed_ms=1.0, files=1,
    )  # fmt: skip
    async with driven(shop, (80, 24)) as (app, pilot):
        app.open_sql()
        await until(pilot, lambda: isinstance(app.screen, SqlDialog))
        await pilot.press("enter")
        await until(pilot, lambda: "and there are more" in shown(app))
        assert shown(app).replace("\n", "").isprintable()
