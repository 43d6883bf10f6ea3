"""`tracecar events` and `tracecar event`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer

from sidecar.cli.arguments import PlainCommand, QueryCommand, join_words, restore_word
from sidecar.cli.command_group import examples
from sidecar.cli.completion import complete_event, complete_query
from sidecar.cli.errors import print_suggestion, run_client
from sidecar.cli.options import URL, Connection, Json, Output, OutputFormat, Token, Url, Watch, choose_format
from sidecar.cli.output.coverage import describe_coverage
from sidecar.cli.output.lists import ListPage, ListView, print_item, print_list, show_list, show_object
from sidecar.cli.output.tables import TableColumn, print_note

if TYPE_CHECKING:
    from sidecar.api import models
    from sidecar.api.client.client import Client

COLUMNS = (
    TableColumn("appended_at", least=24, whole=True, rank=1, age=True),
    TableColumn("stream", least=8, rank=2),  # the position has it too
    TableColumn("type", least=12),
    TableColumn("aggregate_id", least=8, rank=4),
    TableColumn("event_id", least=8, rank=5),
    TableColumn("trace_id", least=8, rank=6),
    TableColumn("status", least=9),
    TableColumn("position", least=30, whole=True),  # half an id is of no use
)
DEFAULT_LIMIT_EVENTS = 100
MAX_PAGE_EVENTS = 1_000


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.command(
        "events",
        cls=QueryCommand,
        epilog=examples(
            "tracecar events 'type:Order* status:rejected since:15m'",
            "tracecar events stream:orders -status:ok",
            "tracecar events --follow 'body.data.total:>100'",
            "tracecar events --scan --key 4711 since:2d",
            "tracecar events status:rejected -o name | head -n 1",
            "tracecar events since:1d --limit 0 -o parquet > events.parquet",
        ),
    )(events)
    app.command(
        "event",
        cls=PlainCommand,
        epilog=examples("tracecar event kafka://orders/0/4711", "tracecar event 5f0c9a52-77d1 --json"),
    )(event)


def events(
    query: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="QUERY", help="Query, for example: type:Order* status:rejected.", autocompletion=complete_query
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print new events as they arrive.")] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", metavar="N", min=0, help="Maximum number of events (100); 0 means all.", show_default=False
        ),
    ] = None,
    scan: Annotated[
        bool, typer.Option("--scan", help="Read the broker's log instead of the index, oldest first.")
    ] = False,
    key: Annotated[
        str | None,
        typer.Option(
            "--key", metavar="KEY", help="With --scan: read only the partition of this record key.", show_default=False
        ),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Include headers and bodies.")] = False,
    json: Json = False,
    output: Output = None,
    watch: Watch = False,
    url: Url = URL,
    token: Token = None,
) -> None:
    """List events, newest first."""
    chosen = choose_format(json, output)
    if follow and scan:
        raise typer.BadParameter("--follow prints new events and --scan old ones: choose one")
    if follow and full:
        raise typer.BadParameter("--follow prints no bodies: show one with `tracecar event POSITION`")
    if follow and chosen is not None and chosen.is_file:
        raise typer.BadParameter(f"--follow has no end, and {chosen} is a whole file: use --output json")
    if watch and (follow or scan or full):
        raise typer.BadParameter("--watch repeats the list: use it without --follow, --scan and --full")
    if key is not None and not scan:
        raise typer.BadParameter("--key needs --scan; to search the index, add key:VALUE to the query")
    text, connection = join_words(query), Connection(url, token)
    wanted = DEFAULT_LIMIT_EVENTS if limit is None else limit
    if follow:
        run_client(_follow(connection.connect(), text, limit or 0, chosen))
    elif scan:
        record_key = None if key is None else restore_word(key)
        run_client(_scan(connection.connect(), text, wanted, record_key, chosen, full=full))
    elif (full or chosen is OutputFormat.JSON) and not (chosen is not None and chosen.is_file):
        run_client(_list(connection.connect(), text, wanted, chosen, full=full))
    else:
        show_list(VIEW, lambda client: _fetch(client, text, wanted, full=full), connection, chosen, watch=watch)


def event(
    id: Annotated[
        str, typer.Argument(metavar="ID", help="Position of a record, or an event id.", autocompletion=complete_event)
    ],
    json: Json = False,
    output: Output = None,
    url: Url = URL,
    token: Token = None,
) -> None:
    """Show an event with its headers and body."""
    event = Connection(url, token).ask(lambda client: client.event(id))
    show_object(event, choose_format(json, output), _name, _print_details)


async def _fetch(client: Client, query: str, limit: int, *, full: bool) -> ListPage[models.EventModel]:
    items: list[models.EventModel] = []
    note = did_you_mean = None
    async for page in _iterate_pages(client, query, limit, full=full):
        items += page.items
        note, did_you_mean = describe_coverage(page.coverage), page.did_you_mean
    return ListPage(items, note, None if items else did_you_mean)


async def _list(client: Client, query: str, limit: int, output: OutputFormat | None, *, full: bool) -> None:
    """Print events page by page, so that a long list of JSON needs little memory."""
    async with client:
        coverage, did_you_mean, is_empty = None, None, True
        async for page in _iterate_pages(client, query, limit, full=full):
            coverage, did_you_mean, is_empty = page.coverage, page.did_you_mean, is_empty and not page.items
            for item in page.items:
                show_object(item, output, _name, _print_details)
    if coverage is not None:
        print_note(describe_coverage(coverage))
    print_suggestion(did_you_mean if is_empty else None)


async def _iterate_pages(client: Client, query: str, limit: int, *, full: bool) -> AsyncIterator[models.EventPage]:
    cursor, remaining = None, limit
    while True:
        size = min(remaining, MAX_PAGE_EVENTS) if limit else MAX_PAGE_EVENTS
        page = await client.events(query, limit=size, cursor=cursor, full=full)
        yield page
        cursor, remaining = page.cursor, remaining - len(page.items)
        if cursor is None or (limit and remaining <= 0):
            return


def _row(event: models.EventModel) -> tuple[object, ...]:
    return (
        event.appended_at,
        event.stream,
        event.type,
        event.aggregate_id,
        event.event_id,
        event.trace_id,
        event.status if event.rejection is None else f"{event.status} {event.rejection.code}",
        event.position,
    )


def _name(event: models.EventModel) -> str:
    return event.position


def _print_details(event: models.EventModel) -> None:
    from sidecar.cli.output.event_details import print_event

    print_event(event)


VIEW = ListView(COLUMNS, _row, _name, "no event in the index matches")


async def _follow(client: Client, query: str, limit: int, output: OutputFormat | None) -> None:
    from sidecar.api import models
    from sidecar.api.client.client import LiveConnected, LiveRetry, Unreachable

    printer, printed, connected = _EventPrinter(output), 0, False
    async with client, aclosing(client.live(query)) as items:
        async for item in items:
            if isinstance(item, models.EventModel):
                printer.print(item)
                printed += 1
                if printed == limit:
                    return
            elif isinstance(item, models.DroppedModel):
                print_note(f"{item.count} events were dropped: they arrived faster than they could be printed")
            elif isinstance(item, LiveConnected):
                connected = True
                if item.again:
                    print_note("reconnected; events that passed meanwhile are missing")
            elif isinstance(item, LiveRetry):
                if not connected:
                    raise Unreachable(item.reason)
                print_note(f"{item.reason}; retrying")


async def _scan(
    client: Client, query: str, limit: int, key: str | None, output: OutputFormat | None, *, full: bool
) -> None:
    from sidecar.api import models
    from sidecar.cli.output.row_stream import ScanProgressLine

    printer = _EventPrinter(output, full=full)
    async with client:
        with ScanProgressLine() as progress:
            async with aclosing(client.scan(query, limit=limit, key=key, full=full)) as items:
                async for item in items:
                    if isinstance(item, models.ScanProgressModel):
                        progress.show(item)
                        continue
                    progress.clear()
                    if isinstance(item, models.ScanEndModel):
                        print_note(f"{item.scanned} records read, {item.matched} matched: {item.reason}")
                        print_suggestion(item.did_you_mean)
                    else:
                        printer.print(item)
    printer.close()


class _EventPrinter:
    """Prints events one by one: as rows, in full, or in the chosen format."""

    def __init__(self, output: OutputFormat | None, *, full: bool = False) -> None:
        from sidecar.cli.output.row_stream import RowStream

        as_rows = output in (None, OutputFormat.WIDE)
        self._output = None if as_rows else output
        self._collected: list[models.EventModel] | None = [] if output is not None and output.is_file else None
        self._rows = RowStream(COLUMNS, wide=output is OutputFormat.WIDE) if as_rows and not full else None

    def print(self, event: models.EventModel) -> None:
        """Print an event, or keep it for the file."""
        if self._collected is not None:
            self._collected.append(event)
        elif self._rows is not None:
            self._rows.print(_row(event))
        elif self._output is not None:
            print_item(event, self._output, _name)
        else:
            _print_details(event)

    def close(self) -> None:
        """Print the file of all events, if the format is one."""
        if self._collected is not None:
            print_list(VIEW, self._collected, self._output)
