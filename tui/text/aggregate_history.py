"""The events of an aggregate as steps: what each changed, and the known state after it.

Pure functions over the API's answer.

An event carries only some fields, so the state is merged: the latest value of each field counts. A field that the same
event type carried before, and carries no longer, is removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec import UNSET

from sidecar.api import models
from sidecar.api.client.body_diff import changes
from tui.text.time_format import micros

MAX_MERGE_DEPTH = 50
"""Levels that are merged field by field. Deeper values are replaced as a whole."""
_LEAVES_NO_TRACE = {
    "rejected": "rejected, so it does not change the state",
    "duplicate": "duplicate of an earlier event",
}


@dataclass(frozen=True, slots=True)
class AggregateStep:
    """One event and what it changed."""

    event: models.EventModel
    known: Any = UNSET
    """State after the event; unset if nothing is known yet."""
    changes: list[models.ChangeModel] = field(default_factory=list)
    note: str = ""
    """The reason why the event changed nothing, unless it only repeats known values."""
    first: bool = False
    """True if nothing was known before this event."""
    gap: float | None = None
    """Milliseconds since the previous event."""


def steps(events: Iterable[models.EventModel]) -> list[AggregateStep]:
    """Return the steps of events in order, with bodies as far as they were read."""
    result: list[AggregateStep] = []
    known: Any = UNSET
    previous_bodies: dict[str | None, Any] = {}
    before: int | None = None
    for event in events:
        occurred = micros(event.occurred_at or event.appended_at)
        gap = None if before is None or occurred is None else (occurred - before) / 1000
        before = occurred
        note = _LEAVES_NO_TRACE.get(event.status, "") or _unread(event)
        if note:
            result.append(AggregateStep(event, known, note=note, gap=gap))
            continue
        body = _without_its_own(event.body, event)
        try:
            after = body if known is UNSET else put_together(known, previous_bodies.get(event.type), body)
            changed = list(changes({} if known is UNSET and isinstance(body, Mapping) else known, after))
        except RecursionError:
            after, changed = (
                body,
                [models.ChangeModel(path="", before=None, after="too deep to compare", what="changed")],
            )
        result.append(AggregateStep(event, after, changed, first=known is UNSET, gap=gap))
        known, previous_bodies[event.type] = after, body
    return result


def put_together(known: Any, last: Any, body: Any, depth: int = 0) -> Any:
    """Merge a body into the known state.

    A list replaces the known list, unless it only says less about the same items, such as an order's items without
    their names.

    Args:
        known: The state so far.
        last: The previous body of the same event type.
        body: The body to merge.
        depth: The current nesting level.
    """
    if depth > MAX_MERGE_DEPTH:
        return body
    if isinstance(known, list) and isinstance(body, list):
        if not (last is None and body and _is_part(known, body)):
            return body
        return [put_together(item, None, other, depth + 1) for item, other in zip(known, body, strict=True)]
    if not (isinstance(known, Mapping) and isinstance(body, Mapping)):
        return body
    last = last if isinstance(last, Mapping) else {}
    merged = {name: value for name, value in known.items() if name in body or name not in last}
    for name, value in body.items():
        merged[name] = put_together(known[name], last.get(name), value, depth + 1) if name in known else value
    return merged


def _is_part(known: Any, body: Any) -> bool:
    """Return True if the body only repeats what is known."""
    if isinstance(known, Mapping) and isinstance(body, Mapping):
        return all(name in known and _is_part(known[name], value) for name, value in body.items())
    if isinstance(known, list) and isinstance(body, list):
        return len(known) == len(body) and all(map(_is_part, known, body))
    return bool(known == body and type(known) is type(body))


def _unread(event: models.EventModel) -> str:
    if event.body is UNSET:
        return (event.payload_note is not UNSET and event.payload_note) or "the body has not been read yet"
    if event.body is None:
        return (event.payload_note is not UNSET and event.payload_note) or "no body"
    if isinstance(event.body, str) or (isinstance(event.body, dict) and set(event.body) == {"base64"}):
        return "the body could not be decoded"
    return ""


def _without_its_own(body: Any, event: models.EventModel) -> Any:
    """Return the body without the fields about the event itself: its id, type, time and cause."""
    if not isinstance(body, Mapping):
        return body
    own = {event.event_id, event.type, event.trace_id, event.correlation_id, event.causation_id} - {None}
    own.add((event.type or "").rpartition(".")[2])
    occurred = micros(event.occurred_at)

    def is_own(value: Any) -> bool:
        if isinstance(value, str):
            return value in own or (occurred is not None and micros(value) == occurred)
        return isinstance(value, int) and occurred is not None and value in (occurred, occurred // 1_000)

    return {name: value for name, value in body.items() if not is_own(value)}
