"""A flow's waterfall, drawn: the tree, and beside it bars on a common axis of time."""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text

from tui.text.columns import cut, sized
from tui.text.sanitize import clean
from tui.text.time_format import span
from tui.text.waterfall_layout import Waterfall, WaterfallLine, bar, ticks
from tui.theme import Palette, hue, mark, short, tone

_GAP = 9


class WaterfallColumns:
    """The widths of the waterfall's parts, for a width and what the tree would like to have."""

    def __init__(self, width: int, wished: int) -> None:
        self.stream = 13 if width >= 66 else 9 if width >= 52 else 0
        self.producer = 12 if width >= 100 else 0
        rest = width - _GAP - 4 - self.stream - self.producer - 2 * bool(self.stream) - 2 * bool(self.producer)
        self.tree = max(14, min(wished, 48, round(rest * 0.66)))
        self.axis = max(4, rest - self.tree)


def wish(lines: Iterable[WaterfallLine]) -> int:
    """The cells that the tree would like to have."""
    names = (len(line.guide) + 2 + len(short(line.event.type)) + 3 * bool(line.copies) for line in lines)
    return max(names, default=30) + 1


def title(fall: Waterfall, wished: int, width: int, palette: Palette) -> Text:
    """The line above the waterfall: what stands where, and the axis of time."""
    layout = WaterfallColumns(width, wished)
    text = Text(" ")
    text.append_text(sized(Text("what caused what"), layout.tree + 1))
    if layout.stream:
        text.append_text(sized(Text("stream"), layout.stream + 2))
    if layout.producer:
        text.append_text(sized(Text("producer"), layout.producer + 2))
    axis = [" "] * layout.axis
    end = span(fall.length) if fall.length else ""
    for at, time in ticks(fall.length, layout.axis):
        label = "0" if time == 0 else span(time)
        if at + len(label) + 2 <= layout.axis - len(end):
            axis[at : at + len(label)] = label
    axis[layout.axis - len(end) :] = end
    text.append("".join(axis), palette.dim)
    text.append_text(sized(Text("after"), _GAP, right=True))
    return text


def draw(fall: Waterfall, wished: int, line: WaterfallLine, width: int, palette: Palette) -> Text:
    """One event on one line, or what became of it."""
    layout = WaterfallColumns(width, wished)
    text = Text(" ")
    text.append(cut(line.guide, layout.tree - 8), palette.line)
    if line.why:
        text.append("└ ", palette.line)
        text.append(f"{line.event.rejection.code if line.event.rejection else ''} ", f"bold {palette.bad}")
        text.append(clean(line.why, 400), palette.bad)
        return sized(text, width - 1)
    event = line.event
    style = tone(event.status, palette)
    name = clean(short(event.type), 80)
    text.append(f"{mark(event.status)} ", style)
    text.append(name, f"{hue(event.type, palette.hues)} bold" if event.type else palette.dim)
    if line.copies:
        text.append(f" {'≡' if line.folded else '▾'}{line.copies}", palette.warn)
    if line.missing:
        text.append(" ◂?", palette.dim)
    text = sized(text, layout.tree + 1)
    text.append(" ")
    if layout.stream:
        text.append_text(sized(Text(clean(event.stream, 60), palette.text), layout.stream))
        text.append("  ")
    if layout.producer:
        text.append_text(sized(Text(clean(event.producer or "·", 60), palette.dim), layout.producer))
        text.append("  ")
    text.append_text(_bar(fall, line, layout.axis, palette))
    gap = line.gap
    label = "" if gap is None else f"{'+' if gap >= 0 else '-'}{span(abs(gap))}"
    text.append_text(
        sized(Text(label, palette.warn if (gap or 0) >= 1_000 or (gap or 0) < 0 else palette.dim), _GAP, right=True)
    )
    return text


def _bar(fall: Waterfall, line: WaterfallLine, width: int, palette: Palette) -> Text:
    begins, stretch, at = bar(line, fall.length, width)
    color = hue(line.event.type or "", palette.hues)
    text = Text("")
    if at < 0:
        return Text(" " * width)
    text.append(" " * begins)
    text.append(stretch, palette.dim if line.inferred else color)
    text.append(" " * (at - text.cell_len))
    text.append(mark(line.event.status), f"bold {tone(line.event.status, palette)}")
    text.append(" " * (width - text.cell_len))
    return text
