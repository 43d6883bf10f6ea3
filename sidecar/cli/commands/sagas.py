"""`tracecar sagas`: declared sagas and their state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sidecar.cli.arguments import PlainCommand, QueryCommand, join_words
from sidecar.cli.command_group import DefaultCommandGroup, examples
from sidecar.cli.completion import complete_query, complete_saga, complete_saga_query
from sidecar.cli.options import URL, Connection, Json, Limit, Output, Token, Url, Watch, choose_format
from sidecar.cli.output.lists import ListPage, ListView, fetch_pages, show_list, show_object
from sidecar.cli.output.tables import TableColumn, print_line

if TYPE_CHECKING:
    from sidecar.api import models
    from sidecar.api.client.client import Client

MAX_PAGE_SAGAS = 1_000
COLUMNS = (
    TableColumn("started_at", whole=True, rank=2, age=True),
    TableColumn("saga", least=8),
    TableColumn("state", whole=True),
    TableColumn("aggregate_id", least=10, title="aggregate"),
    TableColumn("missing", least=12, rank=1),
    TableColumn("obstacle", least=20, rank=3),
    TableColumn("id", least=20, rank=4),
)

SagaQuery = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="QUERY",
        help="Query of sagas, for example: state:stuck saga:order.",
        show_default=False,
        autocompletion=complete_saga_query,
    ),
]

sagas = typer.Typer(cls=DefaultCommandGroup, rich_markup_mode=None, subcommand_metavar="[QUERY] | COMMAND")


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.add_typer(sagas, name="sagas")


@sagas.callback(
    invoke_without_command=True,
    epilog=examples(
        "tracecar sagas state:stuck",
        "tracecar sagas show order-4711",
        "tracecar sagas learn > sagas.yaml",
    ),
)
def root(
    context: typer.Context,
    limit: Limit = 100,
    json: Json = False,
    output: Output = None,
    watch: Watch = False,
    url: Url = URL,
    token: Token = None,
) -> None:
    """List declared sagas, show one, and propose declarations.

    Without a command, list those that match the query. Exits with 1 if a listed saga is stuck.
    """
    if context.invoked_subcommand is None:
        list_sagas(None, limit, json, output, watch, url, token)


@sagas.command("list", cls=QueryCommand, epilog=examples("tracecar sagas state:stuck", "tracecar sagas --watch"))
def list_sagas(
    query: SagaQuery = None,
    limit: Limit = 100,
    json: Json = False,
    output: Output = None,
    watch: Watch = False,
    url: Url = URL,
    token: Token = None,
) -> None:
    """List sagas, the latest started first. Exits with 1 if one of them is stuck."""
    stuck = False

    async def fetch(client: Client) -> ListPage[models.SagaModel]:
        nonlocal stuck
        text = join_words(query)
        pages = await fetch_pages(
            lambda size, cursor: client.sagas(text, limit=size, cursor=cursor), limit, MAX_PAGE_SAGAS
        )
        items = [saga for page in pages for saga in page.items]
        stuck = any(saga.state == "stuck" for saga in items)
        evicted = pages[-1].evicted
        note = f"{evicted:,} older sagas were evicted" if evicted else None
        return ListPage(items, note, pages[-1].did_you_mean)

    show_list(VIEW, fetch, Connection(url, token), choose_format(json, output), watch=watch)
    if stuck:
        raise typer.Exit(1)


@sagas.command("show", cls=PlainCommand, epilog=examples("tracecar sagas show order-4711"))
def show_saga(
    id: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="Id of the saga, its aggregate id or its trace id.",
            autocompletion=complete_saga,
        ),
    ],
    json: Json = False,
    output: Output = None,
    url: Url = URL,
    token: Token = None,
) -> None:
    """Show a saga with its steps and, if it is stuck, the reason."""
    saga = Connection(url, token).ask(lambda client: client.saga(id))
    show_object(saga, choose_format(json, output), lambda saga: saga.id, _print_saga)


@sagas.command("learn", cls=QueryCommand, epilog=examples("tracecar sagas learn", "tracecar sagas learn stream:orders"))
def learn_sagas(
    query: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="QUERY",
            help="Query of the events whose flows are analyzed, for example: stream:orders.",
            show_default=False,
            autocompletion=complete_query,
        ),
    ] = None,
    json: Json = False,
    output: Output = None,
    url: Url = URL,
    token: Token = None,
) -> None:
    """Propose declarations as YAML from observed flows.

    The YAML goes under `sagas` in the configuration.
    """
    from sidecar.cli.output.saga_lines import proposal_yaml

    page = Connection(url, token).ask(lambda client: client.learn_sagas(join_words(query)))
    show_object(
        page,
        choose_format(json, output),
        lambda page: "\n".join(saga.name for saga in page.items),
        lambda page: typer.echo(proposal_yaml(page), nl=False),
    )


def _print_saga(saga: models.SagaModel) -> None:
    from sidecar.cli.output.saga_lines import saga_lines

    for line in saga_lines(saga):
        print_line(line)


def _row(saga: models.SagaModel) -> tuple[object, ...]:
    obstacle = None if saga.obstacle is None else saga.obstacle.message
    return saga.started_at, saga.name, saga.state, saga.aggregate_id, saga.missing, obstacle, saga.id


VIEW = ListView(COLUMNS, _row, lambda saga: saga.id, "no sagas")
