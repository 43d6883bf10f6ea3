"""`tracecar groups`: the consumer groups of the watched streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from sidecar.cli.arguments import PlainCommand
from sidecar.cli.command_group import examples
from sidecar.cli.options import URL, Connection, Json, Output, Token, Url, Watch, choose_format
from sidecar.cli.output.lists import ListPage, ListView, show_list
from sidecar.cli.output.tables import TableColumn

if TYPE_CHECKING:
    from sidecar.api import models
    from sidecar.api.client.client import Client

COLUMNS = (
    TableColumn("group", least=8),
    TableColumn("system", rank=4),
    TableColumn("streams", least=8, rank=2),
    TableColumn("members", right=True, whole=True, rank=3),
    TableColumn("lag", right=True, whole=True),
    TableColumn("rate", right=True, whole=True, rank=1, title="events/s"),
    TableColumn("stuck_at", least=24),
    TableColumn("why", least=12, rank=5, title="reason"),
)


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command("groups", cls=PlainCommand, epilog=examples("tracecar groups", "tracecar groups --watch"))(groups)


def groups(
    json: Json = False, output: Output = None, watch: Watch = False, url: Url = URL, token: Token = None
) -> None:
    """List the consumer groups of the watched streams, with their lag, and the event at which a group is stuck.

    A group that stops at an event probably cannot process it. This is inferred from its committed offsets.
    """

    async def fetch(client: Client) -> ListPage[models.GroupModel]:
        page = await client.groups()
        return ListPage(page.items, page.note)

    show_list(VIEW, fetch, Connection(url, token), choose_format(json, output), watch=watch)


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


def _name(group: models.GroupModel) -> str:
    return group.group


VIEW = ListView(COLUMNS, _row, _name, "no other consumer group reads the watched streams")
