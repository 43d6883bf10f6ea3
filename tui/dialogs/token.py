"""Asks for the sidecar's token."""

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


class TokenDialog(ModalScreen[str | None]):
    """Returns the token as typed, or None."""

    BINDINGS = [Binding("escape", "leave", "Cancel")]

    def __init__(self, why: str, url: str) -> None:
        super().__init__()
        self._why, self._url = why, url

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("Token required", classes="title")
            yield Static(Text(clean(self._why, 600)))
            yield CheckedInput(placeholder=f"token of {clean(self._url, 200)}", password=True, max_length=4_096)
            yield Static(Text("\nIt is in the sidecar's configuration (api.token) or in its token file.", "dim"))

    @on(Input.Submitted)
    def _on_submit(self, event: Input.Submitted) -> None:
        if token := event.value.strip():
            self.dismiss(token)

    def action_leave(self) -> None:
        self.dismiss(None)
