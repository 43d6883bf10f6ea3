"""`tracecar dialects`: the header dialects of dead letters."""

from __future__ import annotations

from typing import Any

import typer

from sidecar.cli.arguments import PlainCommand
from sidecar.cli.command_group import examples
from sidecar.cli.options import Json, Output, choose_format
from sidecar.cli.output.lists import ListView, print_list
from sidecar.cli.output.tables import TableColumn

COLUMNS = (
    TableColumn("dialect", whole=True),
    TableColumn("framework", whole=True, rank=1),
    TableColumn("streams", least=20, rank=2),
    TableColumn("recognized by", least=24, rank=4),
    TableColumn("written", whole=True, rank=3),
)


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command(
        "dialects",
        cls=PlainCommand,
        epilog=examples("tracecar dialects", "tracecar dialects -o wide"),
    )(dialects)


def dialects(json: Json = False, output: Output = None) -> None:
    """List the frameworks whose dead letters Tracecar reads.

    Each has its default streams and the headers by which it is recognized. For dialects marked as written, Tracecar can
    also write that framework's headers into its own dead letters (dead_letters.dialects).
    """
    from sidecar.dead_letters.dialects import DIALECTS

    items = [
        {
            "dialect": dialect.name,
            "framework": dialect.framework,
            "streams": dialect.streams,
            "recognised_by": dialect.markers,
            "read": True,
            "written": dialect.is_written,
        }
        for dialect in DIALECTS
    ]
    print_list(VIEW, items, choose_format(json, output))


def _row(dialect: dict[str, Any]) -> tuple[object, ...]:
    return (
        dialect["dialect"],
        dialect["framework"],
        list(dialect["streams"]),
        list(dialect["recognised_by"]),
        dialect["written"],
    )


def _name(dialect: dict[str, Any]) -> object:
    return dialect["dialect"]


VIEW = ListView(COLUMNS, _row, _name, "no dialects")
