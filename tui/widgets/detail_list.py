"""The foldable detail lines of one event or dead letter."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import UNSET
from rich.text import Text
from textual.binding import Binding
from textual.message import Message

from tui.text.body_lines import as_text
from tui.text.columns import cut
from tui.text.detail_line import DetailLine, FoldState
from tui.text.names import cut_middle
from tui.text.sanitize import clean
from tui.theme import Palette
from tui.widgets.virtual_list import VirtualList

_LABEL_CELLS = 14
_IDENTIFIERS = ("about.", "origin.", "readers.")
"""Keys of lines with ids and names, which differ at both ends."""
Build = Callable[[FoldState, int], list[DetailLine]]
"""Builds the lines, for a fold state and a width."""


def draw(fact: DetailLine, width: int, colors: Palette) -> Text:
    if fact.kind == "head":
        text = Text.assemble((f" {'▾' if fact.fold == 'open' else '▸'} {clean(fact.label)} ", f"bold {colors.info}"))
        rest = width - text.cell_len - 1
        if fact.value:
            text.append(f"{clean(fact.value)} ", colors.dim)
            rest = width - text.cell_len - 1
        text.append("─" * max(0, rest), colors.line)
        return text
    text = Text("  " * max(0, fact.depth - 1) + " ")
    if fact.fold:
        text.append("▾ " if fact.fold == "open" else "▸ ", colors.line)
    elif fact.kind != "bad" or fact.label == "" or fact.marked:
        text.append("  ")
    label = clean(fact.label, 200)
    body = fact.key.startswith("body:")
    if label:
        if fact.kind == "bad" and not fact.marked:
            text.append(label, f"bold {colors.bad}")
        elif body:
            text.append(label, colors.marked if fact.marked else colors.text)
            text.append(" " if fact.fold else ": ", colors.dim)
        else:
            text.append(f"{cut_middle(label, 34):<{_LABEL_CELLS}} ", colors.dim)
    room = max(1, width - text.cell_len - (13 if fact.marked else 1))
    shorten = cut_middle if fact.key.startswith(_IDENTIFIERS) and " " not in fact.value else cut
    value = shorten(clean(fact.value), room)
    style = {
        "string": colors.good, "number": colors.accent, "word": colors.info, "key": colors.dim, "bad": colors.bad,
        "good": colors.good, "warn": colors.warn, "do": colors.info, "dim": colors.dim, "hex": colors.text,
    }.get(fact.kind, colors.text)  # fmt: skip
    text.append(value, colors.marked if fact.marked else f"underline {style}" if fact.go else style)
    if fact.marked:
        text.append("  ◀ ✗ here", f"bold {colors.bad}")
    return text


class DetailList(VirtualList[DetailLine]):
    """A list of detail lines. `build` is called whenever a line is folded or the width changes."""

    BINDINGS = [
        Binding("space", "fold", "Fold", show=False),
        Binding("left,h", "close_fold", "Close", show=False),
        Binding("y", "copy", "Copy", show=True),
    ]

    class Led(Message):
        """Enter was pressed on a line that leads somewhere, such as `aggregate:order-1`."""

        def __init__(self, to: str) -> None:
            self.to = to
            super().__init__()

    def __init__(self, *, empty: str = "", id: str | None = None, classes: str | None = None) -> None:
        super().__init__(draw, lambda fact: fact.key, empty=empty, id=id, classes=classes)
        self.folds = FoldState()
        self._build: Build | None = None
        self._subject = ""
        self._touched = False
        """True once the cursor was moved by hand. Until then it is on the failing line, else on the first."""

    def fill(self, subject: str, build: Build | None) -> None:
        """Show the lines of `subject`. Another subject is shown from its beginning."""
        self._build = build
        if subject != self._subject:
            self._subject, self.folds, self._touched = subject, FoldState(), False
            self.scroll(0)
        self._show_lines()

    def wait(self, words: str) -> None:
        """Show an empty list; the list beside it explains why."""

    def _show_lines(self) -> None:
        lines = self._lines()
        if self._touched or not lines:
            self.show(lines)
            return
        self.show(lines, at=next((line.key for line in lines if line.marked), lines[0].key))
        height = max(1, self.size.height)
        self.scroll(0 if self.cursor < height - 1 else self.cursor - height // 2)

    def _go(self, index: int) -> None:
        self._touched = True
        super()._go(index)

    def on_mouse_scroll_down(self) -> None:
        self._touched = True

    def on_mouse_scroll_up(self) -> None:
        self._touched = True

    def _lines(self) -> list[DetailLine]:
        return [] if self._build is None else self._build(self.folds, max(20, self.size.width or 60))

    def on_resize(self) -> None:
        super().on_resize()
        if self._build is not None:
            self._show_lines()

    @property
    def enter_hint(self) -> str:
        """Name of what Enter does on the line under the cursor; empty if nothing."""
        fact = self.item
        if fact is None:
            return ""
        return "Open" if fact.go else {"open": "Fold", "closed": "Unfold"}.get(fact.fold, "")

    def action_choose(self) -> None:
        fact = self.item
        if fact is None:
            return
        if fact.go:
            self.post_message(self.Led(fact.go))
        elif fact.fold:
            self.action_fold()

    def action_fold(self) -> None:
        if (fact := self.item) is not None and fact.fold:
            self._put(fact, fact.fold == "closed")

    def action_close_fold(self) -> None:
        """Fold the container under the cursor, else the one around it."""
        fact = self.item
        if fact is None:
            return
        if fact.fold == "open":
            self._put(fact, False)
            return
        for at in range(self.cursor - 1, -1, -1):
            if self.items[at].depth < fact.depth and self.items[at].fold:
                self._go(at)
                return

    def _put(self, fact: DetailLine, is_open: bool) -> None:
        self.folds.put(fact.key, is_open)
        self.show(self._lines())

    def action_copy(self) -> None:
        if (fact := self.item) is not None:
            value = fact.value if fact.copy is UNSET else fact.copy
            text = as_text(value)
            self.app.copy_to_clipboard(text)
            what = clean(fact.label or fact.value, 40)
            self.app.notify(f"Copied {what}: {len(text):,} characters", timeout=2, markup=False)
