"""`tracecar flow`, `flows` and `aggregate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sidecar.cli.errors import ask
from sidecar.cli.options import URL, Json, Limit, Token, Url, connect
from sidecar.cli.output.tables import TableColumn, print_json, print_table, say_note

if TYPE_CHECKING:
    from sidecar.api import models

COLUMNS = (
    TableColumn("started_at", whole=True, rank=1),
    TableColumn("trace_id", least=8),
    TableColumn("events", right=True, whole=True),
    TableColumn("duration_ms", right=True, whole=True, rank=2),
    TableColumn("status", whole=True),
    TableColumn("aggregates", least=8, rank=3),
    TableColumn("streams", least=8, rank=4),
    TableColumn("producers", least=8, rank=5),
)
AGGREGATE_COLUMNS = (
    TableColumn("occurred_at", whole=True),
    TableColumn("type", least=12),
    TableColumn("version", rank=2),
    TableColumn("stream", least=8),
    TableColumn("producer", least=8, rank=1),
    TableColumn("status", whole=True),
    TableColumn("position", least=24, rank=3),
)


def register(app: typer.Typer) -> None:
    app.command("flow")(flow)
    app.command("flows")(flows)
    app.command("aggregate")(aggregate)


def flow(
    id: Annotated[str, typer.Argument(help="A trace, event, aggregate or correlation id, or a position.")],
    json: Json = False,
    url: Url = URL,
    token: Token = None,
) -> None:
    """The flow of an id: what caused what, across streams and services."""
    from sidecar.cli.output.flow_tree import print_flow

    async def show() -> models.FlowModel:
        async with connect(url, token) as client:
            return await client.flow(id)

    found = ask(show())
    if json:
        print_json(found)
    else:
        print_flow(found)


def flows(limit: Limit = 100, json: Json = False, url: Url = URL, token: Token = None) -> None:
    """Flows, newest first."""

    async def show() -> list[models.FlowModel]:
        found: list[models.FlowModel] = []
        cursor = None
        async with connect(url, token) as client:
            while True:
                page = await client.flows(limit=min(limit - len(found), 1_000) if limit else 1_000, cursor=cursor)
                found += page.items
                cursor = page.cursor
                if cursor is None or (limit and len(found) >= limit):
                    return found

    found = ask(show())
    if json:
        for one in found:
            print_json(one)
        return
    print_table(COLUMNS, (_row(one) for one in found), empty="no flow is held")


def _row(one: models.FlowModel) -> tuple[object, ...]:
    return (
        one.started_at,
        one.trace_id,
        one.event_count,
        one.duration_ms,
        one.status,
        one.aggregates,
        one.streams,
        one.producers,
    )


def aggregate(
    id: Annotated[str, typer.Argument(help="The aggregate's id.")],
    json: Json = False,
    url: Url = URL,
    token: Token = None,
) -> None:
    """The events of an aggregate, in order."""

    async def show() -> models.AggregateModel:
        async with connect(url, token) as client:
            return await client.aggregate(id)

    found = ask(show())
    if json:
        print_json(found)
        return
    print_table(
        AGGREGATE_COLUMNS,
        (
            (
                event.occurred_at or event.appended_at,
                event.type,
                event.version,
                event.stream,
                event.producer,
                event.status,
                event.position,
            )
            for event in found.events
        ),
    )
    if found.coverage.evicted or found.coverage.note:
        say_note(found.coverage.note or "older events may have been pushed out of the index")
