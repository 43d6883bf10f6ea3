"""The waterfall of a flow as lines: the tree, and bars on a common time axis."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from rich.text import Text

from tui.text.columns import cut, fit_exactly
from tui.text.names import NO_TYPE, NameBook
from tui.text.sanitize import clean
from tui.text.time_format import span
from tui.text.waterfall_layout import FoldedPause, Waterfall, WaterfallLine, bar, ticks
from tui.theme import Palette, hue, mark, tone

_TIME_COLUMN_CELLS = 9
PAUSE_MARK = "⋯"
"""Mark of a folded pause."""
MIN_AXIS_CELLS = 16
MIN_TREE_CELLS = 14
MAX_TYPE_CELLS = 60


class WaterfallColumns:
    """Widths of the waterfall's parts, for a total width and the preferred width of the tree."""

    def __init__(self, width: int, tree_width: int, names: NameBook) -> None:
        streams, producers = names.streams.widths, names.producers.widths
        free = width - _TIME_COLUMN_CELLS - 4 - 4 - MIN_AXIS_CELLS - max(MIN_TREE_CELLS, min(tree_width, 48))
        self.stream = max(min(max(6, streams.short), free), min(streams.least or 13, 14) if width >= 52 else 0)
        free -= self.stream
        self.producer = min(max(8, producers.short), free) if width >= 100 and free >= min(producers.least, 12) else 0
        rest = (
            width
            - _TIME_COLUMN_CELLS
            - 4
            - self.stream
            - self.producer
            - 2 * bool(self.stream)
            - 2 * bool(self.producer)
        )
        self.tree = max(MIN_TREE_CELLS, min(tree_width, round(rest * 0.66)))
        self.axis = max(4, rest - self.tree)


def preferred_tree_width(lines: Iterable[WaterfallLine], names: NameBook) -> int:
    """Return the width of the tree that shows every name in full, in cells."""
    cells = (
        len(line.guide)
        + 2
        + len(names.types.shorten(line.event.type or NO_TYPE, MAX_TYPE_CELLS))
        + 3 * bool(line.copies)
        for line in lines
    )
    return max(cells, default=30) + 1


def title(fall: Waterfall, tree_width: int, width: int, colors: Palette, names: NameBook) -> Text:
    """Return the header line: column titles and the time axis."""
    layout = WaterfallColumns(width, tree_width, names)
    text = Text(" ")
    text.append_text(fit_exactly(Text("causes and effects"), layout.tree + 1))
    if layout.stream:
        text.append_text(fit_exactly(Text("stream"), layout.stream + 2))
    if layout.producer:
        text.append_text(fit_exactly(Text("producer"), layout.producer + 2))
    axis = [" "] * layout.axis
    end = span(fall.length) if fall.length else ""
    if fall.pause is None:
        for at, time in ticks(fall.length, layout.axis):
            label = "0" if time == 0 else span(time)
            if at + len(label) + 2 <= layout.axis - len(end):
                axis[at : at + len(label)] = label
    else:  # the axis has two scales, which ticks would hide
        axis[0] = "0"
        label = f"{PAUSE_MARK} {span(fall.pause.duration)} {PAUSE_MARK}"
        at = min(max(2, cell_of(fall, fall.pause.begins, layout.axis)), layout.axis - len(label) - len(end) - 1)
        if at >= 2:
            axis[at : at + len(label)] = label
    axis[layout.axis - len(end) :] = end
    text.append("".join(axis), colors.dim)
    text.append_text(fit_exactly(Text("after"), _TIME_COLUMN_CELLS, right=True))
    return text


def draw(fall: Waterfall, tree_width: int, line: WaterfallLine, width: int, colors: Palette, names: NameBook) -> Text:
    """Return the line of one event, or of a note about it."""
    layout = WaterfallColumns(width, tree_width, names)
    text = Text(" ")
    text.append(cut(line.guide, layout.tree - 8), colors.line)
    if line.why:
        text.append("└ ", colors.line)
        text.append(f"{line.event.rejection.code if line.event.rejection else ''} ", f"bold {colors.bad}")
        text.append(clean(line.why, 400), colors.bad)
        return fit_exactly(text, width - 1)
    event = line.event
    style = tone(event.status, colors)
    text.append(f"{mark(event.status)} ", style)
    after = Text()
    if line.copies:
        after.append(f" {'≡' if line.folded else '▾'}{line.copies}", colors.warn)
    if line.missing:
        after.append(" ◂?", colors.dim)
    room = max(1, layout.tree + 1 - text.cell_len - after.cell_len)
    text.append(
        names.types.shorten(event.type or NO_TYPE, room),
        f"{hue(event.type, colors.hues)} bold" if event.type else colors.dim,
    )
    text.append_text(after)
    text = fit_exactly(text, layout.tree + 1)
    text.append(" ")
    if layout.stream:
        text.append_text(
            fit_exactly(names.streams.cell(event.stream, layout.stream, colors.text, colors), layout.stream)
        )
        text.append("  ")
    if layout.producer:
        producer = names.producers.cell(event.producer or "·", layout.producer, colors.dim, colors)
        text.append_text(fit_exactly(producer, layout.producer))
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
    placed = replace(
        line,
        at=None if line.at is None else fall.place(line.at),
        begins=None if line.begins is None else fall.place(line.begins),
    )
    begins, stretch, at = bar(placed, fall.axis_length, width)
    color = hue(line.event.type or "", colors.hues)
    text = Text("")
    if at < 0:
        return Text(" " * width)
    text.append(" " * begins)
    text.append(stretch, colors.dim if line.inferred else color)
    text.append(" " * (at - text.cell_len))
    text.append(mark(line.event.status), f"bold {tone(line.event.status, colors)}")
    text.append(" " * (width - text.cell_len))
    return text if fall.pause is None else _mark_pause(text, fall, fall.pause, width, colors)


def _mark_pause(text: Text, fall: Waterfall, pause: FoldedPause, width: int, colors: Palette) -> Text:
    """Put the mark of a folded pause over the middle of it, but never over an event."""
    middle = cell_of(fall, (pause.begins + pause.ends) / 2, width)
    if text.plain[middle : middle + 1] not in (" ", "━", "╌", "╺", "╶"):
        return text
    return Text.assemble(text[:middle], (PAUSE_MARK, colors.dim), text[middle + 1 :])


def cell_of(fall: Waterfall, time: float, width: int) -> int:
    """Return the column of a time on the axis."""
    length = fall.axis_length
    return 0 if length <= 0 else max(0, min(width - 1, round(fall.place(time) / length * (width - 1))))
