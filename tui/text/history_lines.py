"""Lines about the history of a dead letter, and about the error that its consumer reported."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import UNSET

from sidecar.api import models
from sidecar.domain.json_safe import encode_json
from tui.text.columns import wrap
from tui.text.detail_line import DetailLine, FoldState, section
from tui.text.sanitize import clean
from tui.text.time_format import clock

MAX_STACKTRACE_LINES = 400
"""Most lines shown of a stack trace."""


def history_lines(history: object, folds: FoldState, width: int) -> list[DetailLine]:
    """Return the history of a dead letter, oldest first: replays, discards, restores, with who, when and why."""
    if not isinstance(history, list):
        return []
    inner: list[DetailLine] = []
    for number, deed in enumerate(history):
        if isinstance(deed, models.LedgerActionModel):
            inner += _action_lines(f"history.{number}", deed, width)
    return section("history", "history", inner, folds)


def _action_lines(key: str, deed: models.LedgerActionModel, width: int) -> Iterator[DetailLine]:
    sentence = f"{deed.act} by {deed.by}"
    sentence += f" to {deed.to}" if deed.to else ""
    sentence += f", for {deed.group} alone" if deed.group else ""
    sentence += f", attempt {deed.attempt}" if deed.attempt is not None and deed.attempt > 1 else ""
    yield DetailLine(key, 1, clock(deed.at), sentence, "do")
    for at, piece in enumerate(wrap(deed.why, max(20, width - 20), 4) if deed.why else ()):
        yield DetailLine(f"{key}.why.{at}", 1, "because" if at == 0 else "", piece)
    for at, change in enumerate(deed.edit[:8]):
        yield DetailLine(f"{key}.edit.{at}", 1, "changed", format_change(change))


def format_change(change: models.ChangeModel) -> str:
    """Format a change, such as `items[1].qty: "two" → 2`."""

    def show(value: object) -> str:
        return clean(encode_json(value).decode("utf-8", "replace"), 80)

    path = clean(change.path, 80)
    match change.what:
        case "added":
            return f"{path}: added {show(change.after)}"
        case "removed":
            return f"{path}: removed, was {show(change.before)}"
    return f"{path}: {show(change.before)} → {show(change.after)}"


def stack_facts(stacktrace: object, folds: FoldState, width: int) -> list[DetailLine]:
    """Return the consumer's stack trace, folded by default because it is long."""
    if stacktrace is UNSET or not isinstance(stacktrace, str) or not stacktrace:
        return []
    lines = stacktrace.split("\n")
    inner = [
        DetailLine(f"stack.{at}.{part}", 2 if line[:1].isspace() else 1, "", piece, copy=stacktrace)
        for at, line in enumerate(lines[:MAX_STACKTRACE_LINES])
        for part, piece in enumerate(wrap(line.strip(), max(20, width - 6), 8))
    ]
    if len(lines) > MAX_STACKTRACE_LINES:
        inner.append(
            DetailLine(
                "stack.more", 1, "", f"… {len(lines) - MAX_STACKTRACE_LINES:,} lines more", "dim", copy=stacktrace
            )
        )
    return section("stack", "stack trace", inner, folds, by_itself=len(inner) <= 12)
