"""Asks for the stream to send to."""

from __future__ import annotations

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from tui.widgets.checked_input import CheckedInput


class StreamNameDialog(ModalScreen[str | None]):
    """Returns the name of a stream as typed, or None."""

    BINDINGS = [Binding("escape", "leave", "Cancel")]

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("Send to another stream", classes="title")
            yield CheckedInput(placeholder="name of the stream", max_length=500)
            yield Static(Text("\nThe dry run shows who would receive it there. enter continues · esc cancels", "dim"))

    @on(Input.Submitted)
    def _on_submit(self, event: Input.Submitted) -> None:
        if name := event.value.strip():
            self.dismiss(name)

    def action_leave(self) -> None:
        self.dismiss(None)
