"""Duplicates: events with an id that was seen before at another position; and the status of an event."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.domain.correlation.event_order import append_moment
from sidecar.domain.correlation.hops import first_of_hops, hop_root
from sidecar.domain.model import Event
from sidecar.domain.position import Position

MAX_REPLAY_STEPS = 100
"""Replays of replays to follow back."""
MAX_EVENTS_PER_ID = 100
"""Events with one id among which replays are distinguished from duplicates. With more, all but the first are
duplicates: such an id does not identify events."""


def status_of(event: Event, original: Event | None) -> str:
    """Return rejected, else duplicate, else replayed, else unchecked, else ok. `original`: see `original_of`."""
    if event.rejection is not None:
        return "rejected"
    if original is not None:
        return "duplicate"
    if event.replay_of is not None:
        return "replayed"
    return "unchecked" if event.unchecked else "ok"


def original_of(event: Event, same_id: Sequence[Event]) -> Event | None:
    """Return the first of the events with this event's id, or None if that is this event itself.

    Replays of one record, and that record, are not duplicates of one another, in any number: they are skipped.
    `same_id` are all known events with the id, in any order.
    """
    if len(same_id) > MAX_EVENTS_PER_ID:
        same_id = [min(same_id, key=append_moment)]
    first = event
    if event.hop_of or any(other.hop_of for other in same_id):
        # An event and its hops are one, and as old as the oldest of them.
        hops = hop_root(event)
        first = first_of_hops([event, *(other for other in same_id if hop_root(other) == hops)])
    earlier = [other for other in same_id if append_moment(other) < append_moment(first)]
    if earlier and any(other.replay_of or other.hop_of for other in (event, *same_id)):
        at = {other.position: other for other in (*same_id, event)}
        record = _first_record(event, at)
        earlier = [other for other in earlier if not _is_same_record(record, _first_record(other, at))]
    return min(earlier, key=append_moment, default=None)


def parse_origin(replay_of: str) -> Position | None:
    """Return the origin's position from the id of a dead letter, `GROUP@POSITION`.

    Returns None if the id has no position, or only that of a foreign dead letter itself (`@POSITION`).
    """
    # A position's stream is quoted, so the last "://" is the position's own, even if the group contains one.
    scheme = replay_of.rfind("://")
    begin = replay_of.rfind("@", 0, scheme) if scheme > 0 else -1
    if begin < 1:
        return None
    try:
        return Position.parse(replay_of[begin + 1 :])
    except ValueError:
        return None


def _first_record(event: Event, at: dict[Position, Event]) -> Position | None:
    """Follow replays of replays, and hops, back to the position of the record that was published first.

    The event's own position, where it is neither. None where a foreign dead letter's id does not state the origin:
    any record of the same event id may be it.
    """
    position = event.position
    for _ in range(MAX_REPLAY_STEPS):
        current = at.get(position)
        if current is None:
            return position
        if current.replay_of is not None:
            origin = parse_origin(current.replay_of)
            if origin is None:
                return None
        elif current.hop_of is not None:
            origin = _parse_position(current.hop_of)
            if origin is None:
                return position
        else:
            return position
        position = origin
    return position


def _parse_position(text: str) -> Position | None:
    try:
        return Position.parse(text)
    except ValueError:
        return None


def _is_same_record(record: Position | None, other: Position | None) -> bool:
    return record is None or other is None or record == other
