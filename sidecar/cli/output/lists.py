"""Output of lists and single objects in the format that the user chose, and repetition of lists with `--watch`."""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

import typer

from sidecar.cli.errors import print_suggestion
from sidecar.cli.options import Connection, OutputFormat
from sidecar.cli.output.tables import TableColumn, print_json, print_line, print_note, print_table
from sidecar.cli.plain_mode import draws_on

if TYPE_CHECKING:
    from sidecar.api.client.client import Client

T = TypeVar("T")
WATCH_INTERVAL_S = 2.0
CLEAR_SCREEN = "\x1b[H\x1b[J"


class ListView(NamedTuple, Generic[T]):
    """Columns of a list, and the texts of an item."""

    columns: Sequence[TableColumn]
    row: Callable[[T], Sequence[Any]]
    name: Callable[[T], object]
    """Function that returns the id that other commands accept."""
    empty: str


class ListPage(NamedTuple, Generic[T]):
    """Items, and a note about what is missing."""

    items: Sequence[T]
    note: str | None = None
    did_you_mean: str | None = None
    """Query that was probably meant, if there are no items."""


class CursorPage(Protocol):
    """A page of the API, with the cursor of the next one."""

    @property
    def items(self) -> Sequence[Any]:
        """Items of the page."""

    @property
    def cursor(self) -> str | None:
        """Cursor of the next page; None for the last page."""


Page = TypeVar("Page", bound=CursorPage)
Fetch = Callable[["Client"], Awaitable[ListPage[T]]]


def show_list(
    view: ListView[T], fetch: Fetch[T], connection: Connection, output: OutputFormat | None, *, watch: bool = False
) -> None:
    """Fetch a list and print it, once or every two seconds."""
    if watch and output is not None and output.is_file:
        raise typer.BadParameter(f"--watch repeats the list, and {output} is a whole file: use --output json")
    if not watch:
        page = connection.ask(fetch)
        print_list(view, page.items, output)
        print_note(page.note)
        print_suggestion(page.did_you_mean)
        return
    printed: dict[object, bytes] = {}
    while True:
        page = connection.ask(fetch)
        if output in (None, OutputFormat.WIDE) and draws_on():
            sys.stdout.write(CLEAR_SCREEN)
            print_list(view, page.items, output)
        elif changed := _select_changed(view, page.items, printed):
            print_list(view, changed, output)
        sys.stdout.flush()
        time.sleep(WATCH_INTERVAL_S)


async def fetch_pages(
    fetch: Callable[[int, str | None], Awaitable[Page]], limit: int, max_page_items: int
) -> list[Page]:
    """Fetch the pages of a list until they have enough items. Returns at least one page.

    Args:
        fetch: Function that fetches a page of a size, behind a cursor (None: the first page).
        limit: Number of items; 0 means all.
        max_page_items: Largest page that the sidecar returns.
    """
    pages: list[Page] = []
    count, cursor = 0, None
    while True:
        page = await fetch(min(limit - count, max_page_items) if limit else max_page_items, cursor)
        pages.append(page)
        count += len(page.items)
        cursor = page.cursor
        if cursor is None or (limit and count >= limit):
            return pages


def repeat(show: Callable[[], None], *, watch: bool) -> None:
    """Show something once; with `watch` again every two seconds, in place of the earlier output on a terminal."""
    while True:
        if watch and draws_on():
            sys.stdout.write(CLEAR_SCREEN)
        show()
        sys.stdout.flush()
        if not watch:
            return
        time.sleep(WATCH_INTERVAL_S)


def print_list(view: ListView[T], items: Sequence[T], output: OutputFormat | None) -> None:
    """Print items in a format."""
    match output:
        case OutputFormat.JSON | OutputFormat.YAML | OutputFormat.NAME:
            for item in items:
                print_item(item, output, view.name)
        case OutputFormat.CSV:
            from sidecar.cli.output.exports import print_csv

            print_csv(items)
        case OutputFormat.PARQUET:
            from sidecar.cli.output.exports import write_parquet

            write_parquet(items)
        case _:
            rows = (view.row(item) for item in items)
            print_table(view.columns, rows, empty=view.empty, wide=output is OutputFormat.WIDE)


def print_item(item: T, output: OutputFormat, name: Callable[[T], object]) -> None:
    """Print an item as JSON on a line, as a YAML document, or as its name."""
    match output:
        case OutputFormat.JSON:
            print_json(item)
        case OutputFormat.YAML:
            print_yaml(item)
        case OutputFormat.CSV | OutputFormat.PARQUET:
            raise typer.BadParameter(f"{output} is a format of lists: use --output json or yaml")
        case _:
            print_line(str(name(item)))


def show_object(
    item: T, output: OutputFormat | None, name: Callable[[T], object], print_details: Callable[[T], None]
) -> None:
    """Print a single object in a format; by default as text for people."""
    if output in (None, OutputFormat.WIDE):
        print_details(item)
    else:
        print_item(item, output, name)


def print_yaml(value: Any) -> None:
    """Print an object as a YAML document. If some characters are invisible, all are escaped."""
    import msgspec
    import yaml

    from sidecar.cli.sanitize import has_invisible
    from sidecar.domain.json_safe import ExactFloat, encode_json, parse_float

    class ExactDumper(yaml.SafeDumper):
        """Writes numbers with all their digits."""

    ExactDumper.add_representer(
        ExactFloat, lambda dumper, number: dumper.represent_scalar("tag:yaml.org,2002:float", number.digits)
    )
    plain = msgspec.json.Decoder(float_hook=parse_float).decode(encode_json(value))
    for allow_unicode in (True, False):
        text = yaml.dump(
            plain, Dumper=ExactDumper, sort_keys=False, allow_unicode=allow_unicode, explicit_start=True, width=120
        )
        if not has_invisible(text):
            break
    sys.stdout.write(text)
    sys.stdout.flush()


def _select_changed(view: ListView[T], items: Sequence[T], printed: dict[object, bytes]) -> list[T]:
    """Return the items that are new or changed since they were printed, and remember them."""
    from sidecar.domain.json_safe import encode_json

    changed = []
    for item in items:
        name, encoded = view.name(item), encode_json(item)
        if printed.get(name) != encoded:
            printed[name] = encoded
            changed.append(item)
    return changed
