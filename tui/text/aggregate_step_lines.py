"""One step of an aggregate as foldable lines: what it changed, the state after it, and where it is stored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from msgspec import UNSET

from sidecar.api import models
from sidecar.domain.json_safe import encode_json
from tui.text.aggregate_history import AggregateStep
from tui.text.body_lines import body_facts
from tui.text.columns import wrap
from tui.text.detail_line import DetailLine, FoldState, section, word
from tui.text.event_details import schema_go, schema_name, why_facts
from tui.text.sanitize import clean

MAX_CHANGES = 200
MAX_VALUE_CHARS = 300
"""Longest value that is shown, in characters."""


def step_facts(step: AggregateStep, folds: FoldState, width: int) -> list[DetailLine]:
    event = step.event
    lines = why_facts(event.rejection, event.changed, width)
    if step.note:
        pieces = wrap(step.note, max(20, width - 4))
        lines += [DetailLine(f"note.{number}", 1, "", piece, "warn") for number, piece in enumerate(pieces)]
    elif not step.first:
        lines += section("changes", "changes", _changes(step.changes), folds)
    if step.known is not UNSET:
        known = body_facts(step.known, UNSET, None, folds, width)
        lines += [replace(known[0], label="state before it" if step.note else "state after it"), *known[1:]]
    return lines + section("about", "about", _detail_lines(event), folds)


def _changes(changes: list[models.ChangeModel]) -> list[DetailLine]:
    lines = [_change(number, change) for number, change in enumerate(changes[:MAX_CHANGES])]
    if len(changes) > MAX_CHANGES:
        lines.append(DetailLine("change.more", 1, "", f"and {len(changes) - MAX_CHANGES} more", "dim"))
    return lines or [DetailLine("change.none", 1, "", "nothing", "dim")]


def _change(number: int, change: models.ChangeModel) -> DetailLine:
    key, name = f"change.{number}", change.path or "everything"
    match change.what:
        case "added":
            return DetailLine(key, 1, name, f"+ {_shown_value(change.after)}", "good", copy=change.after)
        case "removed":
            return DetailLine(key, 1, name, f"- {_shown_value(change.before)}", "bad", copy=change.before)
    return DetailLine(
        key, 1, name, f"{_shown_value(change.before)} → {_shown_value(change.after)}", "warn", copy=change.after
    )


def _shown_value(value: Any) -> str:
    text = encode_json(value).decode("utf-8", "replace")
    return clean(text if len(text) <= MAX_VALUE_CHARS else f"{text[:MAX_VALUE_CHARS]}…")


def _detail_lines(event: models.EventModel) -> list[DetailLine]:
    words = [
        word("event", event.position, go=f"flow:{event.position}"), word("status", event.status),
        word("type", event.type), word("version", event.version), word("event id", event.event_id),
        word("occurred", event.occurred_at), word("producer", event.producer),
        word("schema", schema_name(event.schema), go=schema_go(event.schema)),
        word("trace", event.trace_id, go=f"flow:{event.trace_id}" if event.trace_id else ""),
        word("replay of", event.replay_of),
    ]  # fmt: skip
    return [line for line in words if line is not None]
