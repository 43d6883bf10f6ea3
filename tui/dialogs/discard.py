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


class DiscardDialog(ModalScreen[str | None]):
    """Returns the reason, or None to discard nothing."""

    BINDINGS = [Binding("escape", "leave", "Leave them")]

    def __init__(self, what: str) -> None:
        super().__init__()
        self._what = what

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Text(f"Discard {clean(self._what, 200)}?"), classes="title")
            yield Static("They are set aside and not deleted; u restores them. The reason is kept with your name.")
            yield Input(placeholder="why, such as: test data of 3 May", max_length=500)
            yield Static(Text("\nenter discards · esc leaves them", "dim"))

    @on(Input.Submitted)
    def _on_submit(self, event: Input.Submitted) -> None:
        if reason := event.value.strip():
            self.dismiss(reason)

    def action_leave(self) -> None:
        self.dismiss(None)
