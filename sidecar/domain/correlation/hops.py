"""Hops: copies of one record on a framework's retry topics or on a pass-through stream. They are one event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sidecar.domain.correlation.event_order import append_moment
from sidecar.domain.model import Event
from sidecar.domain.position import Position

Hops = Mapping[Position, tuple[Position, ...]]
"""The positions of its hops, oldest first, for each event that has any."""


def hop_root(event: Event) -> str:
    """Return the position, as text, that an event and all its hops share."""
    return event.hop_of or str(event.position)


def first_of_hops(hops: Sequence[Event]) -> Event:
    """Return the event that represents its hops: the original if it is among them, else the oldest hop."""
    return min(hops, key=lambda event: (event.hop_of is not None, append_moment(event)))


def fold_hops(events: Sequence[Event]) -> tuple[list[Event], Hops]:
    """Fold hops into their events.

    Only copies with the event's own id are folded: a service may pass the headers of a copy on with a new event.

    Returns:
        The events that are not hops of others, in the given order, and the positions of the hops.
    """
    if not any(event.hop_of for event in events):
        return list(events), {}
    groups: dict[tuple[str, str], list[Event]] = {}
    for event in events:
        if event.event_id is not None:
            groups.setdefault((event.event_id, hop_root(event)), []).append(event)
    folded: set[Position] = set()
    hops: dict[Position, tuple[Position, ...]] = {}
    for group in groups.values():
        if len(group) > 1:
            first = first_of_hops(group)
            others = sorted((event for event in group if event is not first), key=append_moment)
            hops[first.position] = tuple(event.position for event in others)
            folded.update(hops[first.position])
    return [event for event in events if event.position not in folded], hops
