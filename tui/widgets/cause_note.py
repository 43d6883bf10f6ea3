"""A note below the list of causes: the full message of the selected cause, and what to do about it."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import Static

from sidecar.api import models
from tui.text import time_format
from tui.text.advice import advice
from tui.text.columns import wrap
from tui.text.sanitize import clean
from tui.text.time_format import age, count
from tui.theme import palette

MAX_MESSAGE_LINES = 3
"""Most lines of the message."""


class CauseNote(Static):
    """The note; hidden if there is no cause."""

    DEFAULT_CSS = "CauseNote { height: auto; max-height: 8; border-top: solid $panel; }"

    def __init__(self) -> None:
        super().__init__()
        self._cause: models.CauseModel | None = None

    def show(self, cause: models.CauseModel | None) -> None:
        self._cause = cause
        self.display = cause is not None
        if cause is not None:
            self.update(self._text(cause))

    def on_resize(self) -> None:
        if self._cause is not None:
            self.update(self._text(self._cause))

    def _text(self, cause: models.CauseModel) -> Text:
        colors, width, now = (
            palette(self.app.theme),
            max(20, (self.size.width or self.app.size.width) - 4),
            time_format.now(),
        )
        text = Text()

        def line(piece: str, style: str) -> None:
            text.append(f" {piece}\n", style)

        where = f"{cause.path}: " if cause.path and cause.path not in cause.message else ""
        for piece in wrap(clean(f"{cause.code}  {where}{cause.message}", 600), width, MAX_MESSAGE_LINES):
            line(piece, colors.bad if cause.states.get("open") else colors.text)
        some = ", ".join(cause.some_aggregates[:3]) + (" …" if cause.aggregates > 3 else "")
        parts = [
            f"first {age(cause.first_seen, now)} ago, last {age(cause.last_seen, now)} ago",
            f"affects {some}" if some else "",
            f"of {', '.join(cause.groups)}" if cause.groups else "",
            ", ".join(f"{count(number)} {state}" for state, number in cause.states.items()),
        ]
        for piece in wrap(clean("  ·  ".join(part for part in parts if part), 600), width, 2):
            line(piece, colors.dim)
        waiting = "open" if cause.states.get("open") else next(iter(cause.states), "open")
        for piece in wrap(f"→ {advice(cause.code, waiting)}", width, 2):
            line(piece, colors.info)
        text.rstrip()
        return text
