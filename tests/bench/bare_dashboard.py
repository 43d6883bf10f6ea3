"""The least that a dashboard with Textual can be: a table of events, and a line that each key changes.

Its start and its paints are the units of what `tracecar tui` takes on the same machine at the same time."""

from __future__ import annotations

from textual.app import App, ComposeResult
from textual.events import Key
from textual.widgets import DataTable, Static

ROWS = 40
PAINTED = "pressed"


class BareDashboard(App[None]):
    """Paints a screen of rows, and the number of keys that were pressed."""

    keys = 0

    def compose(self) -> ComposeResult:
        yield Static("ready", id="line")
        yield DataTable()

    def on_mount(self) -> None:
        table = self.query_one(DataTable)
        table.add_columns("time", "type", "id", "aggregate")
        self.fill()
        self.set_interval(0.25, self.fill)

    def fill(self) -> None:
        table = self.query_one(DataTable)
        table.clear()
        for number in range(ROWS):
            table.add_row("12:00:00", "OrderPlaced", f"event-{number}-{self.keys}", f"order-{number}")

    def on_key(self, event: Key) -> None:
        self.keys += 1
        self.fill()
        self.query_one("#line", Static).update(f"{PAINTED} {self.keys} times")


if __name__ == "__main__":
    BareDashboard().run()
