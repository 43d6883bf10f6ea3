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
MAX_ORIGINS = 200
MAX_VALUE_CHARS = 300
"""Longest value that is shown, in characters."""


def step_facts(
    step: AggregateStep, state: models.AggregateModel | None, folds: FoldState, width: int
) -> list[DetailLine]:
    """Return the lines of a step. `state`: the aggregate at its position; None while it is read."""
    lines = why_facts(step.event.rejection, step.event.changed, width)
    if step.note:
        pieces = wrap(step.note, max(20, width - 4))
        lines += [DetailLine(f"note.{number}", 1, "", piece, "warn") for number, piece in enumerate(pieces)]
    if step.applied and not step.first:
        lines += section("changes", "changes", _changes(step.changes, step.omitted), folds)
    if state is not None and state.state is not UNSET:
        known = body_facts(state.state, UNSET, None, folds, width)
        lines += [replace(known[0], label="state after it" if step.applied else "state before it"), *known[1:]]
        lines += section("origins", "set by", _origins(state, step.event.position), folds, by_itself=False)
    elif step.applied:
        lines.append(DetailLine("state.reading", 1, "", "Reading the state …", "dim"))
    return lines + section("about", "about", _detail_lines(step.event), folds)


def _origins(state: models.AggregateModel, position: str) -> list[DetailLine]:
    """Return a line for each part of the state, with the event that changed it last."""
    origins = {} if state.origins is UNSET else state.origins
    lines = []
    for number, (path, origin) in enumerate(list(origins.items())[:MAX_ORIGINS]):
        is_own = origin == position
        value = "this event" if is_own else origin
        kind = "good" if is_own else "text"
        lines.append(DetailLine(f"origin.{number}", 1, path or "everything", value, kind, go=f"flow:{origin}"))
    return lines


def _changes(changes: list[models.ChangeModel], omitted: int) -> list[DetailLine]:
    lines = [_change(number, change) for number, change in enumerate(changes[:MAX_CHANGES])]
    more = max(0, len(changes) - MAX_CHANGES) + omitted
    if more:
        lines.append(DetailLine("change.more", 1, "", f"and {more} more", "dim"))
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
