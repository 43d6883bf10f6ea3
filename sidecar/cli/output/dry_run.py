"""A dry run for people: what would be sent, where to, who would receive it, what would pass."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn

import typer

from sidecar.cli.errors import FAILED, WRONG_USAGE, say
from sidecar.cli.output.tables import TableColumn, print_line, print_table

if TYPE_CHECKING:
    from sidecar.api.models.replays import CheckModel, PlanModel

RECEIVERS = (
    TableColumn("group", least=12),
    TableColumn("stream", least=8),
    TableColumn("lag", right=True, whole=True),
    TableColumn("passed already", right=True, whole=True),
    TableColumn("not passed", right=True, whole=True),
    TableColumn("not known", right=True, whole=True, rank=1),
    TableColumn("left out for it", right=True, whole=True),
)


def letters(count: int, what: str = "dead letter") -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def print_plan(plan: PlanModel, what: str = "dead letter") -> None:
    """The whole plan on stdout."""
    for line in _sent(plan, what):
        print_line(line)
    if plan.receivers:
        print_line("Received again by:" if plan.sendable else "Read by:")
        print_table(
            RECEIVERS,
            [
                (
                    receiver.group,
                    receiver.stream,
                    receiver.lag,
                    receiver.passed,
                    receiver.not_passed,
                    receiver.unknown,
                    receiver.kept_back,
                )
                for receiver in plan.receivers
            ],
        )
    elif plan.sendable:
        print_line("No consumer group is known that would receive it.")
    for line in _said(plan):
        print_line(line)


def _sent(plan: PlanModel, what: str) -> Iterator[str]:
    if not plan.sendable:
        yield _nothing(plan, what)
    for target in plan.targets if plan.sendable else ():
        yield f"{letters(target.count, what)} to {target.stream}{'' if target.exists else ', which does not exist'}"
    for why, count in plan.skipped.items():
        yield f"{count} left out: {why}"


def _nothing(plan: PlanModel, what: str) -> str:
    return "Nothing would be sent." if plan.selected else nothing_left(plan.skipped, what)


def nothing_left(skipped: object, what: str) -> str:
    """What is said where nothing was selected. `skipped`: something matched, and is left out."""
    return "Nothing is left to send." if skipped else f"No {what} matches."


def _said(plan: PlanModel) -> Iterator[str]:
    from sidecar.cli.output import event_details

    if plan.looked_at:
        yield f"Passes the check now: {plan.passes} of {plan.looked_at} looked at"
    for check in plan.fails:
        yield _fails(check)
    if plan.changes:
        yield "What the edit changes in the first one:"
        for change in plan.changes:
            yield f"  {event_details.change(change)}"
    for warning in plan.warnings:
        yield f"Warning: {warning}"


def _fails(check: CheckModel) -> str:
    at = f" at {check.path}" if check.path and not check.message.startswith(check.path) else ""
    return f"  {check.count} would fail: {check.code}{at}: {check.message} (such as {check.example})"


def refused_to_groups(kept_back: int, sent: int = 0) -> None:
    """Exits where some was not sent, as groups have these records already: that is for the person to decide."""
    if kept_back:
        what = f"{letters(kept_back)} {'is' if kept_back == 1 else 'are'} still open"
        done = f"{letters(sent)} {'was' if sent == 1 else 'were'} sent" if sent else "nothing was sent"
        say(
            f"{done}, and {what}: consumer groups have passed these records, or may have, and would work on "
            "them twice. Add --again to send them to every group all the same, --group NAME for one group, or "
            "--to STREAM for another stream; --dry-run shows who has passed them"
        )
        raise typer.Exit(FAILED)


def can_ask() -> bool:
    """Whether there is a person at a terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirm(question: str) -> None:
    """Exits where the answer is no."""
    if not typer.confirm(question, default=False, err=True):
        say("nothing was done")
        raise typer.Exit(1)


def refuse_unasked() -> NoReturn:
    """There is nobody to ask. Exits."""
    say("there is no terminal to ask on: add --yes to go ahead, or --dry-run to see what would happen")
    raise typer.Exit(WRONG_USAGE)
