"""A choice of ids, or the body, to copy."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import UNSET
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from sidecar.api import models
from tui.text.body_lines import as_text
from tui.text.columns import cut
from tui.text.sanitize import clean
from tui.theme import Palette
from tui.widgets.virtual_list import VirtualList


@dataclass(frozen=True, slots=True)
class _CopyChoice:
    label: str
    text: str


def _draw(choice: _CopyChoice, width: int, colors: Palette) -> Text:
    return Text.assemble((f" {choice.label:<16}", colors.dim), (cut(clean(choice.text, 300), width - 19), colors.text))


class CopyDialog(ModalScreen[None]):
    """Copies the chosen id, the headers or the body of an event to the clipboard."""

    BINDINGS = [Binding("escape,q,y", "dismiss", "Close")]

    def __init__(self, event: models.EventModel) -> None:
        super().__init__()
        names = (
            "event_id", "aggregate_id", "trace_id", "correlation_id", "causation_id", "span_id", "position", "key",
            "type", "stream", "producer",
        )  # fmt: skip
        choices = [_CopyChoice(name.replace("_", " "), str(value)) for name in names if (value := getattr(event, name))]
        if event.body is not UNSET and event.body is not None:
            choices.insert(0, _CopyChoice("body", as_text(event.body)))
        if event.headers is not UNSET and event.headers:
            choices.append(_CopyChoice("headers", as_text(event.headers)))
        if event.rejection is not None:
            choices.append(_CopyChoice("rejection", f"{event.rejection.code}: {event.rejection.message}"))
        self._choices = choices

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("Copy", classes="title")
            yield VirtualList(_draw, lambda choice: choice.label, id="choices")

    def on_mount(self) -> None:
        self.query_one("#choices", VirtualList).show(self._choices)

    @on(VirtualList.Chosen)
    def _chosen(self, event: VirtualList.Chosen) -> None:
        self.app.copy_to_clipboard(event.item.text)
        self.app.notify(f"Copied the {event.item.label}", timeout=2, markup=False)
        self.dismiss(None)
