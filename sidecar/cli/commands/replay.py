"""`tracecar dlq replay` and `tracecar replay-range`: publish dead letters or events again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sidecar.cli.arguments import QueryCommand, restore_word
from sidecar.cli.command_group import examples
from sidecar.cli.completion import complete_letter, complete_query, complete_stream
from sidecar.cli.errors import INTERRUPTED_CODE, print_error, run_client
from sidecar.cli.options import URL, Connection, Json, Token, Url
from sidecar.cli.output.tables import print_json, print_line, print_note

if TYPE_CHECKING:
    from sidecar.api.models.replays import EditRequest, PlanModel, ReplayModel, ReplayRequestModel

_ID = re.compile(r"[^\s@]*@(?:[a-z][a-z0-9+.-]*://|sha256:).+", re.DOTALL)
"""Id of a dead letter: consumer group and position of the record."""

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
Detach = Annotated[bool, typer.Option("--detach", help="Do not wait for the end of the replay.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show what would be published, where, and who would receive it.")
]
Rate = Annotated[
    float | None,
    typer.Option("--rate", min=0.001, metavar="N", help="Maximum number of records per second.", show_default=False),
]
Comment = Annotated[
    str | None,
    typer.Option("--comment", metavar="TEXT", help="Reason, which is kept with the replay.", show_default=False),
]

Selection = Annotated[
    list[str] | None,
    typer.Argument(
        help="Ids or a query. Default: all open letters.", metavar="ID|QUERY", autocompletion=complete_letter
    ),
]
TargetStream = Annotated[
    str | None,
    typer.Option(
        "--to",
        "--to-stream",
        metavar="STREAM",
        help="Target stream. Default: the origin of each letter.",
        show_default=False,
        autocompletion=complete_stream,
    ),
]
TargetGroup = Annotated[
    str | None,
    typer.Option(
        "--group",
        metavar="GROUP",
        help="Replay for this consumer group: others can recognize the records by a header, and skip them.",
        show_default=False,
    ),
]
BatchGrowth = Annotated[
    bool, typer.Option("--batch-growth", help="Send 1, 2, 5, 10, 20, … letters; stop when a cause recurs.")
]
Force = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Include replayed, discarded and parked letters (parked: the maximum number of replays is reached).",
    ),
]
Again = Annotated[
    bool, typer.Option("--again", help="Replay to the origin even if other groups would process the record twice.")
]
SetValues = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=JSON", help="Set a value in the body. Repeatable.")
]
RemoveValues = Annotated[
    list[str] | None, typer.Option("--remove", metavar="PATH", help="Remove a value from the body. Repeatable.")
]
Edit = Annotated[bool, typer.Option("--edit", help="Edit the body of a single letter in $EDITOR.")]
FromTime = Annotated[
    str | None,
    typer.Option("--since", "--from", metavar="TIME", help="Start: a time or an age (1h).", show_default="beginning"),
]
ToTime = Annotated[
    str | None, typer.Option("--until", "--to", metavar="TIME", help="End: a time or an age (10m).", show_default="end")
]
RangeTarget = Annotated[
    str | None,
    typer.Option(
        "--to-stream", metavar="STREAM", help="Target stream.", show_default=False, autocompletion=complete_stream
    ),
]
IntoItself = Annotated[
    bool, typer.Option("--into-itself", help="Publish into the same stream: all its groups receive the events again.")
]
Confirmed = Annotated[
    int | None,
    typer.Option(
        "--confirmed",
        min=0,
        metavar="N",
        help="Expected number of events, needed with --into-itself --yes.",
        show_default=False,
    ),
]


def register_letters(dlq: typer.Typer) -> None:
    """Add `replay` to the commands for dead letters."""
    dlq.command(
        "replay",
        cls=QueryCommand,
        epilog=examples(
            "tracecar dlq replay cause:9f86d081884c --dry-run",
            "tracecar dlq replay cause:9f86d081884c --batch-growth --rate 50",
            "tracecar dlq replay tracecar.shop@kafka://orders/0/4711 --set data.qty=2",
            "tracecar dlq replay state:open stream:orders --to orders.repaired --yes",
        ),
    )(replay)


def register(app: typer.Typer) -> None:
    """Add `replay-range` to an app."""
    app.command(
        "replay-range",
        cls=QueryCommand,
        epilog=examples(
            "tracecar replay-range orders --from 1h --to-stream orders.again --dry-run",
            "tracecar replay-range orders type:OrderPlaced --from 2026-01-31T12:00:00Z --to-stream orders.again",
        ),
    )(replay_range)


def parse_selection(words: Sequence[str] | None) -> tuple[str, list[str]]:
    """Parse arguments that are a query or ids. Raises typer.BadParameter if they mix both."""
    selection = [restore_word(word) for word in words or ()]
    ids = [word for word in selection if _ID.fullmatch(word)]
    if ids and len(ids) < len(selection):
        other = next(word for word in selection if word not in ids)
        raise typer.BadParameter(f"expected either ids or a query: {ids[0]!r} is an id, {other!r} is not")
    return ("", ids) if ids else (" ".join(selection), [])


def replay(
    what: Selection = None,
    dry_run: DryRun = False,
    to: TargetStream = None,
    group: TargetGroup = None,
    rate: Rate = None,
    batch_growth: BatchGrowth = False,
    force: Force = False,
    again: Again = False,
    set_: SetValues = None,
    remove: RemoveValues = None,
    edit: Edit = False,
    comment: Comment = None,
    yes: Yes = False,
    detach: Detach = False,
    json: Json = False,
    url: Url = URL,
    token: Token = None,
) -> None:
    """Replay dead letters: publish their records again. Shows a dry run and asks first, unless --yes is given."""
    from sidecar.api.models.replays import ReplayRequestModel
    from sidecar.cli import edit_options

    connection = Connection(url, token)
    query, ids = parse_selection(what)
    change = _build_edit(edit_options.parse_settings(set_), remove or [])
    if edit:
        if change is not None:
            raise typer.BadParameter("--edit opens an editor, --set and --remove change the body without: choose one")
        command = edit_options.find_editor()
        id, change = run_client(_edit_letter(query, ids, command, connection))
        if change is None:
            print_line("nothing was changed, so nothing is sent; to send it unchanged, leave --edit out")
            return
        query, ids = "", [id]
    request = ReplayRequestModel(
        query=query,
        ids=ids,
        to=to,
        group=group,
        rate=rate,
        batch_growth=batch_growth,
        force=force,
        again=again,
        edit=change,
        comment=comment,
    )
    _ReplayCommand(request, "dead letter", connection, yes=yes, detach=detach, json=json).run(dry_run=dry_run)


def _build_edit(set_: dict[str, Any], remove: list[str]) -> EditRequest | None:
    from sidecar.api.models.replays import EditRequest

    return EditRequest(set=set_, remove=remove) if set_ or remove else None


async def _edit_letter(
    query: str, ids: list[str], command: Sequence[str], connection: Connection
) -> tuple[str, EditRequest | None]:
    """Open the selected letter in an editor. Returns its id and the changes."""
    import msgspec

    from sidecar.cli import edit_options

    async with connection.connect() as client:
        if not ids:
            page = await client.dead_letters(query, limit=2)
            ids = [item.id for item in page.items]
        if len(ids) != 1:
            matches = "several letters match" if ids else "no letter matches"
            raise typer.BadParameter(f"--edit needs a single letter, but {matches}: give an id from tracecar dlq list")
        letter = await client.dead_letter(ids[0])
    if letter.body is msgspec.UNSET or (letter.body is None and letter.payload_note):
        raise typer.BadParameter(f"--edit: cannot edit the body: {letter.payload_note or 'the record has none'}")
    return letter.id, edit_options.edit_in_editor(letter, command)


def replay_range(
    stream: Annotated[str, typer.Argument(metavar="STREAM", help="Stream to read.", autocompletion=complete_stream)],
    query: Annotated[
        list[str] | None,
        typer.Argument(metavar="QUERY", help="Query that the events must match.", autocompletion=complete_query),
    ] = None,
    since: FromTime = None,
    until: ToTime = None,
    to_stream: RangeTarget = None,
    into_itself: IntoItself = False,
    confirmed: Confirmed = None,
    rate: Rate = None,
    comment: Comment = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    detach: Detach = False,
    json: Json = False,
    url: Url = URL,
    token: Token = None,
) -> None:
    """Publish a range of events again, to another stream. Shows a dry run and asks first, unless --yes is given."""
    from sidecar.api.models.replays import RangeRequest, ReplayRequestModel

    if to_stream is None and not into_itself:
        raise typer.BadParameter("no target stream: add --to-stream STREAM (--to is the end of the time range)")
    if into_itself and to_stream not in (None, stream):
        raise typer.BadParameter(f"--into-itself and --to-stream {to_stream} contradict each other: use one of them")
    text, ids = parse_selection(query)
    if ids:
        raise typer.BadParameter(
            f"expected a query for events, found a dead letter's id: {ids[0]!r}; replay it with tracecar dlq replay"
        )
    request = ReplayRequestModel(
        query=text,
        range=RangeRequest(stream=stream, since=since, until=until, into_itself=into_itself, confirmed=confirmed),
        to=to_stream or stream,
        rate=rate,
        comment=comment,
    )
    command = _ReplayCommand(request, "event", Connection(url, token), yes=yes, detach=detach, json=json)
    if into_itself and yes and confirmed is None and not dry_run:
        raise typer.BadParameter(
            f"--into-itself --yes publishes into {stream} without asking: add --confirmed N, the number of events that "
            "--dry-run counts"
        )
    command.run(dry_run=dry_run)


class _ReplayCommand:
    """Runs a replay: dry run, confirmation, progress, result."""

    def __init__(
        self,
        request: ReplayRequestModel,
        noun: str,
        connection: Connection,
        *,
        yes: bool,
        detach: bool,
        json: bool,
    ) -> None:
        self._request, self._noun, self._connection = request, noun, connection
        self._yes, self._detach, self._json = yes, detach, json
        self._job: ReplayModel | None = None

    def run(self, *, dry_run: bool) -> None:
        """Run the command. Exits with 1 if something failed."""
        from sidecar.cli.output import replay_progress
        from sidecar.cli.output.dry_run import can_ask, exit_unconfirmed, print_plan

        if dry_run:
            plan = run_client(self._plan())
            if self._json:
                print_json(plan)
            else:
                print_plan(plan, self._noun)
            return
        if not self._yes:
            if not can_ask():
                exit_unconfirmed()
            if not self._is_confirmed(run_client(self._plan())):
                return
        job = self._start()
        if not job.selected and not self._json:
            replay_progress.print_empty(job, self._noun)
            return
        if self._detach:
            if self._json:
                print_json(job)
            else:
                print_line(f"replay {job.id}: {replay_progress.describe_next_steps(job.id)}")
            return
        replay_progress.report(job, json=self._json)

    def _is_confirmed(self, plan: PlanModel) -> bool:
        """Print the plan and ask. Returns False if there is nothing to send."""
        from sidecar.cli.output.dry_run import confirm, count_letters, exit_kept_back, print_plan

        print_plan(plan, self._noun)
        if not plan.sendable:
            exit_kept_back(plan.kept_back)
            return False
        where = ", ".join(target.stream for target in plan.targets)
        confirm(f"Send {count_letters(plan.sendable, self._noun)} to {where}?")
        requested, planned = self._request.range, plan.range
        if requested is not None and planned is not None:  # the confirmation covers no events that arrive later
            requested.since, requested.until, requested.ends = planned["from"], planned["to"], planned["ends"]
            requested.confirmed = plan.selected if requested.into_itself else None
        return True

    def _start(self) -> ReplayModel:
        from sidecar.cli.output.replay_progress import describe_next_steps

        try:
            return run_client(self._send())
        except KeyboardInterrupt:
            if self._job is None:
                print_error("interrupted: tracecar replays shows whether the replay started")
            else:
                print_error(f"replay {self._job.id} continues in the sidecar: {describe_next_steps(self._job.id)}")
            raise SystemExit(INTERRUPTED_CODE) from None

    async def _plan(self) -> PlanModel:
        async with self._connection.connect() as client:
            return await client.plan(self._request)

    async def _send(self) -> ReplayModel:
        from sidecar.cli.output.replay_progress import await_end

        async with self._connection.connect() as client:
            self._job = await client.replay(self._request)
            if self._detach or not self._job.selected:
                return self._job
            print_note(f"replay {self._job.id}: {self._job.selected} selected")
            return await await_end(client, self._job)
