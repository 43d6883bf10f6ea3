"""Lines made of columns that fit the available width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from tui.theme import Palette

COLUMN_GAP_CELLS = 2


@dataclass(frozen=True, slots=True)
class Column:
    """A column of at least `least` cells and at most `most`.

    Columns with a higher `rank` are dropped first when space is short.
    """

    name: str
    title: str
    least: int
    most: int
    rank: int = 0
    right: bool = False


def fit(columns: Sequence[Column], width: int) -> dict[str, int]:
    """Return the widths of the visible columns, in cells. Together with their gaps they are at most `width`."""
    shown = list(columns)
    while len(shown) > 1 and sum(c.least for c in shown) + COLUMN_GAP_CELLS * (len(shown) - 1) > width:
        shown.remove(max(shown, key=lambda c: c.rank))
    widths = {column.name: column.least for column in shown}
    room = width - sum(widths.values()) - COLUMN_GAP_CELLS * (len(shown) - 1)
    growing = [column for column in shown if column.most > column.least]
    while room > 0 and growing:
        share = max(1, room // len(growing))
        for column in list(growing):
            more = min(share, room, column.most - widths[column.name])
            widths[column.name] += more
            room -= more
            if widths[column.name] >= column.most:
                growing.remove(column)
    return widths


def titles(columns: Sequence[Column], width: int, colors: Palette) -> Text:
    widths = fit(columns, width - 2)
    cells = {column.name: Text(column.title, colors.head) for column in columns}
    return line(columns, cells, widths)


def line(columns: Sequence[Column], cells: dict[str, Text], widths: dict[str, int]) -> Text:
    """Join cells into a line, each cut or padded to its column, with one cell of margin."""
    text = Text(" ")
    first = True
    for column in columns:
        if column.name not in widths:
            continue
        if not first:
            text.append(" " * COLUMN_GAP_CELLS)
        first = False
        text.append_text(fit_exactly(cells.get(column.name, _NOTHING), widths[column.name], right=column.right))
    return text


_NOTHING = Text("")


def fit_exactly(text: Text, width: int, *, right: bool = False) -> Text:
    """Cut or pad a text to exactly `width` cells."""
    length = text.cell_len
    if length > width:
        cut = text.copy()
        cut.truncate(width, overflow="ellipsis")
        if cut.cell_len < width:
            cut.append(" " * (width - cut.cell_len))
        return cut
    if length == width:
        return text
    filled = Text(" " * (width - length)) if right else text.copy()
    if right:
        filled.append_text(text)
    else:
        filled.append(" " * (width - length))
    return filled


def cut(text: str, width: int) -> str:
    """Cut a text to at most `width` cells."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(0, width - 1)).rstrip() + "…"


def wrap(text: str, width: int, most: int = 12) -> list[str]:
    """Wrap a text into lines of at most `width` cells, up to a number of lines."""
    lines: list[str] = []
    current = ""
    for word in text.split(" "):
        while cell_len(word) > width:
            if current:
                lines.append(current)
                current = ""
            piece = set_cell_size(word, width).rstrip()
            lines.append(piece)
            word = word[len(piece) :]
            if len(lines) > most:
                return [*lines[:most], "…"]
        if not current:
            current = word
        elif cell_len(current) + 1 + cell_len(word) <= width:
            current += f" {word}"
        else:
            lines.append(current)
            current = word
    lines.append(current)
    return lines if len(lines) <= most else [*lines[:most], "…"]
