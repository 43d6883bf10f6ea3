"""The waterfall of a flow as lines: the tree, and bars on a common time axis."""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text

from tui.text.columns import cut, fit_exactly
from tui.text.sanitize import clean
from tui.text.time_format import span
from tui.text.waterfall_layout import Waterfall, WaterfallLine, bar, ticks
from tui.theme import Palette, hue, mark, short, tone

_TIME_COLUMN_CELLS = 9


class WaterfallColumns:
    """Widths of the waterfall's parts, for a total width and the preferred width of the tree."""

    def __init__(self, width: int, tree_width: int) -> None:
        self.stream = 13 if width >= 66 else 9 if width >= 52 else 0
        self.producer = 12 if width >= 100 else 0
        rest = (
            width
            - _TIME_COLUMN_CELLS
            - 4
            - self.stream
            - self.producer
            - 2 * bool(self.stream)
            - 2 * bool(self.producer)
        )
        self.tree = max(14, min(tree_width, 48, round(rest * 0.66)))
        self.axis = max(4, rest - self.tree)


def preferred_tree_width(lines: Iterable[WaterfallLine]) -> int:
    """Return the width of the tree that shows every name in full, in cells."""
    names = (len(line.guide) + 2 + len(short(line.event.type)) + 3 * bool(line.copies) for line in lines)
    return max(names, default=30) + 1


def title(fall: Waterfall, tree_width: int, width: int, colors: Palette) -> Text:
    """Return the header line: column titles and the time axis."""
    layout = WaterfallColumns(width, tree_width)
    text = Text(" ")
    text.append_text(fit_exactly(Text("causes and effects"), layout.tree + 1))
    if layout.stream:
        text.append_text(fit_exactly(Text("stream"), layout.stream + 2))
    if layout.producer:
        text.append_text(fit_exactly(Text("producer"), layout.producer + 2))
    axis = [" "] * layout.axis
    end = span(fall.length) if fall.length else ""
    for at, time in ticks(fall.length, layout.axis):
        label = "0" if time == 0 else span(time)
        if at + len(label) + 2 <= layout.axis - len(end):
            axis[at : at + len(label)] = label
    axis[layout.axis - len(end) :] = end
    text.append("".join(axis), colors.dim)
    text.append_text(fit_exactly(Text("after"), _TIME_COLUMN_CELLS, right=True))
    return text


def draw(fall: Waterfall, tree_width: int, line: WaterfallLine, width: int, colors: Palette) -> Text:
    """Return the line of one event, or of a note about it."""
    layout = WaterfallColumns(width, tree_width)
    text = Text(" ")
    text.append(cut(line.guide, layout.tree - 8), colors.line)
    if line.why:
        text.append("└ ", colors.line)
        text.append(f"{line.event.rejection.code if line.event.rejection else ''} ", f"bold {colors.bad}")
        text.append(clean(line.why, 400), colors.bad)
        return fit_exactly(text, width - 1)
    event = line.event
    style = tone(event.status, colors)
    name = clean(short(event.type), 80)
    text.append(f"{mark(event.status)} ", style)
    text.append(name, f"{hue(event.type, colors.hues)} bold" if event.type else colors.dim)
    if line.copies:
        text.append(f" {'≡' if line.folded else '▾'}{line.copies}", colors.warn)
    if line.missing:
        text.append(" ◂?", colors.dim)
    text = fit_exactly(text, layout.tree + 1)
    text.append(" ")
    if layout.stream:
        text.append_text(fit_exactly(Text(clean(event.stream, 60), colors.text), layout.stream))
        text.append("  ")
    if layout.producer:
        text.append_text(fit_exactly(Text(clean(event.producer or "·", 60), colors.dim), layout.producer))
        text.append("  ")
    text.append_text(_bar(fall, line, layout.axis, colors))
    gap = line.gap
    label = "" if gap is None else f"{'+' if gap >= 0 else '-'}{span(abs(gap))}"
    text.append_text(
        fit_exactly(
            Text(label, colors.warn if (gap or 0) >= 1_000 or (gap or 0) < 0 else colors.dim),
            _TIME_COLUMN_CELLS,
            right=True,
        )
    )
    return text


def _bar(fall: Waterfall, line: WaterfallLine, width: int, colors: Palette) -> Text:
    begins, stretch, at = bar(line, fall.length, width)
    color = hue(line.event.type or "", colors.hues)
    text = Text("")
    if at < 0:
        return Text(" " * width)
    text.append(" " * begins)
    text.append(stretch, colors.dim if line.inferred else color)
    text.append(" " * (at - text.cell_len))
    text.append(mark(line.event.status), f"bold {tone(line.event.status, colors)}")
    text.append(" " * (width - text.cell_len))
    return text
