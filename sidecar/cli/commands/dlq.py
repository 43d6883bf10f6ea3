"""`tracecar dlq`: dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sidecar.cli.commands import dlq_actions, replay
from sidecar.cli.errors import ask
from sidecar.cli.options import URL, Json, Limit, Token, Url, connect
from sidecar.cli.output.tables import TableColumn, print_json, print_table, say_note
from sidecar.cli.query_argument import QueryCommand, joined

if TYPE_CHECKING:
    from sidecar.api import models

COLUMNS = (
    TableColumn("failed_at", whole=True, rank=3),
    TableColumn("stream", least=8),
    TableColumn("code", least=12),
    TableColumn("type", least=8, rank=5),
    TableColumn("message", least=16, rank=2),
    TableColumn("state", whole=True, rank=4),
    TableColumn("cause", whole=True, rank=6),
    TableColumn("id", least=56, rank=1),  # half an id is of no use
)
CAUSE_COLUMNS = (
    TableColumn("count", right=True, whole=True),
    TableColumn("stream", least=8, rank=1),
    TableColumn("code", least=14),
    TableColumn("message", least=20),
    TableColumn("last_seen", whole=True, rank=4),
    TableColumn("first_seen", whole=True, rank=7),
    TableColumn("rate", right=True, whole=True, rank=6),
    TableColumn("aggregates", right=True, whole=True, rank=5),
    TableColumn("groups", least=8, rank=8),
    TableColumn("cause", whole=True, rank=2),
    TableColumn("states", least=22, rank=3),
)
dlq = typer.Typer(help="Dead letters: what failed, why, and the way back.", no_args_is_help=True, rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    app.add_typer(dlq, name="dlq")
    dlq_actions.register(dlq)
    replay.register(app, dlq)


@dlq.command("list", cls=QueryCommand)
def list_letters(
    query: Annotated[list[str] | None, typer.Argument(help="Such as: stream:orders code:schema.* since:1h")] = None,
    limit: Limit = 100,
    json: Json = False,
    url: Url = URL,
    token: Token = None,
) -> None:
    """Dead letters, newest first; those of one origin are one."""
    text = joined(query)

    async def show() -> tuple[list[models.DeadLetterModel], str | None]:
        found: list[models.DeadLetterModel] = []
        cursor = None
        async with connect(url, token) as client:
            while True:
                page = await client.dead_letters(
                    text, limit=min(limit - len(found), 1_000) if limit else 1_000, cursor=cursor
                )
                found += page.items
                cursor = page.cursor
                if cursor is None or (limit and len(found) >= limit):
                    return found, page.note

    found, note = ask(show())
    if json:
        for one in found:
            print_json(one)
    else:
        print_table(
            COLUMNS,
            (
                (one.failed_at, one.stream, one.code, one.type, one.message, one.state, one.cause, one.id)
                for one in found
            ),
            empty="no dead letter that matches",
        )
    say_note(note)


@dlq.command("groups", cls=QueryCommand)
def list_causes(
    query: Annotated[list[str] | None, typer.Argument(help="Such as: stream:orders code:schema.* since:1h")] = None,
    limit: Limit = 100,
    json: Json = False,
    url: Url = URL,
    token: Token = None,
) -> None:
    """The causes of dead letters, those with the most letters first; rates are letters a minute over the last hour."""

    async def show() -> models.CausePage:
        async with connect(url, token) as client:
            return await client.causes(joined(query), limit=min(limit, 1_000))

    page = ask(show())
    if json:
        for item in page.items:
            print_json(item)
    else:
        print_table(
            CAUSE_COLUMNS,
            (
                (
                    *(item.count, item.stream, item.code, item.message, item.last_seen, item.first_seen, item.rate),
                    *(item.aggregates, item.groups, item.cause, _states(item.states)),
                )
                for item in page.items
            ),
            empty="no dead letter that matches",
        )
    say_note(page.note)


def _states(states: dict[str, int]) -> str:
    """Such as `open 3, replayed 1`: what became of most of them comes first."""
    return ", ".join(f"{state} {count}" for state, count in sorted(states.items(), key=lambda one: -one[1]) if count)


@dlq.command("show")
def show_letter(
    id: Annotated[str, typer.Argument(help="The dead letter's id.")],
    json: Json = False,
    url: Url = URL,
    token: Token = None,
) -> None:
    """One dead letter, with the record that it stands for."""
    from sidecar.cli.output.event_details import print_dead_letter

    async def show() -> models.DeadLetterModel:
        async with connect(url, token) as client:
            return await client.dead_letter(id)

    found = ask(show())
    if json:
        print_json(found)
    else:
        print_dead_letter(found)
