"""Output of rows one by one, before all widths are known, and of the progress of a scan."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sidecar.cli.output.paragraphs import print_facts
from sidecar.cli.output.tables import (
    COLUMN_GAP_WIDTH,
    TableColumn,
    create_console,
    format_cell,
    plan_widths,
    style_status,
)
from sidecar.cli.plain_mode import draws_on, is_plain

if TYPE_CHECKING:
    from rich.console import Console

    from sidecar.api import models

REFRESH_INTERVAL_S = 0.1


class RowStream:
    """A table without an end. On a terminal it fits the width; in a pipe it looks like `print_table`.

    `wide`: do not cut columns. Rows on a terminal are then tab-separated too.
    """

    def __init__(self, columns: Sequence[TableColumn], *, wide: bool = False) -> None:
        self._console = create_console() if draws_on() and not wide else None
        self._names, self._plain = [column.header for column in columns], is_plain()
        if self._plain:
            return
        if self._console is None:
            sys.stdout.write("\t".join(column.name for column in columns) + "\n")
            sys.stdout.flush()
        else:
            self._widths = plan_widths(columns, self._console.width)
            self._print_cells(self._console, [column.header for column in columns], "bold")

    def print(self, row: Sequence[object]) -> None:
        """Print a row."""
        if self._plain:
            print_facts(self._names, [format_cell(value) for value in row])
            return
        if self._console is None:
            sys.stdout.write("\t".join(format_cell(value) for value in row) + "\n")
            sys.stdout.flush()
            return
        self._print_cells(self._console, [format_cell(value) for value in row])

    def _print_cells(self, out: Console, cells: Sequence[str], style: str | None = None) -> None:
        from rich.text import Text

        parts = []
        for at, width in self._widths.items():
            part = style_status(cells[at]) if style is None else Text(cells[at], style)
            part.truncate(width, overflow="ellipsis")
            part.align("left", width)
            parts.append(part)
        out.print(Text(" " * COLUMN_GAP_WIDTH).join(parts), no_wrap=True, crop=True)


class ScanProgressLine:
    """The progress of a scan on one line of a terminal's stderr; nothing elsewhere."""

    def __init__(self) -> None:
        self._terminal = draws_on(sys.stderr)
        self._shown_at = 0.0
        self._shown = False

    def __enter__(self) -> ScanProgressLine:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def show(self, progress: models.ScanProgressModel) -> None:
        """Show the progress."""
        now = time.monotonic()
        if not self._terminal or now - self._shown_at < REFRESH_INTERVAL_S:
            return
        self._shown_at, self._shown = now, True
        of = "" if not progress.total else f" of about {progress.total} ({100 * progress.scanned // progress.total} %)"
        sys.stderr.write(f"\r\x1b[K{progress.scanned} records read{of}, {progress.matched} matched")
        sys.stderr.flush()

    def clear(self) -> None:
        """Remove the line."""
        if self._shown:
            self._shown = False
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
