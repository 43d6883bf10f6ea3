"""The two orders of events: by occurrence, and by appending."""

from __future__ import annotations

from sidecar.domain.model import Event
from sidecar.domain.position import Position

Moment = tuple[int, Position]


def moment(event: Event) -> Moment:
    """Return a sort key by the time of occurrence in microseconds, then by position.

    The time is the producer's, else that of appending. The order is strict and does not depend on arrival.
    """
    occurred = event.occurred_at
    return (event.appended_at * 1000 if occurred is None else occurred, event.position)


def append_moment(event: Event) -> Moment:
    """Return a sort key by the time of appending in milliseconds, then by position.

    It decides which duplicate is the first.
    """
    return (event.appended_at, event.position)
