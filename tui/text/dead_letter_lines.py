"""Lines for failure causes, dead letters, and the schema fields beside a dead letter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

from sidecar.api import models
from sidecar.domain.json_path import InvalidPath, JsonPath
from tui.text import time_format
from tui.text.columns import Column, Needs, cut, fit, line
from tui.text.name_cells import id_cell, type_cell
from tui.text.names import NameBook
from tui.text.sanitize import clean
from tui.text.schema_changes import OutlineLine
from tui.text.time_format import age, clock_in, count
from tui.theme import Palette, hue, mark, tone

CAUSE_COLUMNS = (
    Column("mark", " ", 1, 1),
    Column("count", "letters", 7, 7, right=True),
    Column("open", "open", 6, 6, right=True),
    Column("code", "code", 18, 22),
    Column("stream", "stream", 10, 16),
    Column("last", "last seen", 9, 9, right=True, rank=1),
    Column("aggregates", "aggregates", 10, 10, right=True, rank=3),
    Column("message", "message", 16, 400, rank=2),
)
LETTER_COLUMNS = (
    Column("mark", " ", 1, 1),
    Column("time", "failed at", 8, 12),
    Column("state", "state", 9, 9),
    Column("type", "type", 12, 24),
    Column("aggregate", "aggregate", 11, 20),
    Column("message", "message", 10, 400, rank=1),
)


def open_letters(cause: models.CauseModel) -> int:
    return cause.states.get("open", 0)


def cause_needs(names: NameBook) -> Needs:
    return names.needs(stream=names.streams)


def letter_needs(names: NameBook) -> Needs:
    return names.needs(type=names.types)


def draw_cause(cause: models.CauseModel, width: int, colors: Palette, names: NameBook) -> Text:
    widths = fit(CAUSE_COLUMNS, width - 2, cause_needs(names))
    waiting = open_letters(cause)
    style = colors.bad if waiting else colors.dim
    where = f"{cause.path}: " if cause.path and cause.path not in cause.message else ""
    cells = {
        "mark": Text(mark("open") if waiting else "✓", style if waiting else colors.good),
        "count": Text(count(cause.count), colors.text),
        "open": Text(count(waiting), f"bold {style}" if waiting else style),
        "code": Text(clean(cause.code, 60), style),
        "stream": names.streams.cell(cause.stream, widths.get("stream", 0), hue(cause.stream, colors.hues), colors),
        "last": Text(age(cause.last_seen, time_format.now()), colors.dim),
        "aggregates": Text(count(cause.aggregates) if cause.aggregates else "·", colors.text),
        "message": Text(cut(clean(where + cause.message, 400), max(1, widths.get("message", 1))), colors.text),
    }
    return line(CAUSE_COLUMNS, cells, widths)


def draw_letter(letter: models.DeadLetterModel, width: int, colors: Palette, names: NameBook) -> Text:
    widths = fit(LETTER_COLUMNS, width - 2, letter_needs(names))
    style = tone(letter.state, colors)
    where = f"{letter.path}: " if letter.path and letter.path not in letter.message else ""
    cells = {
        "mark": Text(mark(letter.state), style),
        "time": Text(clock_in(letter.failed_at, widths.get("time", 12)), colors.dim),
        "state": Text(clean(letter.state, 20), style),
        "type": type_cell(letter.type, widths, colors, names),
        "aggregate": id_cell(letter.aggregate_id, widths.get("aggregate", 0), colors),
        "message": Text(cut(clean(where + letter.message, 400), max(1, widths.get("message", 1))), colors.dim),
    }
    return line(LETTER_COLUMNS, cells, widths)


@dataclass(frozen=True, slots=True)
class SchemaField:
    """A line of a schema beside a dead letter."""

    number: int
    depth: int
    name: str
    kind: str
    here: bool


def draw_field(field: SchemaField, width: int, colors: Palette) -> Text:
    style = colors.marked if field.here else colors.text
    text = Text(" " + "  " * field.depth)
    text.append(clean(field.name, 120), style)
    text.append(f"  {cut(clean(field.kind), max(1, width - text.cell_len - 14))}", style if field.here else colors.dim)
    if field.here:
        text.append("  ◀ expected", f"bold {colors.bad}")
    return text


def _names(path: str | None) -> list[str]:
    try:
        return [step for step in JsonPath.parse(path or "").steps if isinstance(step, str)]
    except InvalidPath:
        return []


def fields(outline: Sequence[OutlineLine], path: str | None) -> list[SchemaField]:
    """Return the lines of a schema. The field of the failing path is marked."""
    names = _names(path)
    stack: list[str] = []
    result: list[SchemaField] = []
    for number, (depth, name, kind) in enumerate(outline):
        del stack[depth:]
        stack.append(name)
        here = bool(names) and stack[1:] == names
        result.append(SchemaField(number, depth, name, kind, here))
    return result
