"""Help for a screen: its keys, and the meaning of its marks."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from tui.theme import MARKS, palette, tone
from tui.widgets.key_hints import NAMES

_GENERAL = (
    ("1 … 9", "show a screen whole, without a filter"),
    ("↑ ↓ j k", "move; g and G to the ends; ctrl+u and ctrl+d by pages"),
    ("enter l", "open the selected row"),
    ("esc", "clear the filter, else go up, else back"),
    ("tab", "switch to the other pane"),
    ("Y", "copy what is shown as a link or as a tracecar command"),
    ("< >", "resize the panes"),
    ("/", "query: field:value, -not, OR, ( ), type:Order*, body.data.total:>100, since:15m"),
    ("ctrl+p", "command palette"),
    ("ctrl+t", "next theme: dark, light, high contrast"),
)


class HelpDialog(ModalScreen[None]):
    """Shows the keys of a screen, the keys of every screen, and the meaning of the marks."""

    BINDINGS = [
        Binding("escape,question_mark,q,enter", "dismiss", "Close"),
        Binding("j", "scroll(1)", "Down"),
        Binding("k", "scroll(-1)", "Up"),
        Binding("g", "scroll(-1000)", "First"),
        Binding("G", "scroll(1000)", "Last"),
        Binding("space,ctrl+d,ctrl+f", "scroll(12)", "Page down"),
        Binding("ctrl+u,ctrl+b", "scroll(-12)", "Page up"),
    ]

    def __init__(self, page: Screen[None], about: str) -> None:
        super().__init__()
        self._page, self._about = page, about

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog") as dialog:
            dialog.border_subtitle = "j k scroll · esc closes"
            yield Static(self._text())

    def action_scroll(self, by: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=by, animate=False)

    def _text(self) -> Table:
        colors = palette(self.app.theme)
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True, style=colors.accent)
        table.add_column()
        table.add_row(Text("here", f"bold {colors.info}"), Text(self._about))
        for binding in self._page.active_bindings.values():
            if binding.node is self._page and binding.binding.description and binding.binding.key not in _SHARED:
                key = binding.binding.key_display or NAMES.get(binding.binding.key, binding.binding.key)
                table.add_row(key, Text(binding.binding.description))
        table.add_row()
        table.add_row(Text("everywhere", f"bold {colors.info}"), "")
        for key, about in _GENERAL:
            table.add_row(key, Text(about))
        table.add_row()
        marks = Text()
        for name, mark in MARKS.items():
            marks.append(f"{mark}\u00a0", tone(name, colors))
            marks.append(f"{name}   ".replace(" ", "\u00a0").replace("\u00a0\u00a0\u00a0", "   "))
        table.add_row(Text("marks", f"bold {colors.info}"), marks)
        return table


_SHARED = frozenset({"slash", "escape", "backspace", "tab", "shift+tab", "ctrl+c", "super+c"})
