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
        for one in DIALECTS:
            print_json(
                {
                    "dialect": one.name,
                    "framework": one.framework,
                    "streams": one.streams,
                    "recognised_by": one.marks,
                    "read": True,
                    "written": one.written,
                }
            )
        return
    print_table(
        COLUMNS,
        ((one.name, one.framework, list(one.streams), list(one.marks), one.written) for one in DIALECTS),
    )
