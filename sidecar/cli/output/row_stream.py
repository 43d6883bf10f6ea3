"""Rows that are printed as they come, before it is known how wide they will be; and the progress of a scan."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sidecar.cli.output.tables import GAP, TableColumn, _cell, console, steady, styled

if TYPE_CHECKING:
    from rich.console import Console

    from sidecar.api import models

EVERY_SECONDS = 0.1


class RowStream:
    """A table without an end: on a terminal fit to its width, whatever will come; in a pipe as `print_table` does."""

    def __init__(self, columns: Sequence[TableColumn]) -> None:
        self._console = console() if sys.stdout.isatty() else None
        if self._console is None:
            sys.stdout.write("\t".join(column.name for column in columns) + "\n")
            sys.stdout.flush()
        else:
            self._widths = steady(columns, self._console.width)
            self._line(self._console, [column.name.upper() for column in columns], "bold")

    def print(self, row: Sequence[object]) -> None:
        if self._console is None:
            sys.stdout.write("\t".join(_cell(value) for value in row) + "\n")
            sys.stdout.flush()
            return
        self._line(self._console, [_cell(value) for value in row])

    def _line(self, out: Console, cells: Sequence[str], style: str | None = None) -> None:
        from rich.text import Text

        parts = []
        for at, width in self._widths.items():
            part = styled(cells[at]) if style is None else Text(cells[at], style)
            part.truncate(width, overflow="ellipsis")
            part.align("left", width)
            parts.append(part)
        out.print(Text(" " * GAP).join(parts), no_wrap=True, crop=True)


class ScanProgressLine:
    """How far a scan is, on one line of a terminal's stderr that overwrites itself; nothing elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._shown_at = 0.0
        self._shown = False

    def __enter__(self) -> ScanProgressLine:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def show(self, progress: models.ScanProgressModel) -> None:
        now = time.monotonic()
        if not self._terminal or now - self._shown_at < EVERY_SECONDS:
            return
        self._shown_at, self._shown = now, True
        of = "" if not progress.total else f" of about {progress.total} ({100 * progress.scanned // progress.total} %)"
        sys.stderr.write(f"\r\x1b[K{progress.scanned} records read{of}, {progress.matched} matched")
        sys.stderr.flush()

    def clear(self) -> None:
        if self._shown:
            self._shown = False
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
