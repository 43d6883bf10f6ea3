"""Duplicates: an event id seen again at another position, and what an event's status is."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.domain.correlation.ordering import appended
from sidecar.domain.model import Event
from sidecar.domain.position import Position

MAX_REPLAY_CHAIN_LENGTH = 100
"""Replays of replays that are followed back."""
MAX_EVENTS_PER_ID = 100
"""Events with one id among which replays are told from duplicates. Of more, all but the first are duplicates: such ids
name no events."""


def status_of(event: Event, original: Event | None) -> str:
    """rejected, else duplicate, else replayed, else unchecked, else ok. `original` is what it is a duplicate of."""
    if event.rejection is not None:
        return "rejected"
    if original is not None:
        return "duplicate"
    if event.replay_of is not None:
        return "replayed"
    return "unchecked" if event.unchecked else "ok"


def original_of(event: Event, same_id: Sequence[Event]) -> Event | None:
    """The first of the events with this one's id, where it is not this one. A replay and the records that it is a
    replay of are not duplicates of one another: they are passed over. `same_id` are all held events with the id, any
    order."""
    if len(same_id) > MAX_EVENTS_PER_ID:
        same_id = [min(same_id, key=appended)]
    earlier = [other for other in same_id if appended(other) < appended(event)]
    if earlier and (event.replay_of or any(other.replay_of for other in same_id)):
        at = {other.position: other for other in same_id}
        earlier = [other for other in earlier if not _of_one_lineage(event, other, at)]
    return min(earlier, key=appended, default=None)


def parse_origin(replay_of: str) -> Position | None:
    """The origin's position in the id of a dead letter, `GROUP@POSITION`; None where the id has no position, or only
    that of a foreign letter itself (`@POSITION`)."""
    # A position's stream is quoted, so the last "://" is the position's own, whatever the group is called.
    scheme = replay_of.rfind("://")
    begin = replay_of.rfind("@", 0, scheme) if scheme > 0 else -1
    if begin < 1:
        return None
    try:
        return Position.parse(replay_of[begin + 1 :])
    except ValueError:
        return None


def _of_one_lineage(event: Event, other: Event, at: dict[Position, Event]) -> bool:
    return _descends(event, other, at) or _descends(other, event, at)


def _descends(event: Event | None, ancestor: Event, at: dict[Position, Event]) -> bool:
    """`event` is a replay of the record `ancestor`, or a replay of a replay of it. Where a letter's id does not tell
    its origin, every record of the same id that is no replay itself may be it."""
    for _ in range(MAX_REPLAY_CHAIN_LENGTH):
        if event is None or event.replay_of is None:
            return False
        origin = parse_origin(event.replay_of)
        if origin is None:
            return ancestor.replay_of is None
        if origin == ancestor.position:
            return True
        event = at.get(origin)
    return False
