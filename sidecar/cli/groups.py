"""`tracecar groups`, and who has read an event or a flow, in one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from sidecar.cli.connection import URL, Json, Token, Url, connect
from sidecar.cli.output import Column, print_json, print_table, say_note
from sidecar.cli.running import ask

if TYPE_CHECKING:
    from sidecar.api import models

COLUMNS = (
    Column("group", least=8),
    Column("system", rank=4),
    Column("streams", least=8, rank=2),
    Column("members", right=True, whole=True, rank=3),
    Column("lag", right=True, whole=True),
    Column("rate", right=True, whole=True, rank=1),
    Column("stuck_at", least=24),
    Column("why", least=12, rank=5),
)
NAMED = 8
"""Groups that a line names."""


def register(app: typer.Typer) -> None:
    app.command("groups")(groups)


def groups(json: Json = False, url: Url = URL, token: Token = None) -> None:
    """The other consumer groups: how far they are, and where one has stopped (inferred: probably poisoned)."""

    async def show() -> models.GroupPage:
        async with connect(url, token) as client:
            return await client.groups()

    page = ask(show())
    if json:
        for one in page.items:
            print_json(one)
    else:
        print_table(COLUMNS, (_row(one) for one in page.items), empty="no other group reads the watched streams")
    say_note(page.note)


def _row(one: models.Group) -> tuple[object, ...]:
    return (
        one.group,
        one.system,
        [stream.stream for stream in one.streams],
        one.members,
        one.lag,
        one.rate,
        one.stuck_at,
        one.stopped[0].reason if one.stopped else None,
    )


def readers(delivery: Sequence[models.Delivery]) -> str:
    """Such as `billing at 12:00:05.120, mail not yet (12 behind)`; those that have not passed it come first."""
    order = {False: 0, None: 1, True: 2}
    return _joined([_reader(one) for one in sorted(delivery, key=lambda one: order[one.passed])])


def _reader(one: models.Delivery) -> str:
    if one.passed is None:
        return f"{one.group} unknown"
    if one.passed:
        return f"{one.group} {_moment(one)}"
    details = [f"{one.behind} behind"] if one.behind is not None else []
    if one.deliveries:
        details.append(f"delivered {one.deliveries} time{'s' * (one.deliveries > 1)}, not acknowledged")
    if one.stopped is not None:
        details.append(f"stopped here since {one.stopped.since}, probably poisoned")
    return f"{one.group} not yet" + (f" ({', '.join(details)})" if details else "")


def _moment(one: models.Delivery) -> str:
    """When it passed: known within the time between two looks."""
    if one.passed_at is None:
        return "has (time unknown)"
    by = one.passed_at.rstrip("Z")
    after = (one.passed_after or "").rstrip("Z")
    day = by.partition("T")[0]
    since = after.partition("T")[2][:8] if after.startswith(day) else after
    return f"between {since} and {by.partition('T')[2][:8]}" if since else f"at {by}"


def flow_readers(delivery: Sequence[models.FlowDelivery]) -> str:
    """Such as `billing 4 of 5 (next kafka://orders/0/17), mail 5 of 5`."""
    return _joined(
        [f"{one.group} {one.passed} of {one.events}{f' (next {one.next})' if one.next else ''}" for one in delivery]
    )


def _joined(parts: Sequence[str]) -> str:
    return ", ".join(parts[:NAMED]) + (f", and {len(parts) - NAMED} more" if len(parts) > NAMED else "")
