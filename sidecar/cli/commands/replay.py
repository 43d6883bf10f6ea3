"""`tracecar dlq replay` and `tracecar replay-range`: something is published again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from sidecar.cli.errors import INTERRUPTED, ask, say
from sidecar.cli.options import URL, Json, Token, Url, connect
from sidecar.cli.output.tables import print_json, print_line, say_note
from sidecar.cli.query_argument import QueryCommand, plain

if TYPE_CHECKING:
    from sidecar.api.models.replays import EditRequest, PlanModel, ReplayModel, ReplayRequestModel

_ID = re.compile(r"[^\s@]*@(?:[a-z][a-z0-9+.-]*://|sha256:).+", re.DOTALL)
"""A dead letter's id: the group, and where the record lies."""

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Detach = Annotated[bool, typer.Option("--detach", help="Do not wait for the end.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent, to where, and who would get it.")]
Rate = Annotated[float | None, typer.Option("--rate", min=0.001, help="At most so many a second.", show_default=False)]
Comment = Annotated[str | None, typer.Option("--comment", help="Why; kept with the replay.", show_default=False)]


def register(app: typer.Typer, dlq: typer.Typer) -> None:
    dlq.command("replay", cls=QueryCommand)(replay)
    app.command("replay-range", cls=QueryCommand)(replay_range)


def named(words: Sequence[str] | None) -> tuple[str, list[str]]:
    """What the arguments say: a query, or ids. Raises typer.BadParameter where they mix both."""
    given = [plain(word) for word in words or ()]
    ids = [word for word in given if _ID.fullmatch(word)]
    if ids and len(ids) < len(given):
        other = next(word for word in given if word not in ids)
        raise typer.BadParameter(f"either ids or a query: {ids[0]!r} is an id, {other!r} is none")
    return ("", ids) if ids else (" ".join(given), [])


def replay(
    what: Annotated[
        list[str] | None,
        typer.Argument(help="A query such as cause:9f86d081884c, or ids; without: all that are open."),
    ] = None,
    dry_run: DryRun = False,
    to: Annotated[
        str | None, typer.Option("--to", help="To another stream than the origin.", show_default=False)
    ] = None,
    group: Annotated[
        str | None,
        typer.Option("--group", help="For one group: others can skip it by a header.", show_default=False),
    ] = None,
    rate: Rate = None,
    batch_growth: Annotated[
        bool, typer.Option("--batch-growth", help="1, 2, 5, 10, 20 …; stops when a cause comes back.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Those already replayed, discarded or parked too.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="To the origin although groups that passed it receive it again.")
    ] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=JSON", help="Set a value in the body (repeatable).")
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", metavar="PATH", help="Take away from the body (repeatable).")
    ] = None,
    edit: Annotated[bool, typer.Option("--edit", help="Edit the body of one letter in your editor.")] = False,
    comment: Comment = None,
    yes: Yes = False,
    detach: Detach = False,
    json: Json = False,
    url: Url = URL,
    token: Token = None,
) -> None:
    """Send dead letters again. Shows what would happen and asks first; --yes does not."""
    from sidecar.api.models.replays import ReplayRequestModel
    from sidecar.cli import edit_options

    query, ids = named(what)
    change = _changes(edit_options.settings(set_), remove or [])
    if edit:
        if change is not None:
            raise typer.BadParameter("--edit opens the body; --set and --remove change it without: choose one")
        command = edit_options.editor()
        id, change = ask(_in_editor(query, ids, command, url, token))
        if change is None:
            print_line("nothing was changed, so nothing is sent: without --edit it would go as it is")
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
    _ReplayCommand(request, "dead letter", yes=yes, detach=detach, json=json, url=url, token=token).run(dry_run=dry_run)


def _changes(set_: dict[str, Any], remove: list[str]) -> EditRequest | None:
    from sidecar.api.models.replays import EditRequest

    return EditRequest(set=set_, remove=remove) if set_ or remove else None


async def _in_editor(
    query: str, ids: list[str], command: Sequence[str], url: str, token: str | None
) -> tuple[str, EditRequest | None]:
    """The one letter that is meant, and what the person changed in it."""
    from sidecar.cli import edit_options

    async with connect(url, token) as client:
        if not ids:
            page = await client.dead_letters(query, limit=2)
            ids = [item.id for item in page.items]
        if len(ids) != 1:
            many = "more than one matches" if ids else "none matches"
            raise typer.BadParameter(f"--edit is for one letter, and {many}: give its id (tracecar dlq list)")
        letter = await client.dead_letter(ids[0])
    if letter.body is msgspec.UNSET or (letter.body is None and letter.payload_note):
        raise typer.BadParameter(f"--edit: the body is not there to edit: {letter.payload_note or 'it has none'}")
    return letter.id, edit_options.edit_in_editor(letter, command)


