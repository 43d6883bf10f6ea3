"""`tracecar schemas`: registered schemas and where they are used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sidecar.cli.arguments import PlainCommand
from sidecar.cli.command_group import DefaultCommandGroup, examples
from sidecar.cli.completion import complete_subject
from sidecar.cli.options import URL, Connection, Json, Output, Token, Url, Watch, choose_format
from sidecar.cli.output.lists import ListPage, ListView, show_list, show_object
from sidecar.cli.output.tables import TableColumn, print_line, print_note
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


group = typer.Typer(cls=DefaultCommandGroup, rich_markup_mode=None, subcommand_metavar="[SUBJECT] | COMMAND")


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.add_typer(group, name="schemas")


@group.callback(
    invoke_without_command=True,
    epilog=examples(
        "tracecar schemas",
        "tracecar schemas orders-value",
        "tracecar schemas check order-v3.avsc --subject orders-value",
    ),
)
def root(
    context: typer.Context,
    json: Json = False,
    output: Output = None,
    watch: Watch = False,
    url: Url = URL,
    token: Token = None,
) -> None:
    """List registered schemas and where they are used.

    With a subject, show its latest schema.
    """
    if context.invoked_subcommand is None:
        list_schemas(None, json, output, watch, url, token)


@group.command("list", cls=PlainCommand, epilog=examples("tracecar schemas orders-value", "tracecar schemas -o name"))
def list_schemas(
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


@group.command(
    "check", cls=PlainCommand, epilog=examples("tracecar schemas check order-v3.avsc --subject orders-value")
)
def check_schema(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Text of the new version.")],
    subject: Annotated[
        str, typer.Option("--subject", metavar="SUBJECT", help="Subject of the new version.", show_default=False)
    ],
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=10_000, help="Events to check.")] = 1_000,
    json: Json = False,
    output: Output = None,
    url: Url = URL,
    token: Token = None,
) -> None:
    """Check a schema version against real events.

    Checks that consumers on the new version can read the newest events and as many of the history, and that consumers
    on the current versions could read them if the new version wrote them. Exits with 1 if one could not. The new
    version need not be registered.
    """
    from sidecar.api import models

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"cannot read {file}: {error}") from None

    request = models.SchemaCheckRequest(subject=subject, text=text, limit=limit)
    result = Connection(url, token).ask(lambda client: client.check_schema(request))
    show_object(result, choose_format(json, output), lambda each: each.subject, _print_check)
    if result.faults:
        raise typer.Exit(1)


def _print_check(result: models.SchemaCheckResult) -> None:
    versions = ", ".join(map(str, result.versions)) or "none"
    stored = f", {result.stored_events:,} of them from the history" if result.stored_events else ""
    print_line(f"{result.survived:,} of {result.events:,} events{stored} would survive (versions in use: {versions})")
    print_note(result.note)
    for fault in result.faults:
        place = f" at {fault.path}" if fault.path else ""
        print_line(f"{fault.reader}{place}: {fault.message} ({fault.count:,} events, first {fault.evidence[0]})")


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
