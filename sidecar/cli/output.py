"""What commands print: JSON lines for scripts, tables as wide as the terminal, tab-separated columns in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from sidecar.cli.text import clean, json_for_terminal

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


class Column(msgspec.Struct, frozen=True):
    """A column of a table."""

    name: str
    least: int = 4
    """The narrowest that is still of use, in characters."""
    rank: int = 0
    """Where the terminal is too narrow for all, those with the highest rank are left out."""
    right: bool = False
    whole: bool = False
    """Never cut."""


def print_json(value: Any) -> None:
    """One object on one line."""
    sys.stdout.write(json_for_terminal(msgspec.json.encode(value)) + "\n")
    sys.stdout.flush()


def print_line(line: str) -> None:
    sys.stdout.write(clean(line) + "\n")


def console() -> Console:
    """A console for stdout. In a pipe nothing is wrapped or coloured (`NO_COLOR` and `FORCE_COLOR` are heeded)."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False, soft_wrap=not sys.stdout.isatty())


def styled(value: str) -> Text:
    """A status word in its colour."""
    from rich.text import Text

    return Text(clean(value), STYLES.get(value.partition(" ")[0], ""))


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[Any]], *, empty: str = "nothing found") -> None:
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


def _print_tabs(columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> None:
    sys.stdout.write("\t".join(column.name for column in columns) + "\n")
    for row in rows:
        sys.stdout.write("\t".join(_cell(value) for value in row) + "\n")
    sys.stdout.flush()


def _print_fit(columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> None:
    from rich.table import Table

    target = console()
    shown = _fitting(columns, rows, target.width)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for at in shown:
        column = columns[at]
        table.add_column(
            column.name.upper(),
            justify="right" if column.right else "left",
            no_wrap=True,
            overflow="ellipsis",
            min_width=None if column.whole else column.least,
        )
    for row in rows:
        table.add_row(*(styled(_cell(row[at])) for at in shown))
    target.print(table)


def _fitting(columns: Sequence[Column], rows: Sequence[Sequence[Any]], width: int) -> list[int]:
    """Which columns there is room for."""
    needed = [
        max(len(column.name), *(len(_cell(row[at])) for row in rows)) if column.whole else column.least
        for at, column in enumerate(columns)
    ]
    shown = list(range(len(columns)))
    while len(shown) > 1 and sum(needed[at] + 2 for at in shown) > width:
        shown.remove(max(shown, key=lambda at: (columns[at].rank, at)))
    return shown


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
