"""`tracecar replays`: replay jobs, and commands to control them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from sidecar.cli.arguments import PlainCommand
from sidecar.cli.command_group import DefaultCommandGroup, examples
from sidecar.cli.completion import complete_replay
from sidecar.cli.errors import INTERRUPTED_CODE, print_error
from sidecar.cli.options import URL, Connection, Json, Limit, Output, Token, Url, Watch, choose_format
from sidecar.cli.output.dry_run import count_letters
from sidecar.cli.output.lists import ListPage, ListView, print_item, show_list
from sidecar.cli.output.tables import TableColumn, print_json, print_line

if TYPE_CHECKING:
    from typer._click.core import Context  # what Typer's own signatures name
    from typer._click.shell_completion import CompletionItem

    from sidecar.api.client.client import Client
    from sidecar.api.models.replays import ReplayModel

MAX_PAGE_REPLAYS = 1_000
COLUMNS = (
    TableColumn("id", whole=True),
    TableColumn("state", whole=True),
    TableColumn("started_at", whole=True, rank=2, age=True),
    TableColumn("by", least=6, rank=3),
    TableColumn("selected", right=True, whole=True),
    TableColumn("published", right=True, whole=True),
    TableColumn("skipped", right=True, whole=True, rank=4),
    TableColumn("failed", right=True, whole=True),
    TableColumn("returned", right=True, whole=True, rank=1),
    TableColumn("to", least=8, rank=6),
    TableColumn("what", least=12, rank=5, title="selection"),
)
_SHOW = "show"


class _IdOrCommandGroup(DefaultCommandGroup):
    """A group whose first argument is a command or the id of a replay to show."""

    default_command = _SHOW

    def shell_complete(self, ctx: Context, incomplete: str) -> list[CompletionItem]:
        """Complete commands and ids of replays."""
        from typer._click.shell_completion import CompletionItem

        items = super().shell_complete(ctx, incomplete)
        if incomplete.startswith("-"):
            return items
        return [*items, *(CompletionItem(id) for id in complete_replay(ctx, incomplete))]  # type: ignore[arg-type]


replays = typer.Typer(cls=_IdOrCommandGroup, rich_markup_mode=None, subcommand_metavar="[ID] | COMMAND ID")
ReplayId = Annotated[str, typer.Argument(metavar="ID", help="Id of the replay.", autocompletion=complete_replay)]


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.add_typer(replays, name="replays")


@replays.callback(
    invoke_without_command=True,
    epilog=examples(
        "tracecar replays",
        "tracecar replays 20260131-120000-a1b2c3 --follow",
        "tracecar replays pause 20260131-120000-a1b2c3",
    ),
)
def list_replays(
    context: typer.Context,
    limit: Limit = 100,
    json: Json = False,
    output: Output = None,
    watch: Watch = False,
    url: Url = URL,
    token: Token = None,
) -> None:
    """List replays and control them. With an id, show that replay (--follow waits for its end)."""
    if context.invoked_subcommand is not None:
        return

    async def fetch(client: Client) -> ListPage[ReplayModel]:
        return ListPage(await client.replays(min(limit, MAX_PAGE_REPLAYS)))

    show_list(VIEW, fetch, Connection(url, token), choose_format(json, output), watch=watch)


def _row(replay: ReplayModel) -> tuple[object, ...]:
    if replay.range is not None:
        selection = replay.range.get("stream")
    else:
        selection = replay.query or (count_letters(replay.ids) if replay.ids else "all")
    return (
        *(replay.id, replay.state, replay.started_at, replay.by, replay.selected, replay.published, replay.skipped),
        *(replay.failed, replay.returned, replay.to, selection),
    )


def _name(replay: ReplayModel) -> str:
    return replay.id


VIEW = ListView(COLUMNS, _row, _name, "no replays yet")


@replays.command(_SHOW, cls=PlainCommand, hidden=True, epilog=examples("tracecar replays 01JM2Q --follow"))
def show_replay(
    id: ReplayId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for the end of the replay.")] = False,
    json: Json = False,
    output: Output = None,
    url: Url = URL,
    token: Token = None,
) -> None:
    """Show a replay."""
    from sidecar.cli.output import replay_progress

    async def fetch(client: Client) -> ReplayModel:
        job = await client.replay_job(id)
        return await replay_progress.await_end(client, job) if follow else job

    chosen = choose_format(json, output)
    try:
        job = Connection(url, token).ask(fetch)
    except KeyboardInterrupt:
        print_error(f"replay {id} continues in the sidecar: {replay_progress.describe_next_steps(id)}")
        raise SystemExit(INTERRUPTED_CODE) from None
    if follow:
        replay_progress.report(job, json=json)
    elif chosen is not None:
        print_item(job, chosen, _name)
    else:
        replay_progress.print_replay(job)


@replays.command(cls=PlainCommand, epilog=examples("tracecar replays pause 20260131-120000-a1b2c3"))
def pause(id: ReplayId, json: Json = False, url: Url = URL, token: Token = None) -> None:
    """Pause a running replay."""
    _control(lambda client: client.pause_replay(id), Connection(url, token), json=json)


@replays.command(cls=PlainCommand, epilog=examples("tracecar replays resume 20260131-120000-a1b2c3"))
def resume(id: ReplayId, json: Json = False, url: Url = URL, token: Token = None) -> None:
    """Resume a paused or failed replay."""
    _control(lambda client: client.resume_replay(id), Connection(url, token), json=json)


@replays.command(cls=PlainCommand, epilog=examples("tracecar replays cancel 20260131-120000-a1b2c3"))
def cancel(id: ReplayId, json: Json = False, url: Url = URL, token: Token = None) -> None:
    """Cancel a replay. Letters that were not sent stay open."""
    _control(lambda client: client.cancel_replay(id), Connection(url, token), json=json)


def _control(action: Callable[[Client], Awaitable[ReplayModel]], connection: Connection, *, json: bool) -> None:
    job = connection.ask(action)
    if json:
        print_json(job)
    else:
        remaining = max(0, job.selected - job.published - job.failed)
        print_line(f"replay {job.id}: {job.state}, {job.published} sent, up to {remaining} not sent")
