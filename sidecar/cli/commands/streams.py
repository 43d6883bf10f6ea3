"""`tracecar streams`, `schemas` and `status`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sidecar.cli.errors import ask
from sidecar.cli.options import URL, Json, Token, Url, connect
from sidecar.cli.output.tables import TableColumn, print_json, print_line, print_table, say_note

if TYPE_CHECKING:
    from sidecar.api import models

COLUMNS = (
    TableColumn("system", rank=4),
    TableColumn("stream", least=8),
    TableColumn("partitions", right=True, whole=True, rank=3),
    TableColumn("settled_here", right=True, whole=True, rank=5),
    TableColumn("lag", right=True, whole=True),
    TableColumn("events", right=True, whole=True),
    TableColumn("rejected", right=True, whole=True),
    TableColumn("rate", right=True, whole=True, rank=2),
    TableColumn("state", least=12, rank=1),
)
SCHEMA_COLUMNS = (
    TableColumn("subject", least=16),
    TableColumn("kind", whole=True, rank=2),
    TableColumn("versions", right=True, whole=True),
    TableColumn("latest", right=True, whole=True),
    TableColumn("compatibility", least=8, rank=1),
    TableColumn("seen", least=12, rank=3),
)
streams = typer.Typer(help="The watched streams, and what is held.", rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    app.add_typer(streams, name="streams")
    app.command("schemas")(schemas)
    app.command("status")(status)


@streams.callback(invoke_without_command=True)
def list_streams(context: typer.Context, json: Json = False, url: Url = URL, token: Token = None) -> None:
    """The watched streams; `resume` and `skip` release one that is held."""
    if context.invoked_subcommand is not None:
        return

    async def show() -> list[models.StreamStatusModel]:
        async with connect(url, token) as client:
            return (await client.streams()).items

    found = ask(show())
    if json:
        for one in found:
            print_json(one)
    else:
        _print_streams(found)


def _member(member: models.MemberModel) -> str:
    """A sidecar of the group in one line."""
    partitions = sum(len(share.partitions) for share in member.streams)
    state = "" if member.alive else f", last heard of at {member.last_heartbeat}"
    here = " (this one)" if member.here else ""
    lag = "unknown" if member.lag is None else member.lag
    return (
        f"member {member.member} on {member.host}{here}: {partitions} partitions, "
        f"{member.rate:.0f} events/s, lag {lag}, version {member.version}{state}"
    )


def _print_streams(found: list[models.StreamStatusModel]) -> None:
    print_table(
        COLUMNS,
        (
            (
                one.system,
                one.stream,
                one.partitions,
                one.settled_here,
                one.lag,
                one.events,
                one.rejected,
                one.rate,
                _state(one),
            )
            for one in found
        ),
        empty="no stream is watched yet",
    )


def _state(one: models.StreamStatusModel) -> str:
    state = "flows" if one.held is None else f"held {one.held.reason}"
    return f"{state}, {one.gaps} gap{'' if one.gaps == 1 else 's'}" if one.gaps else state


@streams.command()
def resume(
    stream: Annotated[str, typer.Argument(help="The stream's name.")],
    json: Json = False,
    url: Url = URL,
    token: Token = None,
) -> None:
    """Try again what is held of a stream."""

    async def act() -> models.ReleaseResult:
        async with connect(url, token) as client:
            return await client.resume(stream)

    _say_released(ask(act()), json=json)


@streams.command()
def skip(
    stream: Annotated[str, typer.Argument(help="The stream's name.")],
    json: Json = False,
    url: Url = URL,
    token: Token = None,
) -> None:
    """Go on past what holds a stream."""

    async def act() -> models.ReleaseResult:
        async with connect(url, token) as client:
            return await client.skip(stream)

    _say_released(ask(act()), json=json)


def _say_released(released: models.ReleaseResult, *, json: bool) -> None:
    if json:
        print_json(released)
    elif released.partitions:
        print_line(f"{released.stream}: {released.partitions} held partitions go on")
        if released.lost:
            more = " and others" if released.lost > len(released.lost_positions) else ""
            positions = ", ".join(released.lost_positions)
            print_line(f"lost, neither passed on nor dead-lettered: {released.lost} ({positions}{more})")
    else:
        print_line(f"{released.stream}: nothing was held")


def schemas(
    subject: Annotated[str | None, typer.Argument(help="One subject, with its latest schema.")] = None,
    json: Json = False,
    url: Url = URL,
    token: Token = None,
) -> None:
    """What is registered, and what was seen of it."""

    async def show() -> models.SubjectPage:
        async with connect(url, token) as client:
            return await client.schemas(subject)

    page = ask(show())
    if json:
        for item in page.items:
            print_json(item)
        return
    print_table(SCHEMA_COLUMNS, (_schema_row(item) for item in page.items), empty="no subject is registered")
    for item in page.items:
        if isinstance(item.text, str):
            _print_schema(item.text)
    say_note(page.coverage.note)


def _schema_row(subject: models.SubjectModel) -> tuple[object, ...]:
    seen = [f"v{each.version or '?'} on {', '.join(each.streams)}" for each in subject.seen]
    return (
        subject.subject,
        subject.kind,
        len(subject.versions),
        max(subject.versions, default=None),
        subject.compatibility,
        seen,
    )


def _print_schema(text: str) -> None:
    import contextlib

    import msgspec

    from sidecar.cli.sanitize import clean

    with contextlib.suppress(msgspec.DecodeError):  # a Protobuf schema is no JSON
        text = msgspec.json.format(text, indent=2)
    for line in text.split("\n"):
        typer.echo(clean(line))


def status(json: Json = False, url: Url = URL, token: Token = None) -> None:
    """Streams, lag, rates, health."""

    async def show() -> models.ServiceStatus:
        async with connect(url, token) as client:
            return await client.status()

    found = ask(show())
    if json:
        print_json(found)
        return
    state = "ready" if found.ready else "not ready"
    filling = ", the index is filling" if found.filling else ""
    print_line(f"{found.service}: {state}{filling}, up {found.uptime_s:.0f} s, version {found.version}")
    index = found.index
    print_line(f"index: {index.events} of {index.max_events} events, {index.evicted} pushed out")
    reachable = {True: "reachable", False: "not reachable", None: "not asked yet"}[found.registry.reachable]
    print_line(f"registry: {reachable}, {found.registry.schemas} schemas in use")
    for exporter in found.exporters:
        print_line(f"{exporter.name}: {exporter.sent} sent, {exporter.dropped} dropped, {exporter.failed} failed")
    for sentence in found.trouble:
        print_line(f"trouble: {sentence}")
    for member in found.members:
        print_line(_member(member))
    _print_streams(found.streams)
