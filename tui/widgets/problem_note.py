"""A note below the status: the full text of the selected problem, and what to do about it."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import Static

from tui.text.columns import wrap
from tui.text.sanitize import clean
from tui.text.status_lines import StatusLine
from tui.theme import palette

MAX_NOTE_LINES = 4


class ProblemNote(Static):
    """The note; hidden while no problem is selected."""

    DEFAULT_CSS = "ProblemNote { height: auto; max-height: 8; border-top: solid $panel; }"

    def __init__(self) -> None:
        super().__init__()
        self._entry: StatusLine | None = None

    def show(self, entry: StatusLine | None) -> None:
        self._entry = entry if entry is not None and entry.about else None
        self.display = self._entry is not None
        if self._entry is not None:
            self.update(self._text(self._entry))

    def on_resize(self) -> None:
        if self._entry is not None:
            self.update(self._text(self._entry))

    def _text(self, entry: StatusLine) -> Text:
        colors, width = palette(self.app.theme), max(20, (self.size.width or self.app.size.width) - 4)
        text = Text()
        style = colors.bad if entry.kind == "bad" else colors.warn
        for piece in wrap(clean(entry.cells[0], 600), width, MAX_NOTE_LINES):
            text.append(f" {piece}\n", style)
        for piece in wrap(f"→ {entry.about}", width, MAX_NOTE_LINES):
            text.append(f" {piece}\n", colors.info)
        text.rstrip()
        return text
