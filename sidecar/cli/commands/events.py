"""`tracecar events` and `tracecar event`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer

from sidecar.cli.errors import ask
from sidecar.cli.options import URL, Json, Token, Url, connect
from sidecar.cli.output import event_details
from sidecar.cli.output.tables import TableColumn, print_json, print_table, say_note
from sidecar.cli.query_argument import QueryCommand, joined, plain

if TYPE_CHECKING:
    from sidecar.api import models
    from sidecar.api.client.client import Client

COLUMNS = (
    TableColumn("appended_at", least=24, whole=True, rank=2),
    TableColumn("stream", least=8, rank=1),
    TableColumn("type", least=12),
    TableColumn("aggregate_id", least=8, rank=3),
    TableColumn("event_id", least=8, rank=4),
    TableColumn("trace_id", least=8, rank=5),
    TableColumn("status", least=9),
    TableColumn("position", least=24, rank=6),
)
DEFAULT_LIMIT = 100


def register(app: typer.Typer) -> None:
    app.command("events", cls=QueryCommand)(events)
    app.command("event")(event)


def events(
    query: Annotated[list[str] | None, typer.Argument(help="Such as: type:Order* status:rejected since:15m")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with events as they pass.")] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", min=0, help="At most so many (100); 0 is all.", show_default=False)
    ] = None,
    scan: Annotated[
        bool, typer.Option("--scan", help="Read the broker itself, beyond the index, oldest first.")
    ] = False,
    key: Annotated[
        str | None, typer.Option("--key", help="With --scan: only records with this key, from its partition alone.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="With headers and bodies.")] = False,
    json: Json = False,
    url: Url = URL,
    token: Token = None,
) -> None:
    """Events, newest first."""
    if follow and scan:
        raise typer.BadParameter("--follow looks ahead and --scan back: choose one")
    if follow and full:
        raise typer.BadParameter("--follow shows no bodies: look at one with `tracecar event POSITION`")
    if key is not None and not scan:
        raise typer.BadParameter("--key goes with --scan; among the held events, search with key:VALUE")
    text, client = joined(query), connect(url, token)
    if follow:
        ask(_follow(client, text, limit or 0, json=json))
    elif scan:
        ask(
            _scan(
                client,
                text,
                DEFAULT_LIMIT if limit is None else limit,
                None if key is None else plain(key),
                full=full,
                json=json,
            )
        )
    else:
        ask(_list(client, text, DEFAULT_LIMIT if limit is None else limit, full=full, json=json))


def event(
    id: Annotated[str, typer.Argument(help="A position, or an event id.")],
    json: Json = False,
    url: Url = URL,
    token: Token = None,
) -> None:
    """One event with its headers and body."""

    async def show() -> None:
        async with connect(url, token) as client:
            found = await client.event(id)
        if json:
            print_json(found)
        else:
            event_details.print_event(found)

    ask(show())


async def _list(client: Client, query: str, limit: int, *, full: bool, json: bool) -> None:
    rows: list[models.EventModel] = []
    async with client:
        coverage = None
        async for page in _pages(client, query, limit, full=full):
            coverage = page.coverage
            if json:
                for item in page.items:
                    print_json(item)
            else:
                rows += page.items
    if not json:
        _print(rows, full=full)
    if coverage is not None:
        say_note(_coverage(coverage))


async def _pages(client: Client, query: str, limit: int, *, full: bool) -> AsyncIterator[models.EventPage]:
    cursor, left = None, limit
    while True:
        page = await client.events(query, limit=min(left, 1_000) if limit else 1_000, cursor=cursor, full=full)
        yield page
        cursor, left = page.cursor, left - len(page.items)
        if cursor is None or (limit and left <= 0):
            return


def _print(events: list[models.EventModel], *, full: bool = False) -> None:
    if full:
        for one in events:
            event_details.print_event(one)
    else:
        print_table(COLUMNS, (_row(one) for one in events), empty="no event that matches is held")


def _row(one: models.EventModel) -> tuple[object, ...]:
    return (
        one.appended_at,
        one.stream,
        one.type,
        one.aggregate_id,
        one.event_id,
        one.trace_id,
        one.status if one.rejection is None else f"{one.status} {one.rejection.code}",
        one.position,
    )


def _coverage(coverage: models.CoverageModel) -> str | None:
    """What the answer could not know about, where there is something to say."""
    parts = [coverage.note or ""]
    if coverage.filling:
        parts.append("The index is still filling: older events are missing.")
    if coverage.evicted:
        since = f" since {coverage.since}" if coverage.since else ""
        parts.append(f"The index holds {coverage.events} events{since}; --scan looks further back.")
    return " ".join(part for part in parts if part) or None


async def _follow(client: Client, query: str, limit: int, *, json: bool) -> None:
    from sidecar.api import models
    from sidecar.api.client.client import LiveConnected, LiveRetry, Unreachable
    from sidecar.cli.output.row_stream import RowStream

    lines, seen, connected = None if json else RowStream(COLUMNS), 0, False
    async with client, aclosing(client.live(query)) as items:
        async for item in items:
            if isinstance(item, models.EventModel):
                if lines is None:
                    print_json(item)
                else:
                    lines.print(_row(item))
                seen += 1
                if seen == limit:
                    return
            elif isinstance(item, models.DroppedModel):
                say_note(f"{item.count} events passed too fast to be shown")
            elif isinstance(item, LiveConnected):
                connected = True
                if item.again:
                    say_note("connected again; what passed meanwhile was not seen")
            elif isinstance(item, LiveRetry):
                if not connected:
                    raise Unreachable(item.reason)
                say_note(f"{item.reason}; trying again")


async def _scan(client: Client, query: str, limit: int, key: str | None, *, full: bool, json: bool) -> None:
    from sidecar.api import models
    from sidecar.cli.output.row_stream import RowStream, ScanProgressLine

    lines = None if json or full else RowStream(COLUMNS)
    async with client:
        with ScanProgressLine() as progress:
            async with aclosing(client.scan(query, limit=limit, key=key, full=full)) as items:
                async for item in items:
                    if isinstance(item, models.ScanProgressModel):
                        progress.show(item)
                        continue
                    progress.clear()
                    if isinstance(item, models.ScanEndModel):
                        say_note(f"{item.scanned} records read, {item.matched} matched: {item.reason}")
                    elif lines is not None:
                        lines.print(_row(item))
                    elif json:
                        print_json(item)
                    else:
                        event_details.print_event(item)
