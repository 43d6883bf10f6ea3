"""Rows of SQL as lines of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len
from rich.text import Text

from sidecar.api import models
from sidecar.domain.json_safe import encode_json
from tui.text.columns import Column, cut, fit, line
from tui.text.sanitize import clean
from tui.theme import Palette

MAX_CELL_CHARS = 200
MAX_COLUMN_CELLS = 60
MAX_MEASURED_ROWS = 100


def cell_text(value: Any) -> str:
    """Return a value as the text of a cell."""
    if value is None:
        return "-"
    text = value if isinstance(value, str) else encode_json(value).decode("utf-8", "replace")
    return clean(text[:MAX_CELL_CHARS], MAX_CELL_CHARS)


def build_columns(answer: models.SqlAnswerModel) -> list[Column]:
    """Build columns as wide as their first rows need. The last columns are left out first."""
    columns = []
    for number, column in enumerate(answer.columns):
        title = clean(column.name, 40)
        texts = [cell_text(row[number]) for row in answer.rows[:MAX_MEASURED_ROWS]]
        width = min(MAX_COLUMN_CELLS, max(map(cell_len, (title, *texts)), default=1))
        is_number = "INT" in column.type or column.type.startswith(("DECIMAL", "DOUBLE", "FLOAT"))
        columns.append(Column(str(number), title, min(width, 12), max(width, 1), rank=number, right=is_number))
    return columns


def row_line(columns: Sequence[Column], row: Sequence[Any], width: int, colors: Palette) -> Text:
    """Draw a row."""
    widths = fit(columns, width - 2)
    cells = {
        column.name: Text(cut(cell_text(value), max(1, widths.get(column.name, 1))), colors.text)
        for column, value in zip(columns, row, strict=False)
    }
    return line(columns, cells, widths)