def replay_range(
    stream: Annotated[str, typer.Argument(help="The stream whose events are published again.")],
    query: Annotated[list[str] | None, typer.Argument(help="Only those that match.")] = None,
    since: Annotated[
        str | None, typer.Option("--from", help="A time, or a length of time back (1h).", show_default="the beginning")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", help="A time, or a length of time back.", show_default="the end")
    ] = None,
    to_stream: Annotated[
        str | None, typer.Option("--to-stream", help="The stream that they go to.", show_default=False)
    ] = None,
    into_itself: Annotated[
        bool, typer.Option("--into-itself", help="Into the stream itself: every group receives them again.")
    ] = False,
    confirmed: Annotated[
        int | None,
        typer.Option("--confirmed", min=0, help="With --into-itself and --yes: how many that are.", show_default=False),
    ] = None,
    rate: Rate = None,
    comment: Comment = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    detach: Detach = False,
    json: Json = False,
    url: Url = URL,
    token: Token = None,
) -> None:
    """Publish events of a stream again, to another stream. Shows how many and asks first; --yes does not."""
    from sidecar.api.models.replays import RangeRequest, ReplayRequestModel

    if to_stream is None and not into_itself:
        raise typer.BadParameter("say which stream they go to: --to-stream (--to is the end of the time)")
    if into_itself and to_stream not in (None, stream):
        raise typer.BadParameter(f"--into-itself and --to-stream {to_stream} contradict one another")
    text, ids = named(query)
    if ids:
        raise typer.BadParameter(f"a range is of events, and {ids[0]!r} is a dead letter's id")
    request = ReplayRequestModel(
        query=text,
        range=RangeRequest(stream=stream, since=since, until=until, into_itself=into_itself, confirmed=confirmed),
        to=to_stream or stream,
        rate=rate,
        comment=comment,
    )
    sending = _ReplayCommand(request, "event", yes=yes, detach=detach, json=json, url=url, token=token)
    if into_itself and yes and confirmed is None and not dry_run:
        raise typer.BadParameter(
            f"--into-itself publishes into {stream} again: look with --dry-run how many that are, and add --confirmed N"
        )
    sending.run(dry_run=dry_run)


class _ReplayCommand:
    """From what is asked for to its end: dry run, question, replay."""

    def __init__(
        self,
        request: ReplayRequestModel,
        what: str,
        *,
        yes: bool,
        detach: bool,
        json: bool,
        url: str,
        token: str | None,
    ) -> None:
        self._request, self._what = request, what
        self._yes, self._detach, self._json = yes, detach, json
        self._url, self._token = url, token
        self._job: ReplayModel | None = None

    def run(self, *, dry_run: bool) -> None:
        """Exits with 1 where something failed."""
        from sidecar.cli.output import replay_progress
        from sidecar.cli.output.dry_run import can_ask, print_plan, refuse_unasked

        if dry_run:
            plan = ask(self._plan())
            if self._json:
                print_json(plan)
            else:
                print_plan(plan, self._what)
            return
        if not self._yes:
            if not can_ask():
                refuse_unasked()
            if not self._agreed(ask(self._plan())):
                return
        job = self._sent()
        if not job.selected and not self._json:
            replay_progress.print_empty(job, self._what)
            return
        if self._detach:
            if self._json:
                print_json(job)
            else:
                print_line(f"replay {job.id}: {replay_progress.how_to_go_on(job.id)}")
            return
        replay_progress.report(job, json=self._json)

    def _agreed(self, plan: PlanModel) -> bool:
        """Whether there is something to send, and the person wants it."""
        from sidecar.cli.output.dry_run import confirm, letters, print_plan, refused_to_groups

        print_plan(plan, self._what)
        if not plan.sendable:
            refused_to_groups(plan.kept_back)
            return False
        where = ", ".join(target.stream for target in plan.targets)
        confirm(f"Send {letters(plan.sendable, self._what)} to {where}?")
        asked, planned = self._request.range, plan.range
        if asked is not None and planned is not None:  # what comes meanwhile was not agreed to
            asked.since, asked.until, asked.ends = planned["from"], planned["to"], planned["ends"]
            asked.confirmed = plan.selected if asked.into_itself else None
        return True

    def _sent(self) -> ReplayModel:
        from sidecar.cli.output.replay_progress import how_to_go_on

        try:
            return ask(self._send())
        except KeyboardInterrupt:
            if self._job is None:
                say("interrupted: whether it began shows tracecar replays")
            else:
                say(f"replay {self._job.id} goes on without you: {how_to_go_on(self._job.id)}")
            raise SystemExit(INTERRUPTED) from None

    async def _plan(self) -> PlanModel:
        async with connect(self._url, self._token) as client:
            return await client.plan(self._request)

    async def _send(self) -> ReplayModel:
        from sidecar.cli.output.replay_progress import until_ended

        async with connect(self._url, self._token) as client:
            self._job = await client.replay(self._request)
            if self._detach or not self._job.selected:
                return self._job
            say_note(f"replay {self._job.id}: {self._job.selected} selected")
            return await until_ended(client, self._job)
