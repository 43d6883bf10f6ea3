"""Output of tables: as wide as the terminal, or with tab-separated columns in a pipe."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sidecar.cli.errors import exit_unread
from sidecar.cli.output.paragraphs import print_paragraphs
from sidecar.cli.plain_mode import draws_on, is_plain
from sidecar.cli.sanitize import sanitize_json, sanitize_line, sanitize_lines

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

STYLES = {
    "rejected": "bold red",
    "duplicate": "yellow",
    "replayed": "cyan",
    "repaired": "cyan",
    "unchecked": "dim",
    "ok": "green",
    "open": "red",
    "held": "bold red",
    "failed": "bold red",
}
COLUMN_GAP_WIDTH = 2


class TableColumn(NamedTuple):
    """A column of a table."""

    name: str
    """Name of the field. It is the header in a pipe; a terminal shows it in capitals."""
    least: int = 4
    """Narrowest useful width in characters; for a column that is never cut, its usual width."""
    rank: int = 0
    """Columns with the highest rank are left out if the terminal is too narrow for all."""
    right: bool = False
    whole: bool = False
    """True if values are never cut."""
    age: bool = False
    """True for a time: on a terminal the column is AGE, the time since then. Wide tables have both."""
    title: str = ""
    """Header on a terminal, if it differs from the name."""

    @property
    def header(self) -> str:
        """Header on a terminal."""
        return (self.title or self.name.replace("_", " ")).upper()


def print_json(value: Any) -> None:
    """Print an object on one line."""
    from sidecar.domain.json_safe import encode_json

    sys.stdout.write(sanitize_json(encode_json(value)) + "\n")
    sys.stdout.flush()


def print_line(line: str) -> None:
    """Print a line on stdout."""
    sys.stdout.write(sanitize_line(line) + "\n")


def print_document(text: str, *, as_json: bool = False) -> None:
    """Print a text of many lines, in which no character can command the terminal."""
    sys.stdout.write(sanitize_json(text.encode("utf-8", "surrogatepass")) if as_json else sanitize_lines(text))
    sys.stdout.flush()


def measure_width() -> int:
    """Return the width of the terminal in characters; in a pipe the usual one."""
    return shutil.get_terminal_size(fallback=(100, 24)).columns


def print_note(note: str | None) -> None:
    """Print a note about a reply on stderr, so that pipes contain only rows."""
    if note:
        sys.stderr.write(f"{sanitize_line(note)}\n")


def create_console() -> Console:
    """Create a console for stdout, which neither wraps nor colors in a pipe. It respects NO_COLOR and FORCE_COLOR."""
    from rich.console import Console

    class PipedConsole(Console):
        """A console for which a reader that closes the pipe is no failure."""

        def on_broken_pipe(self) -> None:
            exit_unread()

    return PipedConsole(
        highlight=False, markup=False, emoji=False, soft_wrap=not draws_on(), no_color=is_plain() or None
    )


def style_status(value: str) -> Text:
    """Return a cell in the color of its status."""
    from rich.text import Text

    return Text(sanitize_line(value), STYLES.get(value.partition(" ")[0], ""))


def print_table(
    columns: Sequence[TableColumn],
    rows: Iterable[Sequence[Any]],
    *,
    empty: str = "nothing matches",
    wide: bool = False,
) -> None:
    """Print a table.

    In a pipe: a line of names, then a line for each row, with tabs between the columns. Absent values are `-`.

    Args:
        columns: The columns.
        rows: The values.
        empty: Message for an empty table on a terminal.
        wide: Print all columns uncut, also if they do not fit the terminal.
    """
    if is_plain():
        names = [column.header for column in columns]
        print_paragraphs(names, [[format_cell(value) for value in row] for row in rows], empty=empty)
        return
    if not sys.stdout.isatty():
        _print_tabs(columns, rows)
        return
    rows = list(rows)
    if not rows:
        print_note(empty)
        return
    columns, cells = _with_ages(columns, rows, wide=wide)
    _print_columns(columns, cells, wide=wide)


def _print_tabs(columns: Sequence[TableColumn], rows: Iterable[Sequence[Any]]) -> None:
    sys.stdout.write("\t".join(column.name for column in columns) + "\n")
    for row in rows:
        sys.stdout.write("\t".join(format_cell(value) for value in row) + "\n")
    sys.stdout.flush()


def _with_ages(
    columns: Sequence[TableColumn], rows: Sequence[Sequence[Any]], *, wide: bool
) -> tuple[list[TableColumn], list[list[str]]]:
    """Return the columns and cells of a terminal, with ages instead of times, or beside them if `wide`."""
    cells = [[format_cell(value) for value in row] for row in rows]
    shown = list(columns)
    now = time.time()
    for at in reversed([number for number, column in enumerate(columns) if column.age]):
        single = sum(column.age for column in columns) == 1
        title = "age" if single or wide else columns[at].header
        age = columns[at]._replace(title=title, whole=True, right=True, least=4)
        if wide:
            shown.insert(at + 1, age)
        else:
            shown[at] = age
        for line, row in zip(cells, rows, strict=True):
            if wide:
                line.insert(at + 1, format_age(row[at], now))
            else:
                line[at] = format_age(row[at], now)
    return shown, cells


def _print_columns(columns: Sequence[TableColumn], cells: Sequence[Sequence[str]], *, wide: bool) -> None:
    from rich.cells import cell_len
    from rich.text import Text

    target = create_console()
    natural = [max(cell_len(column.header), *(cell_len(row[at]) for row in cells)) for at, column in enumerate(columns)]
    if wide:
        widths = dict(enumerate(natural))
    else:
        shown = _fit_columns(columns, natural, target.width)
        room = target.width - COLUMN_GAP_WIDTH * (len(shown) - 1)
        widths = _shrink_widths({at: natural[at] for at in shown}, columns, room)

    def print_row(row: Sequence[str], style: str = "") -> None:
        parts = []
        for at, width in widths.items():
            part = Text(row[at], style or STYLES.get(row[at].partition(" ")[0], ""))
            part.truncate(width, overflow="ellipsis")
            part.align("right" if columns[at].right else "left", width)
            parts.append(part)
        line = Text(" " * COLUMN_GAP_WIDTH).join(parts)
        target.print(line, no_wrap=True, crop=not wide, soft_wrap=wide)

    print_row([column.header for column in columns], "bold")
    for row in cells:
        print_row(row)


def _fit_columns(columns: Sequence[TableColumn], natural: Sequence[int], width: int) -> list[int]:
    """Return the indexes of the columns for which there is room."""
    needed = [wide if column.whole else min(wide, column.least) for column, wide in zip(columns, natural, strict=True)]
    shown = list(range(len(columns)))
    while len(shown) > 1 and sum(needed[at] for at in shown) + COLUMN_GAP_WIDTH * (len(shown) - 1) > width:
        shown.remove(max(shown, key=lambda at: (columns[at].rank, at)))
    return shown


def plan_widths(columns: Sequence[TableColumn], width: int) -> dict[int, int]:
    """Plan the columns of a table whose rows are not known yet: index and width of each column that fits.

    Columns that can be cut share the remaining width equally.
    """
    least = [column.least for column in columns]
    widths = {at: least[at] for at in _fit_columns(columns, least, width)}
    flexible = [at for at in widths if not columns[at].whole]
    remaining = max(0, width - sum(widths.values()) - COLUMN_GAP_WIDTH * (len(widths) - 1))
    for number, at in enumerate(flexible):
        widths[at] += remaining // len(flexible) + (number < remaining % len(flexible))
    return widths


def _shrink_widths(natural: dict[int, int], columns: Sequence[TableColumn], width: int) -> dict[int, int]:
    """Cut the columns that can be cut to a common maximum at which all columns fit."""
    flexible = [at for at in natural if not columns[at].whole]
    widths = dict(natural)
    for maximum in range(max((natural[at] for at in flexible), default=0), 0, -1):
        if sum(widths.values()) <= width:
            break
        for at in flexible:
            widths[at] = min(natural[at], max(columns[at].least, maximum))
    return widths


def format_cell(value: Any) -> str:
    """Format a value as the text of a cell."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:,.1f}" if sys.stdout.isatty() else f"{value:.3f}".rstrip("0").rstrip(".")
        case list():
            return ", ".join(format_cell(item) for item in value) or "-"
    return sanitize_line(str(value)) or "-"


def format_age(timestamp: Any, now_s: float) -> str:
    """Format the time since an RFC 3339 timestamp as kubectl does: `45s`, `12m`, `5h`, `3d`."""
    from sidecar.domain.timestamps import parse_rfc3339

    try:
        seconds = max(0, round(now_s - parse_rfc3339(timestamp) / 1e6))
    except (TypeError, ValueError):
        return format_cell(timestamp)
    for limit, size, unit in ((120, 1, "s"), (7_200, 60, "m"), (172_800, 3_600, "h")):
        if seconds < limit:
            return f"{seconds // size}{unit}"
    return f"{seconds // 86_400}d"
