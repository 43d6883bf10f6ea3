"""A choice of one consumer group."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.text.names import cut_middle
from tui.text.sanitize import clean
from tui.theme import Palette
from tui.widgets.virtual_list import VirtualList


def _draw(group: str, width: int, colors: Palette) -> Text:
    return Text(f" {cut_middle(clean(group, 300), max(1, width - 2))}", colors.text)


class ChooseGroupDialog(ModalScreen[str | None]):
    """Returns the chosen group, or None."""

    BINDINGS = [Binding("escape,q", "leave", "Cancel")]

    def __init__(self, groups: Sequence[str]) -> None:
        super().__init__()
        self._groups = groups

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("Send to one group", classes="title")
            yield VirtualList(_draw, lambda group: group, id="groups")
            yield Static(Text("\nenter chooses · esc cancels", "dim"))

    def on_mount(self) -> None:
        self.query_one("#groups", VirtualList).show(self._groups)

    @on(VirtualList.Chosen)
    def _chosen(self, event: VirtualList.Chosen) -> None:
        self.dismiss(event.item)

    def action_leave(self) -> None:
        self.dismiss(None)
