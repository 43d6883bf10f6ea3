"""The header line: the screens, the current one, and the state of the sidecar."""

from __future__ import annotations

from dataclasses import dataclass

from rich.text import Text
from textual import events
from textual.message import Message
from textual.widget import Widget

from tui.text.sanitize import clean
from tui.theme import palette

PLACES = (
    ("live", "Live"),
    ("flows", "Flows"),
    ("flow", "Flow"),
    ("letters", "Dead letters"),
    ("map", "Map"),
    ("schemas", "Schemas"),
    ("status", "Status"),
    ("sagas", "Sagas"),
    ("lint", "Lint"),
)
"""Screens in the order of their number keys."""
SHORT_NAMES = {"letters": "Letters"}
"""Names in a narrow terminal."""
NARROW_CELLS = 100
UNNUMBERED = {"aggregate": "Aggregate"}
"""Screens without a number key; shown if there is room."""


@dataclass(frozen=True, slots=True)
class ConnectionState:
    """The state of the connection to the sidecar."""

    state: str = "connecting"
    """`connecting`, `connected`, `lost` or `refused`."""
    reason: str = ""
    service: str = ""
    alert: str = ""
    """The sidecar's own problem, in a word."""


class TopBar(Widget):
    """Shows the screens and the connection state. A click on a screen posts `Wanted`."""

    DEFAULT_CSS = "TopBar { dock: top; height: 1; background: $panel; }"

    class Wanted(Message):
        """A screen's name was clicked."""

        def __init__(self, place: str) -> None:
            self.place = place
            super().__init__()

    def __init__(self, here: str) -> None:
        super().__init__()
        self._here = here
        self._spans: list[tuple[int, int, str]] = []
        self.link = ConnectionState()

    def show(self, link: ConnectionState) -> None:
        if link != self.link:
            self.link = link
            self.refresh()

    def render(self) -> Text:
        colors, width = palette(self.app.theme), self.size.width
        text = Text(no_wrap=True, overflow="crop")
        is_narrow = width < NARROW_CELLS
        if width >= 120:
            text.append(" ◆ tracecar ", colors.accent)
        self._spans = []
        for number, (place, name) in enumerate(PLACES, 1):
            begin = text.cell_len
            shown, margin = (SHORT_NAMES.get(place, name), "") if is_narrow else (name, " ")
            if place == self._here:
                text.append(f"{margin}{number} {shown} ", "reverse bold")
            else:
                text.append(f"{margin}{number} ", colors.accent)
                text.append(f"{shown} ", colors.text)
            self._spans.append((begin, text.cell_len, place))
        if self._here in UNNUMBERED and width >= 120:
            text.append(f" {UNNUMBERED[self._here]} ", "reverse bold")
        state = self._state(width - text.cell_len - 1)
        text.append(" " * max(0, width - text.cell_len - state.cell_len - 1))
        text.append_text(state)
        return text

    def _state(self, room: int) -> Text:
        colors, link = palette(self.app.theme), self.link
        if link.state == "connected":
            mark, word, style = "●", clean(link.service, 24), colors.good
            if link.alert:
                mark, word, style = "▲", f"{clean(link.service, 24)} {link.alert}", colors.warn
        elif link.state == "lost":
            mark, word, style = "✗", "disconnected, retrying", f"bold {colors.bad}"
        elif link.state == "refused":
            mark, word, style = "✗", "token refused", f"bold {colors.bad}"
        else:
            mark, word, style = "◌", "connecting", colors.dim
        text = Text(f"{mark} {word}", style)
        if text.cell_len > room:
            text = Text(f"{mark} {word.split(',')[0].split(' ')[-1] if link.state == 'lost' else word}", style)
        if text.cell_len > room:
            text.truncate(max(1, room), overflow="ellipsis")
        return text

    def on_click(self, event: events.Click) -> None:
        for begin, end, place in self._spans:
            if begin <= event.x < end:
                self.post_message(self.Wanted(place))
                return
