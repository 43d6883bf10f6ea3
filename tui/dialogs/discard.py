"""Asks for the reason to discard dead letters."""

from __future__ import annotations

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from tui.text.sanitize import clean
from tui.widgets.checked_input import CheckedInput


class DiscardDialog(ModalScreen[str | None]):
    """Returns the reason, or None to discard nothing."""

    BINDINGS = [Binding("escape", "leave", "Cancel")]

    def __init__(self, what: str) -> None:
        super().__init__()
        self._what = what

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Text(f"Discard {clean(self._what, 200)}?"), classes="title")
            yield Static("Discarded letters are not deleted; u restores them. The reason is stored with your name.")
            yield CheckedInput(placeholder="reason, for example: test data of May 3", max_length=500)
            yield Static(Text("\nenter discards · esc cancels", "dim"))

    @on(Input.Submitted)
    def _on_submit(self, event: Input.Submitted) -> None:
        if reason := event.value.strip():
            self.dismiss(reason)

    def action_leave(self) -> None:
        self.dismiss(None)
