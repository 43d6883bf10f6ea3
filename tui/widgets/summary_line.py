"""The line below the header: the active filter as a chip that can be removed, then the screen's summary."""

from __future__ import annotations

from rich.cells import cell_len
from rich.text import Text
from textual import events
from textual.message import Message
from textual.widget import Widget

from tui.text.columns import cut
from tui.text.sanitize import clean
from tui.theme import palette

MIN_CHIP_CELLS = 16
"""Width that a chip may always take."""


class SummaryLine(Widget):
    """Shows the filter first, so that it is visible in any width. A click on its ✕ posts `FilterCleared`."""

    DEFAULT_CSS = "SummaryLine { height: 1; background: $surface; }"

    class FilterCleared(Message):
        """The ✕ of the chip was clicked."""

    class FilterOpened(Message):
        """The text of the chip was clicked."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._filter, self._summary = "", Text()
        self._chip_cells = 0

    def show(self, filter: str, summary: Text) -> None:
        """Show a filter, or none if it is empty, and a summary."""
        self._filter, self._summary = filter, summary
        self.refresh()

    def render(self) -> Text:
        width, colors = self.size.width, palette(self.app.theme)
        text = Text(no_wrap=True, overflow="crop")
        self._chip_cells = 0
        if self._filter:
            room = max(MIN_CHIP_CELLS, width // 2) - cell_len("⌕   ✕ ")
            text.append(f" ⌕ {cut(clean(self._filter, 400), room)} ✕ ", f"reverse {colors.accent}")
            self._chip_cells = text.cell_len
        summary = self._summary.copy()
        summary.truncate(max(1, width - text.cell_len), overflow="ellipsis")
        return text.append_text(summary)

    def on_click(self, event: events.Click) -> None:
        if event.x >= self._chip_cells:
            return
        event.stop()
        self.post_message(self.FilterCleared() if event.x >= self._chip_cells - 3 else self.FilterOpened())
