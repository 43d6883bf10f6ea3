"""`tracecar dialects`: the header dialects of dead letters, from the code."""

from __future__ import annotations

import typer

from sidecar.cli.options import Json
from sidecar.cli.output.tables import TableColumn, print_json, print_table

COLUMNS = (
    TableColumn("dialect", whole=True),
    TableColumn("framework", whole=True, rank=1),
    TableColumn("streams", least=20, rank=2),
    TableColumn("recognized by", least=24, rank=4),
    TableColumn("written", whole=True, rank=3),
)


def register(app: typer.Typer) -> None:
    app.command("dialects")(dialects)


def dialects(json: Json = False) -> None:
    """The frameworks whose dead letters are understood: their streams by default, the headers they are recognized by,
    and whether these can be written beside Tracecar's own (dead_letters.dialects)."""
    from sidecar.dead_letters.dialects import DIALECTS

    if json:
        for dialect in DIALECTS:
            print_json(
                {
                    "dialect": dialect.name,
                    "framework": dialect.framework,
                    "streams": dialect.streams,
                    "recognised_by": dialect.markers,
                    "read": True,
                    "written": dialect.is_written,
                }
            )
        return
    print_table(
        COLUMNS,
        (
            (dialect.name, dialect.framework, list(dialect.streams), list(dialect.markers), dialect.is_written)
            for dialect in DIALECTS
        ),
    )
