"""`tracecar groups`, and who has read an event or a flow, in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from sidecar.cli.errors import ask
from sidecar.cli.options import URL, Json, Token, Url, connect
from sidecar.cli.output.tables import TableColumn, print_json, print_table, say_note

if TYPE_CHECKING:
    from sidecar.api import models


COLUMNS = (
    TableColumn("group", least=8),
    TableColumn("system", rank=4),
    TableColumn("streams", least=8, rank=2),
    TableColumn("members", right=True, whole=True, rank=3),
    TableColumn("lag", right=True, whole=True),
    TableColumn("rate", right=True, whole=True, rank=1),
    TableColumn("stuck_at", least=24),
    TableColumn("why", least=12, rank=5),
)


def register(app: typer.Typer) -> None:
    app.command("groups")(groups)


def groups(json: Json = False, url: Url = URL, token: Token = None) -> None:
    """The other consumer groups: how far they are, and where one has stopped (inferred: probably poisoned)."""

    async def show() -> models.GroupPage:
        async with connect(url, token) as client:
            return await client.groups()

    page = ask(show())
    if json:
        for item in page.items:
            print_json(item)
    else:
        print_table(COLUMNS, (_row(item) for item in page.items), empty="no other group reads the watched streams")
    say_note(page.note)


def _row(group: models.GroupModel) -> tuple[object, ...]:
    return (
        group.group,
        group.system,
        [stream.stream for stream in group.streams],
        group.members,
        group.lag,
        group.rate,
        group.stuck_at,
        group.stopped[0].reason if group.stopped else None,
    )
