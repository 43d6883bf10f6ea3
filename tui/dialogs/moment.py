"""Asks for a moment to jump to."""

from __future__ import annotations

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from tui.widgets.checked_input import CheckedInput


class MomentDialog(ModalScreen[str | None]):
    """Returns the moment as typed, or None."""

    BINDINGS = [Binding("escape", "leave", "Cancel")]

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("Go to a moment", classes="title")
            yield CheckedInput(placeholder="10 minutes ago", max_length=2_000)
            yield Static(Text("\nA time such as 2026-01-31T12:00:00Z, a duration such as 10m, or a position.", "dim"))

    @on(Input.Submitted)
    def _on_submit(self, event: Input.Submitted) -> None:
        if moment := event.value.strip():
            self.dismiss(moment)

    def action_leave(self) -> None:
        self.dismiss(None)
