"""Cells of tables with a type, an id, or the streams that a flow passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.cells import cell_len
from rich.text import Text

from tui.text.names import NO_TYPE, NameBook, cut_middle
from tui.text.sanitize import clean
from tui.theme import Palette, hue

_ARROW = " → "


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
    room = cells - cell_len(_ARROW) * (len(streams) - 1)
    least = 6
    shown = streams if room >= least * len(streams) else streams[: max(1, (cells + 3) // (least + 3))]
    each = max(least, (cells - cell_len(_ARROW) * (len(shown) - 1)) // max(1, len(shown)))
    wanted = [len(names.streams.shorten(stream, max(1, names.streams.short_cells))) for stream in shown]
    is_whole = sum(wanted) + cell_len(_ARROW) * (len(shown) - 1) <= cells
    for number, stream in enumerate(shown):
        text.append(_ARROW if number else "", colors.line)
        place = wanted[number] if is_whole else each
        text.append_text(names.streams.cell(stream, place, hue(stream, colors.hues), colors))
    if len(shown) < len(streams):
        text.append(f" +{len(streams) - len(shown)}", colors.dim)
    return text
