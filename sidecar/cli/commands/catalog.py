"""`tracecar catalog`: which events exist, who produces and who consumes them."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sidecar.cli.arguments import QueryCommand, join_words
from sidecar.cli.command_group import examples
from sidecar.cli.completion import complete_query
from sidecar.cli.errors import print_error, print_suggestion
from sidecar.cli.options import URL, Connection, Json, OutputFormat, Token, Url
from sidecar.cli.output.lists import ListView, print_list
from sidecar.cli.output.tables import TableColumn, print_line, print_note

if TYPE_CHECKING:
    from sidecar.api import models

COLUMNS = (
    TableColumn("stream", least=10),
    TableColumn("type", least=14),
    TableColumn("producers", least=10, rank=1),
    TableColumn("consumers", least=10, rank=2),
    TableColumn("events", right=True, whole=True),
    TableColumn("rate", right=True, whole=True, rank=4, title="events/s"),
    TableColumn("size_bytes", right=True, whole=True, rank=5, title="bytes"),
    TableColumn("schemas", least=8, rank=3),
    TableColumn("owner", least=6, rank=6),
)
DIFFERENCE_COLUMNS = (
    TableColumn("difference", whole=True),
    TableColumn("stream", least=12),
    TableColumn("type", least=12),
    TableColumn("message", least=30, rank=1),
)


class CatalogFormat(enum.StrEnum):
    """Formats of the catalog."""

    TABLE = "table"
    JSON = "json"
    MARKDOWN = "markdown"
    ASYNCAPI = "asyncapi"
    EVENTCATALOG = "eventcatalog"


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command(
        "catalog",
        cls=QueryCommand,
        epilog=examples(
            "tracecar catalog",
            "tracecar catalog stream:orders --format json",
            "tracecar catalog --format asyncapi > asyncapi.yaml",
            "tracecar catalog --format eventcatalog -o catalog/",
            "tracecar catalog --against asyncapi.yaml",
        ),
    )(catalog)


def catalog(
    query: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="QUERY",
            help="Query of the events to list, for example: stream:orders.",
            show_default=False,
            autocompletion=complete_query,
        ),
    ] = None,
    format: Annotated[
        CatalogFormat,
        typer.Option(
            "--format",
            metavar="FORMAT",
            show_choices=False,
            help="Format: table, json, markdown, asyncapi (3.0, YAML) or eventcatalog (files; needs -o).",
        ),
    ] = CatalogFormat.TABLE,
    directory: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="Directory to write the files to; created if missing."),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            metavar="FILE",
            help="AsyncAPI file (2 or 3, YAML or JSON) to compare with: print the differences, and exit with 1 if any.",
        ),
    ] = None,
    json: Json = False,
    url: Url = URL,
    token: Token = None,
) -> None:
    """List the types of events, with their producers and consumers.

    The catalog is built from the events that the sidecar holds, the consumer groups and the schema registry.
    """
    chosen = CatalogFormat.JSON if json else format
    if chosen is CatalogFormat.EVENTCATALOG and directory is None:
        raise typer.BadParameter("--format eventcatalog writes files: add -o DIR")
    declared = None if against is None else _read_document(against)

    page = Connection(url, token).ask(lambda client: client.catalog(join_words(query)))
    if declared is not None:
        _print_differences(declared, page, as_json=chosen is CatalogFormat.JSON)
    elif directory is not None:
        _write_files(_files(page, chosen), directory)
    elif chosen in (CatalogFormat.TABLE, CatalogFormat.JSON):
        _print_entries(page, as_json=chosen is CatalogFormat.JSON)
    else:
        ((_, text),) = _files(page, chosen).items()
        typer.echo(text, nl=False)


def _files(page: models.CatalogPage, format: CatalogFormat) -> dict[str, str]:
    """Return the text of each file by its path."""
    from sidecar.cli.output import catalog_files
    from sidecar.cli.output.asyncapi import to_asyncapi
    from sidecar.domain.json_safe import encode_json

    match format:
        case CatalogFormat.MARKDOWN:
            return {"catalog.md": catalog_files.to_markdown(page)}
        case CatalogFormat.ASYNCAPI:
            import yaml

            text = yaml.safe_dump(to_asyncapi(page, "1.0.0"), sort_keys=False, allow_unicode=True, width=120)
            return {"asyncapi.yaml": text}
        case CatalogFormat.EVENTCATALOG:
            return catalog_files.to_eventcatalog(page)
    return {"catalog.json": "".join(encode_json(item).decode() + "\n" for item in page.items)}


def _write_files(files: dict[str, str], directory: Path) -> None:
    try:
        for name, text in files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        print_error(f"cannot write {error.filename}: {error.strerror}")
        raise typer.Exit(1) from None
    print_line(f"{len(files)} files written to {directory}")


def _read_document(path: Path) -> dict[str, object]:
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise typer.BadParameter(f"cannot read {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{path} is neither YAML nor JSON: {' '.join(str(error).split())[:300]}") from None
    if not isinstance(document, dict):
        raise typer.BadParameter(f"{path}: expected an AsyncAPI document, found {type(document).__name__}")
    return document


def _print_entries(page: models.CatalogPage, *, as_json: bool) -> None:
    print_list(VIEW, page.items, OutputFormat.JSON if as_json else None)
    if not as_json:
        print_note(page.coverage.note)
        print_suggestion(page.did_you_mean)


def _print_differences(document: dict[str, object], page: models.CatalogPage, *, as_json: bool) -> None:
    from sidecar.cli.output.asyncapi import CatalogDifference, compare_with_asyncapi

    try:
        differences = compare_with_asyncapi(document, page)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    view: ListView[CatalogDifference] = ListView(
        DIFFERENCE_COLUMNS, tuple, lambda each: f"{each.stream}:{each.type}", "declared and real events agree"
    )
    if as_json:
        from sidecar.cli.output.tables import print_json

        for difference in differences:
            print_json(difference._asdict())
    else:
        print_list(view, differences, None)
    if differences:
        raise typer.Exit(1)


def _row(entry: models.CatalogEntryModel) -> tuple[object, ...]:
    schemas = [f"v{use.ref.version}" for use in entry.schemas if use.ref.version is not None]
    return (
        entry.stream,
        entry.type,
        entry.producers,
        entry.consumers,
        entry.events,
        entry.rate,
        entry.size_bytes,
        schemas,
        entry.owner,
    )


VIEW = ListView(COLUMNS, _row, lambda entry: entry.type or entry.stream, "no events are held yet")
