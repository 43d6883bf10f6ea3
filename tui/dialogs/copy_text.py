"""A choice of texts to copy: ids, the body, a link, a command."""

from __future__ import annotations

import shlex
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
from sidecar.api.models.links import LINK_PLACES, DashboardLink
from tui.text.body_lines import as_text
from tui.text.columns import cut
from tui.text.sanitize import clean
from tui.theme import Palette
from tui.widgets.virtual_list import VirtualList


@dataclass(frozen=True, slots=True)
class CopyChoice:
    """A text that can be copied, and its name."""

    label: str
    text: str


def _draw(choice: CopyChoice, width: int, colors: Palette) -> Text:
    return Text.assemble((f" {choice.label:<16}", colors.dim), (cut(clean(choice.text, 300), width - 19), colors.text))


COMMANDS = {
    "live": "events", "flows": "events", "letters": "dlq list", "schemas": "schemas", "status": "status",
    "sagas": "sagas", "lint": "lint", "flow": "flow", "aggregate": "aggregate",
}  # fmt: skip
"""Commands that print what a screen shows."""
_LINKED_PLACES = {"live": "events", "letters": "dead-letters"}
"""Places of links that are named otherwise than their screens."""
_NEEDS_ID = frozenset({"flow", "aggregate"})


def event_choices(event: models.EventModel, url: str) -> list[CopyChoice]:
    """Return what can be copied of an event: its body and ids, a link to it, and the command that prints it."""
    names = (
        "event_id", "aggregate_id", "trace_id", "correlation_id", "causation_id", "span_id", "position", "key",
        "type", "stream", "producer",
    )  # fmt: skip
    choices = [CopyChoice(name.replace("_", " "), str(value)) for name in names if (value := getattr(event, name))]
    if event.body is not UNSET and event.body is not None:
        choices.insert(0, CopyChoice("body", as_text(event.body)))
    if event.headers is not UNSET and event.headers:
        choices.append(CopyChoice("headers", as_text(event.headers)))
    if event.rejection is not None:
        choices.append(CopyChoice("rejection", f"{event.rejection.code}: {event.rejection.message}"))
    choices.append(CopyChoice("link", f"{url}/{DashboardLink('flow', event.position)}"))
    choices.append(CopyChoice("command", shlex.join(["tracecar", "flow", event.position])))
    return choices


def place_choices(place: str, id: str, url: str) -> list[CopyChoice]:
    """Return the link to a screen with its query or id, and the command that prints the same."""
    choices: list[CopyChoice] = []
    if place in _NEEDS_ID and not id:
        return choices
    linked = _LINKED_PLACES.get(place, place)
    if linked in LINK_PLACES:
        choices.append(CopyChoice("link", f"{url}/{DashboardLink(linked, id)}"))
    if place in COMMANDS:
        query = [id] if id and place not in ("schemas", "status") else []
        choices.append(CopyChoice("command", shlex.join(["tracecar", *COMMANDS[place].split(), *query])))
    return choices


class CopyDialog(ModalScreen[None]):
    """Copies the chosen text to the clipboard."""

    BINDINGS = [Binding("escape,q,y", "dismiss", "Close")]

    def __init__(self, choices: list[CopyChoice]) -> None:
        super().__init__()
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
