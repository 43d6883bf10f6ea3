"""Cells of tables with a type, an id, or the streams that a flow passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.cells import cell_len
from rich.text import Text

from tui.text.names import NO_TYPE, NameBook, cut_middle
from tui.text.sanitize import clean
from tui.theme import Palette, hue

_ARROW = " → "
MIN_STREAM_CELLS = 6
"""Width of a stream's name in a list of streams, before streams are left out."""


def type_cell(
    name: str | None, widths: Mapping[str, int], colors: Palette, names: NameBook, column: str = "type"
) -> Text:
    """Return the cell with an event's type, in the color of the type."""
    cells = widths.get(column, 0)
    if not name:
        return Text(NO_TYPE, colors.dim)
    return names.types.cell(name, cells, hue(name, colors.hues), colors)


def id_cell(id: str | None, cells: int, colors: Palette) -> Text:
    """Return the cell with an id. Ids differ at both ends, so they are cut in the middle."""
    return Text(cut_middle(clean(id or "·", 200), cells), colors.text if id else colors.dim)


def streams_cell(streams: Sequence[str], cells: int, colors: Palette, names: NameBook) -> Text:
    """Return the streams of a flow in order. All are shown equally long if they do not fit in full."""
    text = Text()
    most = max(1, (cells + cell_len(_ARROW)) // (MIN_STREAM_CELLS + cell_len(_ARROW)))
    shown = streams if len(streams) <= most else streams[:most]
    wanted = [cell_len(names.streams.shorten(stream, max(1, names.streams.short_cells))) for stream in shown]
    places = share_cells(wanted, cells - cell_len(_ARROW) * (len(shown) - 1))
    for number, (stream, place) in enumerate(zip(shown, places, strict=True)):
        text.append(_ARROW if number else "", colors.line)
        text.append_text(names.streams.cell(stream, max(1, place), hue(stream, colors.hues), colors))
    if len(shown) < len(streams):
        text.append(f" +{len(streams) - len(shown)}", colors.dim)
    return text


def share_cells(wanted: Sequence[int], cells: int) -> list[int]:
    """Share cells among texts: short ones get what they want, long ones share the rest evenly."""
    places = [0] * len(wanted)
    left = cells
    order = sorted(range(len(wanted)), key=lambda number: wanted[number])
    for done, number in enumerate(order):
        places[number] = max(1, min(wanted[number], left // (len(wanted) - done)))
        left -= places[number]
    return places
