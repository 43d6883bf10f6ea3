"""Lines about sagas: one in the list, and the steps of the selected one."""

from __future__ import annotations

from dataclasses import dataclass

from rich.text import Text

from sidecar.api import models
from tui.text.columns import Column, cut, fit, line
from tui.text.name_cells import id_cell
from tui.text.names import cut_middle
from tui.text.sanitize import clean
from tui.text.time_format import age, clock, micros, span
from tui.theme import Palette

STATE_MARKS = {"stuck": "✗", "failed": "✗", "running": "◌", "compensated": "↩", "completed": "●"}
STATE_ORDER = ("stuck", "failed", "running", "compensated", "completed")
"""States in the order of their urgency."""

COLUMNS = (
    Column("mark", " ", 1, 1),
    Column("state", "state", 11, 11),
    Column("about", "aggregate", 12, 40),
    Column("saga", "saga", 6, 16, rank=3),
    Column("started", "started", 8, 8, rank=1),
    Column("missing", "waits for", 12, 60, rank=2),
)


def state_style(state: str, colors: Palette) -> str:
    """Return the color of a state. The mark and the word say the same without color."""
    styles = {"stuck": colors.bad, "failed": colors.bad, "running": colors.info, "compensated": colors.warn}
    return styles.get(state, colors.good)


def draw_saga(saga: models.SagaModel, width: int, colors: Palette, now: int) -> Text:
    """Draw a saga as a line of the list."""
    style, widths = state_style(saga.state, colors), fit(COLUMNS, width - 2)
    waits = saga.obstacle.step or "an end" if saga.obstacle is not None else ""
    if saga.obstacle is not None and saga.obstacle.expected_from:
        waits += f" from {saga.obstacle.expected_from}"
    cells = {
        "mark": Text(STATE_MARKS[saga.state], style),
        "state": Text(saga.state, style),
        "about": id_cell(saga.aggregate_id or saga.trace_id, widths.get("about", 0), colors),
        "saga": Text(cut_middle(clean(saga.name, 80), widths.get("saga", 0)), colors.dim),
        "started": Text(age(saga.started_at, now), colors.dim),
        "missing": Text(clean(waits, 200), colors.warn if saga.state == "stuck" else colors.dim),
    }
    return line(COLUMNS, cells, widths)


@dataclass(frozen=True, slots=True)
class SagaLine:
    """A line about the selected saga."""

    key: str
    kind: str
    """`head`, `step`, `missing`, `optional`, `undone` or `text`."""
    name: str
    rest: str = ""
    position: str | None = None
    """Event to open."""
    letter: str | None = None
    """Dead letter to open."""


def describe_saga(saga: models.SagaModel) -> list[SagaLine]:
    """Return the lines about a saga: its state, its steps with their times, and what stopped it."""
    about = clean(saga.aggregate_id or saga.trace_id, 200)
    lines = [SagaLine("head", "head", f"{saga.name} {about}: {saga.state}")]
    if saga.obstacle is not None:
        lines += [SagaLine(f"why {n}", "text", part) for n, part in enumerate(saga.obstacle.message.split("; "))]
        lines += [
            SagaLine(f"letter {id}", "missing", "dead letter", clean(id, 300), letter=id)
            for id in saga.obstacle.dead_letters
        ]
    lines.append(SagaLine("steps", "head", "steps"))
    started = micros(saga.started_at)
    waiting = saga.obstacle.step if saga.obstacle is not None else None
    for number, step in enumerate(saga.steps):
        if step.event is not None:
            at = micros(step.at)
            after = "" if at is None or started is None else f"  +{span((at - started) / 1000)}"
            times = f"  {step.count} times" if step.count > 1 else ""
            kind = "undone" if step.compensation else "step"
            lines.append(SagaLine(f"step {number}", kind, step.name, f"{clock(step.at)}{after}{times}", step.event))
        elif step.name == waiting:
            source = f"  expected from {step.expected_from}" if step.expected_from else ""
            lines.append(SagaLine(f"step {number}", "missing", step.name, f"missing{source}"))
        else:
            lines.append(
                SagaLine(f"step {number}", "optional", step.name, "not seen, optional" if step.optional else "not seen")
            )
    ends = f"ended {clock(saga.ended_at)}" if saga.ended_at else f"deadline {clock(saga.deadline_at)}"
    lines.append(SagaLine("end", "text", ends))
    return lines


def draw_saga_line(piece: SagaLine, width: int, colors: Palette) -> Text:
    """Draw a line about the selected saga."""
    if piece.kind == "head":
        text = Text(f" {clean(piece.name, 200)} ", f"bold {colors.info}")
        text.append("─" * max(0, width - text.cell_len - 1), colors.line)
        return text
    marks = {"step": ("✓", colors.good), "missing": ("✗", colors.bad), "undone": ("↩", colors.warn)}
    mark, style = marks.get(piece.kind, ("·" if piece.kind == "optional" else " ", colors.dim))
    text = Text(f" {mark} ", style)
    text.append(clean(piece.name, 200), colors.dim if piece.kind == "optional" else colors.text)
    if piece.rest:
        text.append(f"  {cut(piece.rest, max(1, width - text.cell_len - 3))}", style)
    return text
