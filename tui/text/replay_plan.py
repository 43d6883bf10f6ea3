"""The dry run of a replay as text: the question that it raises, and its rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sidecar.api.models.replays import PlanModel, ReceiverModel, ReplayRequestModel
from tui.text.history_lines import format_change
from tui.text.names import NameBook
from tui.text.sanitize import clean
from tui.text.time_format import count

MAX_SHOWN_ROWS = 6
MAX_NAMED_GROUPS = 3
MAX_NAME_CELLS = 70


@dataclass(frozen=True, slots=True)
class PlanRow:
    """A row of the dry run: a label, a text, and the purpose of its color."""

    label: str
    text: str
    tone: str = "text"


def passed_groups(plan: PlanModel) -> list[str]:
    """Return the groups that have consumed letters which are therefore kept back."""
    return list(dict.fromkeys(receiver.group for receiver in plan.receivers if receiver.kept_back))


def ask_where(plan: PlanModel) -> str:
    """Return the question that letters raise which groups have consumed already."""
    groups = passed_groups(plan)
    names = [clean(group, 100) for group in groups[:MAX_NAMED_GROUPS]]
    if len(groups) > MAX_NAMED_GROUPS:
        names.append(f"{len(groups) - MAX_NAMED_GROUPS} more groups")
    who = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0] if names else "A group"
    verb = "have" if len(groups) > 1 else "has"
    if plan.kept_back == plan.selected == 1:
        which = "this record"
    elif plan.kept_back == plan.selected:
        which = f"these {count(plan.selected)} records"
    else:
        which = f"{count(plan.kept_back)} of these {count(plan.selected)} records"
    return f"{who} {verb} already consumed past {which}.\nSend to:"


def is_expected_to_fail(plan: PlanModel) -> bool:
    """Return True if the dry run expects that letters are rejected again."""
    return plan.passes < plan.looked_at


def plan_rows(plan: PlanModel, request: ReplayRequestModel, names: NameBook, width: int) -> Iterator[PlanRow]:
    """Yield the rows of a dry run. `width`: cells for a name."""
    kept = f", {count(plan.kept_back)} kept back" if plan.kept_back else ""
    yield PlanRow("letters", f"{count(plan.sendable)} of {count(plan.selected)} would be sent{kept}", "strong")
    for why, number in list(plan.skipped.items())[:MAX_SHOWN_ROWS]:
        if not (plan.kept_back and why.startswith("a group has consumed it already")):  # the question says so
            yield PlanRow("", f"{count(number)} skipped: {name_keys(clean(why, 240))}", "warn")
    for target in plan.targets[:MAX_SHOWN_ROWS]:
        stream = names.streams.shorten(target.stream, max(12, width - 12))
        missing = "" if target.exists else "  ✗ does not exist"
        yield PlanRow("to", f"{stream}  ({count(target.count)}){missing}", "bad" if missing else "text")
    if request.group is not None:
        yield PlanRow("for", f"{clean(request.group, 100)} alone: other groups can skip it by its header")
    if plan.looked_at:
        is_good = not is_expected_to_fail(plan)
        words = f"{'✓' if is_good else '✗'} {count(plan.passes)} of {count(plan.looked_at)} checked"
        yield PlanRow("valid now", words, "good" if is_good else "bad")
    for check in plan.fails[:MAX_SHOWN_ROWS]:
        where = f"{check.path}: " if check.path and check.path not in check.message else ""
        yield PlanRow("", f"✗ {count(check.count)} {clean(check.code, 60)}  {clean(where + check.message, 240)}", "bad")
    yield from _receiver_rows(plan, names, width)
    for change in plan.changes[:MAX_SHOWN_ROWS]:
        yield PlanRow("change", format_change(change), "info")
    for warning in plan.warnings[:MAX_SHOWN_ROWS]:
        yield PlanRow("! note", name_keys(clean(warning, 400)), "warn")


def _receiver_rows(plan: PlanModel, names: NameBook, width: int) -> Iterator[PlanRow]:
    if not plan.receivers:
        yield PlanRow("received by", "no other group consumes this stream")
        return
    label = "received by" if plan.sendable else "consumed by"
    has_one_stream = len({receiver.stream for receiver in plan.receivers}) == 1 == len(plan.targets)
    alike: dict[tuple[str, bool], list[ReceiverModel]] = {}
    for receiver in plan.receivers[: 2 * MAX_SHOWN_ROWS]:
        stream = "" if has_one_stream else f" on {names.streams.shorten(receiver.stream, 30)}"
        key = f"{stream}{_describe_receiver(receiver, plan)}", bool(receiver.passed or receiver.kept_back)
        alike.setdefault(key, []).append(receiver)
    for (facts, is_warning), some in alike.items():
        room = max(12, min(MAX_NAME_CELLS, width - (len(facts) if len(some) == 1 else 2)))
        listed = ", ".join(names.groups.shorten(receiver.group, room) for receiver in some)
        yield PlanRow(label, listed + facts, "warn" if is_warning else "text")
        label = ""
    if len(plan.receivers) > 2 * MAX_SHOWN_ROWS:
        yield PlanRow("", f"and {len(plan.receivers) - 2 * MAX_SHOWN_ROWS} more groups")


def _describe_receiver(receiver: ReceiverModel, plan: PlanModel) -> str:
    facts = ""
    if receiver.passed:
        facts += ", again" if plan.sendable == 1 else f", {count(receiver.passed)} of them again"
    if receiver.kept_back and (plan.sendable or plan.selected > 1):
        facts += ", consumed it" if plan.selected == 1 else f", consumed {count(receiver.kept_back)}"
    return facts + (f"  lag {count(receiver.lag)}" if receiver.lag else "")


def name_keys(sentence: str) -> str:
    """Name keys of the dialog in place of the command-line options that the sidecar names."""
    for option, key in (
        ("--again", "a"), ("--force", "f"), ("--group G", "o"), ("--batch-growth", "g"), ("--to S", "s"), ("--to", "s"),
    ):  # fmt: skip
        sentence = sentence.replace(option, f"key {key}")
    return sentence
