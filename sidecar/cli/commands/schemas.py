"""`tracecar schemas`: registered schemas and where they are used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sidecar.cli.arguments import PlainCommand
from sidecar.cli.command_group import examples
from sidecar.cli.completion import complete_subject
from sidecar.cli.options import URL, Connection, Json, Output, Token, Url, Watch, choose_format
from sidecar.cli.output.lists import ListPage, ListView, show_list
from sidecar.cli.output.tables import TableColumn
from sidecar.cli.sanitize import sanitize_line

if TYPE_CHECKING:
    from sidecar.api import models
    from sidecar.api.client.client import Client

COLUMNS = (
    TableColumn("subject", least=16),
    TableColumn("kind", whole=True, rank=2),
    TableColumn("versions", right=True, whole=True),
    TableColumn("latest", right=True, whole=True),
    TableColumn("compatibility", least=8, rank=1),
    TableColumn("seen", least=12, rank=3, title="seen on"),
)


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command(
        "schemas",
        cls=PlainCommand,
        epilog=examples("tracecar schemas", "tracecar schemas orders-value", "tracecar schemas -o name"),
    )(schemas)


def schemas(
    subject: Annotated[
        str | None,
        typer.Argument(
            metavar="SUBJECT",
            help="Subject to show with its latest schema.",
            show_default=False,
            autocompletion=complete_subject,
        ),
    ] = None,
    json: Json = False,
    output: Output = None,
    watch: Watch = False,
    url: Url = URL,
    token: Token = None,
) -> None:
    """List registered schemas and where they are used.

    With a subject, show its latest schema.
    """
    chosen = choose_format(json, output)
    texts: list[str] = []

    async def fetch(client: Client) -> ListPage[models.SubjectModel]:
        page = await client.schemas(subject)
        texts[:] = [item.text for item in page.items if isinstance(item.text, str)]
        return ListPage(page.items, page.coverage.note if chosen is None else None)

    show_list(VIEW, fetch, Connection(url, token), chosen, watch=watch)
    if chosen is None:
        for text in texts:
            _print_schema(text)


def _row(subject: models.SubjectModel) -> tuple[object, ...]:
    seen = [f"v{usage.version or '?'} on {', '.join(usage.streams)}" for usage in subject.seen]
    latest = max(subject.versions, default=None)
    return subject.subject, subject.kind, len(subject.versions), latest, subject.compatibility, seen


def _name(subject: models.SubjectModel) -> str:
    return subject.subject


def _print_schema(text: str) -> None:
    import contextlib

    import msgspec

    with contextlib.suppress(msgspec.DecodeError):  # a Protobuf schema is not JSON
        text = msgspec.json.format(text, indent=2)
    for line in text.split("\n"):
        typer.echo(sanitize_line(line))


VIEW = ListView(COLUMNS, _row, _name, "no subjects are registered")
