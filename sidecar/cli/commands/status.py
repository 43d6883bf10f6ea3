"""`tracecar status`: the state of a sidecar."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import typer

from sidecar.cli.arguments import PlainCommand
from sidecar.cli.command_group import examples
from sidecar.cli.commands.streams import VIEW
from sidecar.cli.options import URL, Connection, Json, Output, Token, Url, Watch, choose_format
from sidecar.cli.output.lists import print_list, repeat, show_object
from sidecar.cli.output.tables import format_age, print_line

if TYPE_CHECKING:
    from sidecar.api import models


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command(
        "status",
        cls=PlainCommand,
        epilog=examples(
            "tracecar status", "tracecar status --watch", "tracecar --url http://10.0.0.7:8425 status --json"
        ),
    )(status)


def status(
    json: Json = False, output: Output = None, watch: Watch = False, url: Url = URL, token: Token = None
) -> None:
    """Show streams, lag, rates and health."""
    chosen = choose_format(json, output)

    def show() -> None:
        status = Connection(url, token).ask(lambda client: client.status())
        show_object(status, chosen, lambda status: status.service, _print_status)

    repeat(show, watch=watch)


def _print_status(status: models.ServiceStatus) -> None:
    state = "ready" if status.ready else "not ready"
    filling = ", backfilling the index" if status.filling else ""
    print_line(f"{status.service}: {state}{filling}, up {status.uptime_s:.0f} s, version {status.version}")
    index = status.index
    print_line(f"index: {index.events} of {index.max_events} events, {index.evicted} evicted")
    reachable = {True: "reachable", False: "unreachable", None: "not contacted yet"}[status.registry.reachable]
    print_line(f"registry: {reachable}, {status.registry.schemas} schemas cached")
    for exporter in status.exporters:
        print_line(f"{exporter.name}: {exporter.sent} sent, {exporter.dropped} dropped, {exporter.failed} failed")
    for problem in status.trouble:
        print_line(f"problem: {problem}")
    for member in status.members:
        print_line(_describe_member(member))
    print_list(VIEW, status.streams, None)


def _describe_member(member: models.MemberModel) -> str:
    partitions = sum(len(share.partitions) for share in member.streams)
    state = "" if member.alive else f", last heartbeat {format_age(member.last_heartbeat, time.time())} ago"
    here = " (this one)" if member.here else ""
    lag = "unknown" if member.lag is None else member.lag
    return (
        f"member {member.member} on {member.host}{here}: {partitions} partitions, "
        f"{member.rate:.0f} events/s, lag {lag}, version {member.version}{state}"
    )
