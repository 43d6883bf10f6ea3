"""SQL over the history: a statement, and its rows."""

from __future__ import annotations

from typing import Any, NamedTuple

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from sidecar.api import models
from sidecar.api.client.client import Client, ClientError
from tui.background import begin
from tui.text.columns import Column, titles
from tui.text.sanitize import clean
from tui.text.sql_rows import build_columns, row_line
from tui.text.time_format import count
from tui.theme import Palette, palette
from tui.widgets.checked_input import CheckedInput
from tui.widgets.virtual_list import VirtualList

MAX_SHOWN_ROWS = 1_000
EXAMPLE = "SELECT type, status, count(*) AS events FROM events GROUP BY ALL ORDER BY events DESC"


class SqlRow(NamedTuple):
    """A row and its number."""

    number: int
    values: list[Any]


class SqlDialog(ModalScreen[str]):
    """Runs statements over `events`, `bodies`, `dead_letters` and `flows`. Returns the statement as it was left."""

    BINDINGS = [Binding("escape", "leave", "Close")]

    def __init__(self, client: Client, statement: str = "") -> None:
        super().__init__()
        self._client, self._statement = client, statement or EXAMPLE
        self._columns: list[Column] = []

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("SQL over the history: events, bodies, dead_letters, flows", classes="title")
            yield CheckedInput(self._statement, id="statement", max_length=20_000)
            rows: VirtualList[SqlRow] = VirtualList(
                self._draw,
                lambda row: str(row.number),
                title=self._title,
                empty="Enter runs the statement.\n",
                id="sql-rows",
            )
            yield rows
            yield Static(id="sql-note")

    def _draw(self, row: SqlRow, width: int, colors: Palette) -> Text:
        return row_line(self._columns, row.values, width, colors)

    def _title(self, width: int, colors: Palette) -> Text:
        return titles(self._columns, width, colors) if self._columns else Text("")

    def action_leave(self) -> None:
        self.dismiss(self.query_one(Input).value)

    @on(Input.Submitted)
    def _on_submit(self, event: Input.Submitted) -> None:
        if statement := event.value.strip():
            self.query_one("#sql-note", Static).update(Text("Running …", palette(self.app.theme).dim))
            begin(self, self._run, statement, group="sql", exclusive=True)

    async def _run(self, statement: str) -> None:
        note, colors = self.query_one("#sql-note", Static), palette(self.app.theme)
        try:
            answer = await self._client.sql(models.SqlRequestModel(statement=statement, limit=MAX_SHOWN_ROWS))
        except ClientError as error:
            note.update(Text(clean(error, 600), colors.bad))
            return
        self._columns = build_columns(answer)
        rows = self.query_one("#sql-rows", VirtualList)
        rows.empty = "No rows\n"
        rows.show([SqlRow(number, row) for number, row in enumerate(answer.rows)])
        more = ", and there are more" if answer.truncated else ""
        noun = "row" if len(answer.rows) == 1 else "rows"
        summary = f"{count(len(answer.rows))} {noun}{more} in {answer.elapsed_ms:.0f} ms from {answer.files} files"
        note.update(Text(summary, colors.dim))
