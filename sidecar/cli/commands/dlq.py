"""`tracecar dlq`: dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sidecar.cli.arguments import PlainCommand, QueryCommand, join_words
from sidecar.cli.command_group import CommandGroup, examples
from sidecar.cli.commands import dlq_actions, replay
from sidecar.cli.completion import complete_letter, complete_query
from sidecar.cli.options import URL, Connection, Json, Limit, Output, Token, Url, Watch, choose_format
from sidecar.cli.output.lists import ListPage, ListView, fetch_pages, show_list, show_object
from sidecar.cli.output.tables import TableColumn

if TYPE_CHECKING:
    from sidecar.api import models
    from sidecar.api.client.client import Client

MAX_PAGE_LETTERS = 1_000
COLUMNS = (
    TableColumn("failed_at", whole=True, rank=3, age=True),
    TableColumn("stream", least=8),
    TableColumn("code", least=12),
    TableColumn("type", least=8, rank=5),
    TableColumn("message", least=16, rank=2),
    TableColumn("state", whole=True, rank=4),
    TableColumn("cause", whole=True, rank=6),
    TableColumn("id", least=56, rank=1),  # half an id is of no use
)
CAUSE_COLUMNS = (
    TableColumn("count", right=True, whole=True, title="letters"),
    TableColumn("stream", least=8, rank=1),
    TableColumn("code", least=14),
    TableColumn("message", least=20),
    TableColumn("last_seen", whole=True, rank=4, age=True),
    TableColumn("first_seen", whole=True, rank=7, age=True),
    TableColumn("rate", right=True, whole=True, rank=6, title="letters/min"),
    TableColumn("aggregates", right=True, whole=True, rank=5),
    TableColumn("groups", least=8, rank=8),
    TableColumn("cause", whole=True, rank=2),
    TableColumn("states", least=22, rank=3),
)
Query = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="QUERY", help="Query, for example: stream:orders code:schema.* since:1h.", autocompletion=complete_query
    ),
]
dlq = typer.Typer(cls=CommandGroup, no_args_is_help=True, rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.add_typer(dlq, name="dlq")


@dlq.callback(
    epilog=examples(
        "tracecar dlq groups state:open                              why letters failed, by cause",
        "tracecar dlq list cause:9f86d081884c                        the letters of a cause",
        "tracecar dlq show tracecar.shop@kafka://orders/0/4711       a letter and its record",
        "tracecar dlq replay cause:9f86d081884c --dry-run            what a replay would do",
    )
)
def group(url: Url = URL, token: Token = None) -> None:
    """List, inspect, replay and discard dead letters."""


@dlq.command(
    "list",
    cls=QueryCommand,
    epilog=examples("tracecar dlq list stream:orders since:1h", "tracecar dlq list cause:9f86d081884c -o name"),
)
def list_letters(
    query: Query = None,
    limit: Limit = 100,
    json: Json = False,
    output: Output = None,
    watch: Watch = False,
    url: Url = URL,
    token: Token = None,
) -> None:
    """List dead letters, newest first. Dead letters of the same original record are shown as one row."""
    text = join_words(query)

    async def fetch(client: Client) -> ListPage[models.DeadLetterModel]:
        pages = await fetch_pages(
            lambda size, cursor: client.dead_letters(text, limit=size, cursor=cursor), limit, MAX_PAGE_LETTERS
        )
        letters = [letter for page in pages for letter in page.items]
        return ListPage(letters, pages[-1].note, pages[-1].did_you_mean)

    show_list(VIEW, fetch, Connection(url, token), choose_format(json, output), watch=watch)


@dlq.command(
    "groups",
    cls=QueryCommand,
    epilog=examples("tracecar dlq groups state:open since:1d", "tracecar dlq groups --watch"),
)
def list_causes(
    query: Query = None,
    limit: Limit = 100,
    json: Json = False,
    output: Output = None,
    watch: Watch = False,
    url: Url = URL,
    token: Token = None,
) -> None:
    """List the causes of dead letters, most letters first. Rates are letters per minute over the last hour."""

    async def fetch(client: Client) -> ListPage[models.CauseModel]:
        page = await client.causes(join_words(query), limit=min(limit, MAX_PAGE_LETTERS))
        return ListPage(page.items, page.note, page.did_you_mean)

    show_list(CAUSE_VIEW, fetch, Connection(url, token), choose_format(json, output), watch=watch)


@dlq.command("show", cls=PlainCommand, epilog=examples("tracecar dlq show tracecar.shop@kafka://orders/0/4711"))
def show_letter(
    id: Annotated[str, typer.Argument(metavar="ID", help="Id of the dead letter.", autocompletion=complete_letter)],
    json: Json = False,
    output: Output = None,
    url: Url = URL,
    token: Token = None,
) -> None:
    """Show a dead letter with its record and its history."""
    from sidecar.cli.output.event_details import print_dead_letter

    letter = Connection(url, token).ask(lambda client: client.dead_letter(id))
    show_object(letter, choose_format(json, output), lambda letter: letter.id, print_dead_letter)


def _row(letter: models.DeadLetterModel) -> tuple[object, ...]:
    return (
        letter.failed_at,
        letter.stream,
        letter.code,
        letter.type,
        letter.message,
        letter.state,
        letter.cause,
        letter.id,
    )


def _cause_row(cause: models.CauseModel) -> tuple[object, ...]:
    return (
        *(cause.count, cause.stream, cause.code, cause.message, cause.last_seen, cause.first_seen, cause.rate),
        *(cause.aggregates, cause.groups, cause.cause, _describe_states(cause.states)),
    )


def _describe_states(states: dict[str, int]) -> str:
    """Describe the states of letters, most frequent first: `open 3, replayed 1`."""
    by_count = sorted(states.items(), key=lambda state: -state[1])
    return ", ".join(f"{state} {count}" for state, count in by_count if count)


VIEW = ListView(COLUMNS, _row, lambda letter: letter.id, "no dead letters match")
CAUSE_VIEW = ListView(CAUSE_COLUMNS, _cause_row, lambda cause: cause.cause, "no dead letters match")
dlq_actions.register(dlq)
replay.register_letters(dlq)
