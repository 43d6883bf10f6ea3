"""Lines made of columns that fit the available width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from tui.text.names import NameWidths
from tui.theme import Palette

COLUMN_GAP_CELLS = 2


@dataclass(frozen=True, slots=True)
class Column:
    """A column of at least `least` cells and at most `most`.

    Columns with a higher `rank` are dropped first when space is short. For a column of names, `fit` gets their widths.
    """

    name: str
    title: str
    least: int
    most: int
    rank: int = 0
    right: bool = False


MAX_NAME_LEAST_CELLS = 30
"""Most cells that names may take at the cost of other columns."""
TEXT_CELLS = 40
"""Cells that a column of free text gets before names are shown in full."""
Needs = Mapping[str, NameWidths]
"""Widths of the names in columns, by column."""
NO_NAMES: Needs = MappingProxyType({})


def fit(columns: Sequence[Column], width: int, needs: Needs = NO_NAMES) -> dict[str, int]:
    """Return the widths of the visible columns, in cells. Together with their gaps they are at most `width`.

    Names come first: a column of names is at least so wide that they are distinct, and takes free cells before
    other columns do.
    """
    least = {column.name: _least(column, needs) for column in columns}
    shown = list(columns)
    while len(shown) > 1 and sum(least[c.name] for c in shown) + COLUMN_GAP_CELLS * (len(shown) - 1) > width:
        shown.remove(max(shown, key=lambda c: c.rank))
    widths = {column.name: least[column.name] for column in shown}
    room = width - sum(widths.values()) - COLUMN_GAP_CELLS * (len(shown) - 1)
    names = {name: needed for name, needed in needs.items() if name in widths and needed.full}
    others = {column.name: column.most for column in shown if column.name not in names}
    for wanted in (
        {name: needed.short for name, needed in names.items()},
        {name: min(most, TEXT_CELLS) for name, most in others.items()},
        {name: needed.full for name, needed in names.items()},
        others,
    ):
        room = _grow(widths, wanted, room)
    return widths


def _least(column: Column, needs: Needs) -> int:
    needed = needs.get(column.name)
    if needed is None or not needed.full:
        return column.least
    return max(min(column.least, max(needed.short, len(column.title))), min(needed.least, MAX_NAME_LEAST_CELLS))


def _grow(widths: dict[str, int], wanted: Mapping[str, int], room: int) -> int:
    """Share out free cells evenly, up to the wanted widths. Returns the cells that are left."""
    growing = [name for name, most in wanted.items() if most > widths[name]]
    while room > 0 and growing:
        share = max(1, room // len(growing))
        for name in list(growing):
            more = min(share, room, wanted[name] - widths[name])
            widths[name] += more
            room -= more
            if widths[name] >= wanted[name]:
                growing.remove(name)
    return room


def titles(columns: Sequence[Column], width: int, colors: Palette, needs: Needs = NO_NAMES) -> Text:
    widths = fit(columns, width - 2, needs)
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
