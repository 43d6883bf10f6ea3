"""Output of a dry run: records and their targets, receiving groups, and the result of the checks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn

import typer

from sidecar.cli.errors import FAILED_CODE, USAGE_CODE, print_error
from sidecar.cli.output.tables import TableColumn, print_line, print_table

if TYPE_CHECKING:
    from sidecar.api.models.replays import CheckModel, PlanModel

RECEIVERS = (
    TableColumn("group", least=12),
    TableColumn("stream", least=8),
    TableColumn("lag", right=True, whole=True),
    TableColumn("passed already", right=True, whole=True, title="consumed"),
    TableColumn("not passed", right=True, whole=True, title="not consumed"),
    TableColumn("not known", right=True, whole=True, rank=1, title="unknown"),
    TableColumn("left out for it", right=True, whole=True, title="kept back"),
)


def count_letters(count: int, noun: str = "dead letter") -> str:
    """Return a number with its noun: `1 dead letter`, `2 dead letters`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def print_plan(plan: PlanModel, noun: str = "dead letter") -> None:
    """Print a plan on stdout."""
    for line in _describe_targets(plan, noun):
        print_line(line)
    if plan.receivers:
        print_line("Consumer groups that receive them again:" if plan.sendable else "Consumer groups:")
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
        print_line("No known consumer group would receive them.")
    for line in _describe_checks(plan):
        print_line(line)


def _describe_targets(plan: PlanModel, noun: str) -> Iterator[str]:
    if not plan.sendable:
        yield _describe_nothing(plan, noun)
    for target in plan.targets if plan.sendable else ():
        missing = "" if target.exists else ", which does not exist"
        yield f"{count_letters(target.count, noun)} to {target.stream}{missing}"
    for why, count in plan.skipped.items():
        yield f"{count} skipped: {why}"


def _describe_nothing(plan: PlanModel, noun: str) -> str:
    return "Nothing would be sent." if plan.selected else describe_empty_selection(plan.skipped, noun)


def describe_empty_selection(skipped: object, noun: str) -> str:
    """Describe a selection without anything to send. `skipped`: true if something matched and was skipped."""
    return "Nothing is left to send." if skipped else f"No {noun} matches."


def _describe_checks(plan: PlanModel) -> Iterator[str]:
    from sidecar.cli.output import event_details

    if plan.looked_at:
        yield f"Valid now: {plan.passes} of {plan.looked_at} checked"
    for check in plan.fails:
        yield _describe_failure(check)
    if plan.changes:
        yield "Changes by the edit, in the first letter:"
        for change in plan.changes:
            yield f"  {event_details.format_change(change)}"
    for warning in plan.warnings:
        yield f"Warning: {warning}"


def _describe_failure(check: CheckModel) -> str:
    at = f" at {check.path}" if check.path and not check.message.startswith(check.path) else ""
    return f"  {check.count} would fail: {check.code}{at}: {check.message} (example: {check.example})"


def exit_kept_back(kept_back: int, sent: int = 0) -> None:
    """Exit if dead letters were not sent because consumer groups have consumed their records: the user must decide."""
    if kept_back:
        remaining = f"{count_letters(kept_back)} {'is' if kept_back == 1 else 'are'} still open"
        done = f"{count_letters(sent)} {'was' if sent == 1 else 'were'} sent" if sent else "nothing was sent"
        print_error(
            f"{done}, and {remaining}: consumer groups have consumed these records, or may have, and would process "
            "them twice. Add --again to send them to every group anyway, --group NAME for one group, or "
            "--to STREAM for another stream; --dry-run shows which groups have consumed them"
        )
        raise typer.Exit(FAILED_CODE)


def can_ask() -> bool:
    """Check whether there is a terminal for questions."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirm(question: str) -> None:
    """Ask for confirmation. Exits if the answer is no."""
    if not typer.confirm(question, default=False, err=True):
        print_error("canceled: nothing was done")
        raise typer.Exit(FAILED_CODE)


def exit_unconfirmed() -> NoReturn:
    """Exit because there is no terminal for a confirmation."""
    print_error("no terminal to ask for confirmation: add --yes to proceed, or --dry-run to see what would happen")
    raise typer.Exit(USAGE_CODE)
