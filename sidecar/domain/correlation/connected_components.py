"""Connected components of events: the keys that join events, and the resulting flows.

A key joins all events that carry it: a trace id from the record, a correlation id, and a causation id, which also joins
the event that it names. Events that carry only their own id have the trace id derived from it as their key, so that
duplicates of such an event are joined. A key that more than `max_flow` events carry does not join: a session id or
customer id is not a flow.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from sidecar.domain.derived_ids import derive_trace_id, is_standalone
from sidecar.domain.model import Event
from sidecar.domain.position import Position

Key = tuple[str, str | int]
"""Kind and value: `trace` with the number, `correlation` or `causation` with the id."""


def carried_keys(event: Event, join: Collection[str]) -> Iterator[Key]:
    """Yield the keys that an event carries itself."""
    if "trace" in join:
        if event.trace_id is not None:
            yield "trace", event.trace_id
        elif event.event_id is not None and is_standalone(event):
            yield "trace", derive_trace_id(event.event_id)
    if "correlation" in join and event.correlation_id is not None:
        yield "correlation", event.correlation_id
    if "causation" in join and event.causation_id is not None:
        yield "causation", event.causation_id


def cause_key(event: Event, join: Collection[str]) -> Key | None:
    """Return the key by which other events may name this one as their cause. It joins only if an event does."""
    return ("causation", event.event_id) if "causation" in join and event.event_id is not None else None


def format_key(key: Key) -> str:
    """Format a key for people: `correlation:session-1`, or `trace:` and 32 hex digits."""
    kind, value = key
    return f"{kind}:{value:032x}" if isinstance(value, int) else f"{kind}:{value}"


def group_by_key(events: Sequence[Event], join: Collection[str]) -> dict[Key, list[int]]:
    """Group events by key: for each, the indices in `events` of those that carry it or that it names."""
    members: dict[Key, list[int]] = {}
    for number, event in enumerate(events):
        for key in carried_keys(event, join):
            members.setdefault(key, []).append(number)
    for number, event in enumerate(events):
        key_of_cause = cause_key(event, join)
        if key_of_cause in members and event.causation_id != event.event_id:
            members[key_of_cause].append(number)
    return members


def connect_events(
    events: Sequence[Event], join: Collection[str], max_flow: int
) -> tuple[list[list[Event]], dict[Position, list[Key]]]:
    """Find the flows of a set of events.

    Args:
        events: All events, each position once.
        join: The kinds of keys that join.
        max_flow: Largest number of events that one key joins.

    Returns:
        The events of each flow; and by position the keys of its event that do not join, because too many carry them.
    """
    above = list(range(len(events)))

    def top(number: int) -> int:
        while above[number] != number:
            above[number] = above[above[number]]
            number = above[number]
        return number

    broken: dict[Position, list[Key]] = {}
    for key, numbers in group_by_key(events, join).items():
        if len(numbers) > max_flow:
            for number in numbers:
                broken.setdefault(events[number].position, []).append(key)
        else:
            for number in numbers[1:]:
                above[top(number)] = top(numbers[0])
    flows: dict[int, list[Event]] = {}
    for number, event in enumerate(events):
        flows.setdefault(top(number), []).append(event)
    return list(flows.values()), broken
