"""`tracecar audit`: actions on dead letters and who took them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from sidecar.cli.arguments import PlainCommand
from sidecar.cli.command_group import examples
from sidecar.cli.options import URL, Connection, Json, Limit, Output, Token, Url, Watch, choose_format
from sidecar.cli.output.lists import ListPage, ListView, show_list
from sidecar.cli.output.tables import TableColumn

if TYPE_CHECKING:
    from sidecar.api.client.client import Client
    from sidecar.api.models.replays import AuditEntryModel

MAX_PAGE_ENTRIES = 1_000
MAX_SHOWN_IDS = 3
COLUMNS = (
    TableColumn("at", whole=True, rank=1, age=True),
    TableColumn("by", least=6),
    TableColumn("from", least=9, rank=4),
    TableColumn("act", whole=True, title="action"),
    TableColumn("letters", right=True, whole=True),
    TableColumn("what", least=16, rank=2, title="target"),
    TableColumn("why", least=8, rank=3, title="reason"),
    TableColumn("link", least=12, rank=6),
)


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command(
        "audit",
        cls=PlainCommand,
        epilog=examples("tracecar audit --limit 20", "tracecar audit --watch"),
    )(audit)


def audit(
    limit: Limit = 100,
    json: Json = False,
    output: Output = None,
    watch: Watch = False,
    url: Url = URL,
    token: Token = None,
) -> None:
    """List actions on dead letters and who took them, newest first.

    Actions are replays, discards, restores, failure reports and imports.
    """

    async def fetch(client: Client) -> ListPage[AuditEntryModel]:
        page = await client.audit(min(limit, MAX_PAGE_ENTRIES))
        return ListPage(page.items, page.note)

    show_list(VIEW, fetch, Connection(url, token), choose_format(json, output), watch=watch)


def _row(entry: AuditEntryModel) -> tuple[object, ...]:
    more = " …" if entry.letters > MAX_SHOWN_IDS else ""
    target = entry.replay or ", ".join(entry.ids[:MAX_SHOWN_IDS]) + more
    return entry.at, entry.by, entry.address, entry.act, entry.letters, target, entry.why, entry.link


def _name(entry: AuditEntryModel) -> str:
    return entry.replay or " ".join(entry.ids)


VIEW = ListView(COLUMNS, _row, _name, "no actions on dead letters yet")
