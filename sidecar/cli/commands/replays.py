"""`tracecar replays`: the jobs that publish something again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperGroup

from sidecar.cli.errors import INTERRUPTED, ask, say
from sidecar.cli.options import URL, Json, Limit, Token, Url, connect
from sidecar.cli.output.dry_run import letters
from sidecar.cli.output.tables import TableColumn, print_json, print_line, print_table

if TYPE_CHECKING:
    from typer._click.core import Command, Context  # what Typer's own signatures say

    from sidecar.api.client.client import Client
    from sidecar.api.models.replays import ReplayModel

COLUMNS = (
    TableColumn("id", whole=True),
    TableColumn("state", whole=True),
    TableColumn("started_at", whole=True, rank=2),
    TableColumn("by", least=6, rank=3),
    TableColumn("selected", right=True, whole=True),
    TableColumn("published", right=True, whole=True),
    TableColumn("skipped", right=True, whole=True, rank=4),
    TableColumn("failed", right=True, whole=True),
    TableColumn("returned", right=True, whole=True, rank=1),
    TableColumn("to", least=8, rank=6),
    TableColumn("what", least=12, rank=5),
)
_ONE = "show"


class _IdOrCommandGroup(TyperGroup):
    """A group whose first word is a command or, where it is none, the id of a replay."""

    def resolve_command(self, ctx: Context, args: list[str]) -> tuple[str | None, Command | None, list[str]]:
        if args and self.get_command(ctx, args[0]) is None:
            args = [_ONE, *args]
        return super().resolve_command(ctx, args)


replays = typer.Typer(
    help="Replays: what publishes something again, how far it is. With an id: that one.",
    rich_markup_mode=None,
    cls=_IdOrCommandGroup,
    subcommand_metavar="[ID] | COMMAND ID",
)
Id = Annotated[str, typer.Argument(help="The replay's id.")]


def register(app: typer.Typer) -> None:
    app.add_typer(replays, name="replays")


@replays.callback(invoke_without_command=True)
def list_replays(
    context: typer.Context, limit: Limit = 100, json: Json = False, url: Url = URL, token: Token = None
) -> None:
    """Replays, newest first; with an id, that one."""
    if context.invoked_subcommand is not None:
        context.obj = (json, url, token)
        return

    async def show() -> list[ReplayModel]:
        async with connect(url, token) as client:
            return await client.replays(min(limit, 1_000))

    found = ask(show())
    if json:
        for one in found:
            print_json(one)
        return
    print_table(COLUMNS, (_row(one) for one in found), empty="nothing was replayed yet")


def _row(replay: ReplayModel) -> tuple[object, ...]:
    what = (
        replay.range.get("stream")
        if replay.range is not None
        else replay.query or (letters(replay.ids) if replay.ids else "all")
    )
    return (
        *(
            replay.id,
            replay.state,
            replay.started_at,
            replay.by,
            replay.selected,
            replay.published,
            replay.skipped,
            replay.failed,
        ),
        *(replay.returned, replay.to, what),
    )


@replays.command(_ONE, hidden=True)
def show_replay(
    context: typer.Context,
    id: Id,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for its end.")] = False,
    json: Json = False,
    url: Url = URL,
    token: Token = None,
) -> None:
    """One replay, as far as it is."""
    from sidecar.cli.output import replay_progress

    json, url, token = _given(context, json, url, token)

    async def show() -> ReplayModel:
        async with connect(url, token) as client:
            job = await client.replay_job(id)
            return await replay_progress.until_ended(client, job) if follow else job

    try:
        job = ask(show())
    except KeyboardInterrupt:
        say(f"replay {id} goes on without you: {replay_progress.how_to_go_on(id)}")
        raise SystemExit(INTERRUPTED) from None
    if follow:
        replay_progress.report(job, json=json)
    elif json:
        print_json(job)
    else:
        replay_progress.print_replay(job)


@replays.command()
def pause(context: typer.Context, id: Id, json: Json = False, url: Url = URL, token: Token = None) -> None:
    """Stop sending until it is resumed."""
    _act(lambda client: client.pause_replay(id), *_given(context, json, url, token))


@replays.command()
def resume(context: typer.Context, id: Id, json: Json = False, url: Url = URL, token: Token = None) -> None:
    """Go on with one that is paused or failed."""
    _act(lambda client: client.resume_replay(id), *_given(context, json, url, token))


@replays.command()
def cancel(context: typer.Context, id: Id, json: Json = False, url: Url = URL, token: Token = None) -> None:
    """End it: what was not sent stays open."""
    _act(lambda client: client.cancel_replay(id), *_given(context, json, url, token))


def _given(context: typer.Context, json: bool, url: str, token: str | None) -> tuple[bool, str, str | None]:
    """Options may stand before the id as well."""
    before: tuple[bool, str, str | None] = context.obj
    return json or before[0], url if url != URL else before[1], token or before[2]


def _act(how: Callable[[Client], Awaitable[ReplayModel]], json: bool, url: str, token: str | None) -> None:
    async def act() -> ReplayModel:
        async with connect(url, token) as client:
            return await how(client)

    job = ask(act())
    if json:
        print_json(job)
    else:
        left = max(0, job.selected - job.published - job.failed)
        print_line(f"replay {job.id}: {job.state}, {job.published} sent, up to {left} not sent")
