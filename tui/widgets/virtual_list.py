"""A list that draws only visible rows: 100,000 rows cost as much as forty.

The selection stays on its row while rows come and go around it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.theme import Palette, palette

T = TypeVar("T")

Draw = Callable[[T, int, Palette], Text]
"""Draws a row as one line of a width in cells."""


class VirtualList(ScrollView, Generic[T], can_focus=True):
    """A virtual list. While `follow` is on, the cursor stays on the newest row, which is the last.

    Args:
        key: Returns a row's identity.
        draw: Draws a row.
        title: Draws the line above the rows.
        stops: Returns True if the cursor may be on a row.
    """

    BINDINGS = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup,ctrl+u,ctrl+b", "page(-1)", "Page up", show=False),
        Binding("pagedown,ctrl+d,ctrl+f", "page(1)", "Page down", show=False),
        Binding("home,g", "first", "First", show=False),
        Binding("end,G", "last", "Last", show=False),
        Binding("enter,l,right", "choose", "Open", show=False),
    ]
    DEFAULT_CSS = """
    VirtualList { background: transparent; scrollbar-size-vertical: 1; scrollbar-size-horizontal: 0; overflow-x:
    hidden; }
    """

    cursor: reactive[int] = reactive(0, repaint=False)
    follow: reactive[bool] = reactive(False, repaint=False)

    class Moved(Message):
        """The cursor moved to another row."""

        def __init__(self, rows: VirtualList[Any], item: Any) -> None:
            self.rows, self.item = rows, item
            super().__init__()

        @property
        def control(self) -> VirtualList[Any]:
            return self.rows

    class Chosen(Message):
        """Enter was pressed, or the row under the cursor was clicked."""

        def __init__(self, rows: VirtualList[Any], item: Any) -> None:
            self.rows, self.item = rows, item
            super().__init__()

        @property
        def control(self) -> VirtualList[Any]:
            return self.rows

    def __init__(
        self,
        draw: Draw[T],
        key: Callable[[T], str],
        *,
        title: Callable[[int, Palette], Text] | None = None,
        stops: Callable[[T], bool] | None = None,
        empty: str = "",
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self._draw, self._key, self._title, self._stops = draw, key, title, stops
        self.empty = empty
        """Text shown while there are no rows: what to do about it."""
        self._waiting = ""
        self.items: Sequence[T] = ()
        self.chosen_key: str | None = None
        self.marked: set[str] = set()
        """Keys of marked rows."""
        self._drawn: dict[tuple[str, int, bool, bool], Strip] = {}
        self.keeps_up = False
        """True if the list follows the newest row once the cursor is put on it, until it is put on another."""

    # --- data

    def show(self, items: Sequence[T], *, at: str | None = None) -> None:
        """Replace the rows.

        The cursor stays on its row, or goes to the one with the key `at`; if that row is gone, it keeps its index.
        """
        wanted = self.chosen_key if at is None else at
        before, stood = len(self.items), self.cursor
        self.items = items
        self._drawn.clear()
        head = self._head
        self.virtual_size = Size(self.size.width, len(items) + head)
        if self.follow and at is None:
            index = len(items) - 1
        else:
            index = self._index(wanted, stood)
        index = self._standing(max(0, min(index, len(items) - 1)))
        moved = index - stood
        self.set_reactive(VirtualList.cursor, index)
        self._remember()
        if self.follow or at is not None:
            self._reveal()
        elif moved and before:
            self.scroll(max(0, self.scroll_offset.y + moved))
        self.refresh()
        if (self.chosen_key != wanted) or before == 0:
            self.post_message(self.Moved(self, self.item))

    def _index(self, wanted: str | None, near: int) -> int:
        """Return the index of the row with this key. Nearby rows are searched first."""
        items, key = self.items, self._key
        if wanted is None:
            return 0
        if near < len(items) and key(items[near]) == wanted:
            return near
        for index, item in enumerate(items):
            if key(item) == wanted:
                return index
        return near

    @property
    def item(self) -> T | None:
        """The row under the cursor."""
        return self.items[self.cursor] if 0 <= self.cursor < len(self.items) else None

    def key_of(self, item: T) -> str:
        return self._key(item)

    def wait(self, words: str) -> None:
        """Show this text while there are no rows, instead of the usual one; empty: the usual one again."""
        if words != self._waiting:
            self._waiting = words
            self.refresh()

    def redraw(self) -> None:
        """Redraw the same rows."""
        self._drawn.clear()
        self.refresh()

    @property
    def visible_items(self) -> Sequence[T]:
        """Return the visible rows."""
        top = self.scroll_offset.y
        return self.items[top : top + max(0, self.size.height - self._head)]

    @property
    def full_height(self) -> int:
        """Number of lines that show all rows, with the title."""
        return len(self.items) + self._head

    # --- moving

    def action_move(self, by: int) -> None:
        index = self.cursor + by
        if self._stops is not None and self._stop(index, by) is None:  # rows beyond it are visible but cannot be chosen
            self.scroll(max(0, min(self.scroll_offset.y + by, self.max_scroll_y)))
            return
        self._go(index)

    def _stop(self, index: int, by: int) -> int | None:
        """Return the first row from `index` on, in the direction of `by`, that the cursor may be on."""
        stops, step = self._stops, 1 if by > 0 else -1
        while 0 <= index < len(self.items):
            if stops is None or stops(self.items[index]):
                return index
            index += step
        return None

    def _standing(self, index: int) -> int:
        """Return a nearby row that the cursor may be on."""
        if self._stops is None:
            return index
        way = 1 if index >= self.cursor else -1
        index_found = self._stop(index, way)
        index_found = self._stop(index, -way) if index_found is None else index_found
        return index if index_found is None else index_found

    def action_page(self, by: int) -> None:
        self._go(self.cursor + by * max(1, self.size.height - self._head - 1))

    def action_first(self) -> None:
        self._go(0)

    def action_last(self) -> None:
        self._go(len(self.items) - 1)

    def action_choose(self) -> None:
        if (item := self.item) is not None:
            self.post_message(self.Chosen(self, item))

    def select(self, key: str) -> bool:
        """Put the cursor on the row with this key. Returns False if there is none."""
        for index, item in enumerate(self.items):
            if self._key(item) == key:
                self._go(index)
                return True
        return False

    def _go(self, index: int) -> None:
        index = max(0, min(index, len(self.items) - 1))
        if not self.items or index == self.cursor or (index := self._standing(index)) == self.cursor:
            return
        self.cursor = index
        if self.keeps_up:
            self.follow = index == len(self.items) - 1
        self._remember()
        self._reveal()
        self.refresh()
        self.post_message(self.Moved(self, self.item))

    def _remember(self) -> None:
        item = self.item
        self.chosen_key = None if item is None else self._key(item)

    def _reveal(self) -> None:
        height = max(1, self.size.height - self._head)
        top = self.scroll_offset.y
        if self.cursor < top:
            top = 0 if self._stops is not None and self._stop(self.cursor - 1, -1) is None else self.cursor
        elif self.cursor >= top + height:
            top = self.cursor - height + 1
        self.scroll(top)

    def scroll(self, y: int) -> None:
        """Scroll row `y` to the top, also before the scrollbar of newly arrived rows exists."""
        self.scroll_to(y=y, animate=False, immediate=True, force=True)

    def on_click(self, event: events.Click) -> None:
        index = event.y - self._head + self.scroll_offset.y
        if event.y < self._head or not 0 <= index < len(self.items):
            return
        event.stop()
        if index == self.cursor:
            self.action_choose()
        else:
            self._go(index)

    # --- drawing

    @property
    def _head(self) -> int:
        return 1 if self._title is not None else 0

    def watch_has_focus(self, focused: bool) -> None:
        super().watch_has_focus(focused)
        self.redraw()

    def on_resize(self) -> None:
        self._drawn.clear()
        self.virtual_size = Size(self.size.width, len(self.items) + self._head)
        self._reveal()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._drawn.clear()

    def render_line(self, y: int) -> Strip:
        width, colors = self.size.width, palette(self.app.theme)
        if y < self._head:
            assert self._title is not None
            return self._strip(self._title(width, colors), width, colors.head)
        index = y - self._head + self.scroll_offset.y
        if not self.items:
            return self._nothing(y, width, colors)
        if index >= len(self.items):
            return Strip.blank(width, self.rich_style)
        item = self.items[index]
        key, here = self._key(item), index == self.cursor
        cached = self._drawn.get((key, width, here, self.has_focus))
        if cached is not None:
            return cached
        over = (colors.cursor if self.has_focus else colors.idle) if here else ""
        text = self._draw(item, width, colors)
        if key in self.marked:
            text = Text.assemble(("▌", colors.accent), text[1:])
        strip = self._strip(text, width, "", over)
        self._drawn[key, width, here, self.has_focus] = strip
        return strip

    def _nothing(self, y: int, width: int, colors: Palette) -> Strip:
        lines = (self._waiting or self.empty).split("\n")
        at = y - max(self._head, (self.size.height - len(lines)) // 2)
        if not 0 <= at < len(lines):
            return Strip.blank(width, self.rich_style)
        text = Text(lines[at], colors.strong if at == 0 else colors.dim)
        text.truncate(max(1, width - 2), overflow="ellipsis")
        text.pad_left(max(1, (width - text.cell_len) // 2))
        return self._strip(text, width, "")

    def _strip(self, text: Text, width: int, under: str, over: str = "") -> Strip:
        below = self.rich_style + Style.parse(under)
        if not text.spans and text.style:  # Rich leaves the style of the text itself to the printer
            below += text.style if isinstance(text.style, Style) else Style.parse(text.style)
        segments = [Segment(piece.text, piece.style) for piece in text.render(self.app.console)]
        strip = Strip(segments).adjust_cell_length(width).apply_style(below)
        if over:
            cursor = Style.parse(over)
            strip = Strip([_under(segment, cursor, below) for segment in strip], strip.cell_length)
        return strip

    def row_region(self, index: int) -> Region:
        """Return where a row is drawn, for tests."""
        return Region(0, index - self.scroll_offset.y + self._head, self.size.width, 1)


def _under(segment: Segment, cursor: Style, below: Style) -> Segment:
    """Return a segment of the row under the cursor. A segment with its own background keeps it."""
    style = segment.style or Style()
    return segment if style.bgcolor not in (None, below.bgcolor) else Segment(segment.text, style + cursor)
