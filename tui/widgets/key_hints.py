"""The line at the bottom: the keys that work here and now, as many as fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, cast

from rich.text import Text
from textual import events
from textual.binding import ActiveBinding
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input

from tui.theme import palette


class HintSource(Protocol):
    """A screen, as far as its key hints need it (`tui.screens.base_screen.BaseScreen`)."""

    @property
    def focused(self) -> Widget | None: ...

    @property
    def active_bindings(self) -> dict[str, ActiveBinding]: ...

    @property
    def enter_hint(self) -> str:
        """Name of what Enter does here; empty if nothing."""

    @property
    def escape_hint(self) -> str:
        """Name of what Escape does here; empty if nothing."""

    def offers(self, action: str) -> bool:
        """Return True if the action has something to act on here."""


NAMES = {
    "slash": "/", "question_mark": "?", "left_square_bracket": "[", "right_square_bracket": "]", "escape": "esc",
}  # fmt: skip
LAST_ACTIONS = ("query", "quit", "help")
"""Actions of every screen, in the order in which they appear at the end."""


@dataclass(frozen=True, slots=True)
class KeyHint:
    """A key, what it does, and the key to press when it is clicked."""

    name: str
    about: str
    press: str


class KeyHints(Widget):
    """Shows the key hints. Enter and Escape are named by the screen, all others by their bindings."""

    DEFAULT_CSS = "KeyHints { dock: bottom; height: 1; background: $panel; }"

    def __init__(self) -> None:
        super().__init__()
        self._spans: list[tuple[int, int, str]] = []

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._refresh_hints)

    def _refresh_hints(self, screen: Screen[object]) -> None:
        self.refresh()

    def _here(self) -> Iterator[KeyHint]:
        """Yield the keys in order of importance."""
        page = cast("HintSource", self.screen)
        if isinstance(page.focused, Input):
            yield KeyHint("enter", "Run", "enter")
            yield KeyHint("tab", "Complete", "tab")
            return
        if page.enter_hint:
            yield KeyHint("enter", page.enter_hint, "enter")
        bindings = {
            active.binding.action: active.binding
            for active in page.active_bindings.values()
            if active.binding.show and active.enabled and page.offers(active.binding.action)
        }
        own = [binding for action, binding in bindings.items() if action not in LAST_ACTIONS]
        yield from (
            KeyHint(shown.key_display or NAMES.get(shown.key, shown.key), shown.description, shown.key) for shown in own
        )
        for action in LAST_ACTIONS[:-1]:
            if (shown := bindings.get(action)) is not None:
                yield KeyHint(shown.key_display or shown.key, shown.description, shown.key)

    def _always(self) -> list[KeyHint]:
        """Return the keys at the right end, which are always shown."""
        page = cast("HintSource", self.screen)
        back = "Cancel" if isinstance(page.focused, Input) else page.escape_hint
        return [*([KeyHint("esc", back, "escape")] if back else []), KeyHint("?", "Help", "question_mark")]

    def render(self) -> Text:
        colors, width = palette(self.app.theme), self.size.width
        text = Text(no_wrap=True, overflow="crop")
        self._spans = []
        always = self._always()
        room = width - sum(map(_cells, always))
        for key in self._here():
            if text.cell_len + _cells(key) > room:
                text.append("…"[: max(0, room - text.cell_len)], colors.dim)
                break
            self._put(text, key)
        text.append(" " * max(0, room - text.cell_len))
        for key in always:
            self._put(text, key)
        return text

    def _put(self, text: Text, key: KeyHint) -> None:
        colors, begin = palette(self.app.theme), text.cell_len
        text.append(f" {key.name}", f"bold {colors.accent}")
        text.append(f" {key.about} ", colors.dim)
        self._spans.append((begin, text.cell_len, key.press))

    def on_click(self, event: events.Click) -> None:
        for begin, end, key in self._spans:
            if begin <= event.x < end:
                self.app.simulate_key(key)
                return


def _cells(key: KeyHint) -> int:
    return len(key.name) + len(key.about) + 3
