"""`tracecar audit`: who did what with dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from sidecar.cli.errors import ask
from sidecar.cli.options import URL, Json, Limit, Token, Url, connect
from sidecar.cli.output.tables import TableColumn, print_json, print_table, say_note

if TYPE_CHECKING:
    from sidecar.api.models.replays import AuditEntryModel, AuditPage

COLUMNS = (
    TableColumn("at", whole=True, rank=1),
    TableColumn("by", least=6),
    TableColumn("from", least=9, rank=4),
    TableColumn("act", whole=True),
    TableColumn("letters", right=True, whole=True),
    TableColumn("what", least=16, rank=2),
    TableColumn("why", least=8, rank=3),
)


def register(app: typer.Typer) -> None:
    app.command("audit")(audit)


def audit(limit: Limit = 100, json: Json = False, url: Url = URL, token: Token = None) -> None:
    """Who replayed, discarded, restored, reported and imported dead letters, the latest first."""

    async def show() -> AuditPage:
        async with connect(url, token) as client:
            return await client.audit(min(limit, 1_000))

    page = ask(show())
    if json:
        for item in page.items:
            print_json(item)
    else:
        print_table(COLUMNS, (_row(item) for item in page.items), empty="nothing was done with dead letters yet")
    say_note(page.note)


def _row(entry: AuditEntryModel) -> tuple[object, ...]:
    what = entry.replay or ", ".join(entry.ids[:3]) + (" …" if entry.letters > 3 else "")
    return entry.at, entry.by, entry.address, entry.act, entry.letters, what, entry.why
