"""What commands print: JSON lines for scripts, tables as wide as the terminal, tab-separated columns in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from sidecar.cli.sanitize import clean, json_for_terminal
from sidecar.domain.json_safe import encode_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

STYLES = {
    "rejected": "bold red",
    "duplicate": "yellow",
    "replayed": "cyan",
    "unchecked": "dim",
    "ok": "green",
    "open": "red",
    "held": "bold red",
    "failed": "bold red",
}


GAP = 2
"""Spaces between two columns."""


class TableColumn(msgspec.Struct, frozen=True):
    """A column of a table."""

    name: str
    least: int = 4
    """The narrowest that is still of use, in characters; of a column that is never cut, how wide it usually is."""
    rank: int = 0
    """Where the terminal is too narrow for all, those with the highest rank are left out."""
    right: bool = False
    whole: bool = False
    """Never cut."""


def print_json(value: Any) -> None:
    """One object on one line."""
    sys.stdout.write(json_for_terminal(encode_json(value)) + "\n")
    sys.stdout.flush()


def print_line(line: str) -> None:
    sys.stdout.write(clean(line) + "\n")


def console() -> Console:
    """A console for stdout. In a pipe nothing is wrapped or colored (`NO_COLOR` and `FORCE_COLOR` are heeded)."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False, soft_wrap=not sys.stdout.isatty())


def styled(value: str) -> Text:
    """A status word in its color."""
    from rich.text import Text

    return Text(clean(value), STYLES.get(value.partition(" ")[0], ""))


def print_table(columns: Sequence[TableColumn], rows: Iterable[Sequence[Any]], *, empty: str = "nothing found") -> None:
    """A table: on a terminal fit to its width, else one line a row, with tabs between all columns and a first line of
    names. Absent values are `-`."""
    if not sys.stdout.isatty():
        _print_tabs(columns, rows)
        return
    rows = list(rows)
    if not rows:
        say_note(empty)
        return
    _print_fit(columns, rows)


def _print_tabs(columns: Sequence[TableColumn], rows: Iterable[Sequence[Any]]) -> None:
    sys.stdout.write("\t".join(column.name for column in columns) + "\n")
    for row in rows:
        sys.stdout.write("\t".join(_cell(value) for value in row) + "\n")
    sys.stdout.flush()


def _print_fit(columns: Sequence[TableColumn], rows: Sequence[Sequence[Any]]) -> None:
    from rich.cells import cell_len
    from rich.text import Text

    target = console()
    cells = [[_cell(value) for value in row] for row in rows]
    natural = [max(cell_len(column.name), *(cell_len(row[at]) for row in cells)) for at, column in enumerate(columns)]
    shown = _fitting(columns, natural, target.width)
    widths = _widths({at: natural[at] for at in shown}, columns, target.width - GAP * (len(shown) - 1))

    def line(row: Sequence[str], style: str = "") -> Text:
        parts = []
        for at in shown:
            part = Text(row[at], style or STYLES.get(row[at].partition(" ")[0], ""))
            part.truncate(widths[at], overflow="ellipsis")
            part.align("right" if columns[at].right else "left", widths[at])
            parts.append(part)
        return Text(" " * GAP).join(parts)

    target.print(line([column.name.upper() for column in columns], "bold"), no_wrap=True, crop=True)
    for row in cells:
        target.print(line(row), no_wrap=True, crop=True)


def _fitting(columns: Sequence[TableColumn], natural: Sequence[int], width: int) -> list[int]:
    """Which columns there is room for."""
    needed = [wide if column.whole else min(wide, column.least) for column, wide in zip(columns, natural, strict=True)]
    shown = list(range(len(columns)))
    while len(shown) > 1 and sum(needed[at] for at in shown) + GAP * (len(shown) - 1) > width:
        shown.remove(max(shown, key=lambda at: (columns[at].rank, at)))
    return shown


def steady(columns: Sequence[TableColumn], width: int) -> dict[int, int]:
    """For rows that are not known yet: which columns there is room for, and how wide each is. What is left over goes to
    those that may be cut, in equal parts."""
    least = [column.least for column in columns]
    widths = {at: least[at] for at in _fitting(columns, least, width)}
    may = [at for at in widths if not columns[at].whole]
    left = max(0, width - sum(widths.values()) - GAP * (len(widths) - 1))
    for turn, at in enumerate(may):
        widths[at] += left // len(may) + (turn < left % len(may))
    return widths


def _widths(natural: dict[int, int], columns: Sequence[TableColumn], width: int) -> dict[int, int]:
    """How wide each column is. Those that may be cut are cut to one greatest width, at which all of them fit."""
    may = [at for at in natural if not columns[at].whole]
    widths = dict(natural)
    for greatest in range(max((natural[at] for at in may), default=0), 0, -1):
        if sum(widths.values()) <= width:
            break
        for at in may:
            widths[at] = min(natural[at], max(columns[at].least, greatest))
    return widths


def _cell(value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:,.1f}" if sys.stdout.isatty() else f"{value:.3f}".rstrip("0").rstrip(".")
        case list():
            return ", ".join(_cell(item) for item in value) or "-"
    return clean(str(value)) or "-"


def say_note(note: str | None) -> None:
    """What is to be known about an answer, on stderr, so that pipes carry rows alone."""
    if note:
        sys.stderr.write(f"{clean(note)}\n")
