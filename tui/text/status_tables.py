"""Draws the lines of the status screen: problems, and the tables of streams, groups and sidecars."""

from __future__ import annotations

from rich.text import Text

from tui.text.columns import Column, cut, fit, line
from tui.text.names import NameBook, NameSet, cut_middle
from tui.text.sanitize import clean
from tui.text.status_lines import StatusLine
from tui.theme import Palette

STREAM_COLUMNS = (
    Column("name", "stream", 14, 22),
    Column("lag", "own lag", 8, 10, right=True),
    Column("rate", "rate", 8, 9, right=True),
    Column("events", "events", 8, 9, rank=3, right=True),
    Column("rejected", "rejected", 8, 8, rank=2, right=True),
    Column("partitions", "partitions", 10, 10, rank=4, right=True),
    Column("state", "state", 14, 400, rank=1),
)
GROUP_COLUMNS = (
    Column("name", "group", 14, 22),
    Column("lag", "lag", 7, 9, right=True),
    Column("behind", "behind", 7, 8, right=True),
    Column("rate", "rate", 8, 9, rank=2, right=True),
    Column("members", "members", 7, 8, rank=3, right=True),
    Column("streams", "streams", 16, 400, rank=1),
)
MEMBER_COLUMNS = (
    Column("name", "sidecar", 14, 30),
    Column("lag", "lag", 7, 9, right=True),
    Column("rate", "rate", 8, 9, rank=2, right=True),
    Column("waiting", "waiting", 8, 9, rank=3, right=True),
    Column("state", "state", 16, 400, rank=1),
)
FACT_COLUMNS = (Column("name", "", 12, 22), Column("state", "", 20, 400))
TABLES = {"streams": STREAM_COLUMNS, "groups": GROUP_COLUMNS, "members": MEMBER_COLUMNS, "": FACT_COLUMNS}
_MARGIN_CELLS = 2


def draw_status(entry: StatusLine, width: int, colors: Palette, names: NameBook) -> Text:
    """Draw one line of the status screen."""
    match entry.kind:
        case "head":
            text = Text(f" {entry.cells[0]} ", f"bold {colors.info}")
            text.append("─" * max(0, width - text.cell_len - 1), colors.line)
            return text
        case "do":
            return Text(f"   {cut(clean(entry.cells[0], 400), width - 4)}", colors.dim)
        case "bad" | "warn" | "good":
            return _draw_problem(entry, width, colors)
    return _draw_row(entry, width, colors, names)


def _draw_problem(entry: StatusLine, width: int, colors: Palette) -> Text:
    style = {"bad": f"bold {colors.bad}", "warn": f"bold {colors.warn}", "good": colors.good}[entry.kind]
    mark = {"bad": "✗", "warn": "▲", "good": "✓"}[entry.kind]
    action = f"  {entry.action}" if entry.action else ""
    room = max(10, width - 6 - len(action))
    text = Text(f"  {mark} ", style)
    text.append(f"{cut(clean(entry.cells[0], 600), room):<{room}}", style)
    return text.append(action, colors.accent)


def _draw_row(entry: StatusLine, width: int, colors: Palette, names: NameBook) -> Text:
    columns = TABLES[entry.table]
    known = {"streams": names.streams, "groups": names.groups}.get(entry.table)
    needs = names.needs(name=known) if known is not None else {}
    widths = fit(columns, width - _MARGIN_CELLS - 1, needs)
    cells = {}
    for column, value in zip(columns, entry.cells, strict=True):
        if entry.kind == "names":
            cells[column.name] = Text(column.title, colors.head)
        else:
            cells[column.name] = _cell(entry, column, value, widths.get(column.name, 0), colors, known)
    return Text("  ").append_text(line(columns, cells, widths)[1:])


def _cell(entry: StatusLine, column: Column, value: str, cells: int, colors: Palette, names: NameSet | None) -> Text:
    tone = getattr(colors, entry.tone) if entry.tone else ""
    if column.name == "name":
        style = f"bold {tone or colors.text}"
        if names is not None:
            return names.cell(value, cells, style, colors)
        return Text(cut_middle(clean(value, 200), cells), style)
    if column.name == "rejected" and value != "0":
        return Text(value, colors.bad)
    if column.name in ("lag", "behind"):
        return Text(value, tone or colors.text)
    if column.most >= 400:
        return Text(cut(clean(value, 400), max(1, cells)), tone or colors.dim)
    return Text(clean(value, 100), colors.text)
