"""`tracecar sql`: SQL over the history."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sidecar.cli.arguments import PlainCommand
from sidecar.cli.command_group import examples
from sidecar.cli.options import URL, Connection, Json, Output, OutputFormat, Token, Url, choose_format
from sidecar.cli.output.tables import TableColumn, print_json, print_note, print_table

if TYPE_CHECKING:
    from sidecar.api import models

NUMERIC_TYPES = ("INT", "DECIMAL", "DOUBLE", "FLOAT", "REAL")


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command(
        "sql",
        cls=PlainCommand,
        epilog=examples(
            "tracecar sql 'SELECT type, count(*) FROM events GROUP BY type ORDER BY 2 DESC' --since 1h",
            "tracecar sql \"SELECT * FROM dead_letters WHERE state = 'open'\" --json",
            "tracecar sql --csv < report.sql > report.csv",
        ),
    )(sql)


def sql(
    statement: Annotated[
        str | None,
        typer.Argument(
            metavar="STATEMENT",
            help="A SELECT statement over events, bodies, dead_letters and flows. Without it: standard input.",
            show_default=False,
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="TIME",
            help="Read only files with events since this time, such as 1h.",
            show_default=False,
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            "--until", metavar="TIME", help="Read only files with events before this time.", show_default=False
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=0, help="Maximum number of rows; 0 means 10,000.")
    ] = 1_000,
    timeout: Annotated[float, typer.Option("--timeout", metavar="SECONDS", min=0.1, max=60, help="Time limit.")] = 30.0,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV with a header.")] = False,
    json: Json = False,
    output: Output = None,
    url: Url = URL,
    token: Token = None,
) -> None:
    """Query the recorded history (history.url) with SQL. Nothing else can be read, and nothing is changed."""
    chosen = choose_format(json, output)
    if csv and chosen not in (None, OutputFormat.CSV):
        raise typer.BadParameter(f"--csv and --output {chosen} contradict each other: use one of them")
    if chosen is OutputFormat.PARQUET:
        raise typer.BadParameter(
            "answers of SQL are text: use --output csv; the history itself is made of Parquet files"
        )
    if chosen is OutputFormat.NAME:
        raise typer.BadParameter("rows of SQL have no names: use --output json, or --csv")
    from sidecar.api.models import SqlRequestModel

    text = statement if statement is not None else sys.stdin.read()
    request = SqlRequestModel(statement=text, limit=limit, since=since, until=until, timeout_s=timeout)
    answer = Connection(url, token).ask(lambda client: client.sql(request))
    if csv or chosen is OutputFormat.CSV:
        _print_csv(answer)
    else:
        _print_rows(answer, chosen)
    if answer.truncated:
        print_note(f"only the first {len(answer.rows)} rows are printed: --limit asks for more, at most 10,000")


def _print_rows(answer: models.SqlAnswerModel, output: OutputFormat | None) -> None:
    names = [column.name for column in answer.columns]
    match output:
        case OutputFormat.JSON:
            for row in answer.rows:
                print_json(dict(zip(names, row, strict=True)))
        case OutputFormat.YAML:
            from sidecar.cli.output.lists import print_yaml

            for row in answer.rows:
                print_yaml(dict(zip(names, row, strict=True)))
        case _:
            columns = [
                TableColumn(column.name, least=8, right=column.type.startswith(NUMERIC_TYPES) or "INT" in column.type)
                for column in answer.columns
            ]
            print_table(columns, answer.rows, empty="no rows", wide=output is OutputFormat.WIDE)


def _print_csv(answer: models.SqlAnswerModel) -> None:
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([column.name for column in answer.columns])
    writer.writerows([_cell(value) for value in row] for row in answer.rows)
    sys.stdout.flush()


def _cell(value: Any) -> Any:
    """Return a value as a cell: JSON for what is neither text nor a number, empty for null."""
    from sidecar.cli.sanitize import sanitize_line
    from sidecar.domain.json_safe import encode_json

    if value is None:
        return None
    text = value if isinstance(value, str) else encode_json(value).decode()
    return sanitize_line(text) if sys.stdout.isatty() else text
