"""`tracecar streams`: the watched streams, and actions on a held one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sidecar.cli.arguments import PlainCommand
from sidecar.cli.command_group import CommandGroup, examples
from sidecar.cli.completion import complete_stream
from sidecar.cli.options import URL, Connection, Json, Output, Token, Url, Watch, choose_format
from sidecar.cli.output.lists import ListPage, ListView, show_list
from sidecar.cli.output.tables import TableColumn, print_json, print_line

if TYPE_CHECKING:
    from sidecar.api import models
    from sidecar.api.client.client import Client

COLUMNS = (
    TableColumn("system", rank=4),
    TableColumn("stream", least=8),
    TableColumn("partitions", right=True, whole=True, rank=3),
    TableColumn("settled_here", right=True, whole=True, rank=5, title="committed here"),
    TableColumn("lag", right=True, whole=True),
    TableColumn("events", right=True, whole=True),
    TableColumn("rejected", right=True, whole=True),
    TableColumn("rate", right=True, whole=True, rank=2, title="events/s"),
    TableColumn("state", least=12, rank=1),
)
Stream = Annotated[str, typer.Argument(metavar="STREAM", help="Name of the stream.", autocompletion=complete_stream)]
streams = typer.Typer(cls=CommandGroup, rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.add_typer(streams, name="streams")


@streams.callback(
    invoke_without_command=True,
    epilog=examples("tracecar streams --watch", "tracecar streams resume orders", "tracecar streams skip orders"),
)
def list_streams(
    context: typer.Context,
    json: Json = False,
    output: Output = None,
    watch: Watch = False,
    url: Url = URL,
    token: Token = None,
) -> None:
    """List streams, and resume or skip a held one.

    A stream is held during an outage or when too many events are rejected: its offsets are not committed.
    """
    if context.invoked_subcommand is None:
        show_list(VIEW, _fetch, Connection(url, token), choose_format(json, output), watch=watch)


@streams.command(cls=PlainCommand, epilog=examples("tracecar streams resume orders"))
def resume(stream: Stream, json: Json = False, url: Url = URL, token: Token = None) -> None:
    """Resume a held stream: retry the records that hold it."""
    _print_released(Connection(url, token).ask(lambda client: client.resume(stream)), json=json)


@streams.command(cls=PlainCommand, epilog=examples("tracecar streams skip orders"))
def skip(stream: Stream, json: Json = False, url: Url = URL, token: Token = None) -> None:
    """Skip the records that hold a stream, and continue after them.

    Rejected records are dead-lettered, and events without an available schema pass unchecked. Records that the broker
    refuses are lost; their positions are printed.
    """
    _print_released(Connection(url, token).ask(lambda client: client.skip(stream)), json=json)


def _print_released(released: models.ReleaseResult, *, json: bool) -> None:
    if json:
        print_json(released)
    elif released.partitions:
        print_line(f"{released.stream}: {released.partitions} held partition{'s' * (released.partitions > 1)} released")
        if released.lost:
            more = " and others" if released.lost > len(released.lost_positions) else ""
            positions = ", ".join(released.lost_positions)
            print_line(f"lost, neither passed on nor dead-lettered: {released.lost} ({positions}{more})")
    else:
        print_line(f"{released.stream}: no partition was held")


async def _fetch(client: Client) -> ListPage[models.StreamStatusModel]:
    return ListPage((await client.streams()).items)


def _row(stream: models.StreamStatusModel) -> tuple[object, ...]:
    return (
        stream.system,
        stream.stream,
        stream.partitions,
        stream.settled_here,
        stream.lag,
        stream.events,
        stream.rejected,
        stream.rate,
        _describe_state(stream),
    )


def _describe_state(stream: models.StreamStatusModel) -> str:
    state = "running" if stream.held is None else f"held {stream.held.reason}"
    return f"{state}, {stream.gaps} gap{'' if stream.gaps == 1 else 's'}" if stream.gaps else state


def _name(stream: models.StreamStatusModel) -> str:
    return stream.stream


VIEW = ListView(COLUMNS, _row, _name, "no streams are watched yet")
