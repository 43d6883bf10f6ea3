"""The two orders of events: when they happened, and which of several with one id came first."""

from __future__ import annotations

from sidecar.domain.model import Event
from sidecar.domain.position import Position

Moment = tuple[int, Position]


def moment(event: Event) -> Moment:
    """When an event happened, in microseconds: as the producer says, else when it was appended; then by position. A
    strict order, the same whatever the order of arrival."""
    occurred = event.occurred_at
    return (event.appended_at * 1000 if occurred is None else occurred, event.position)


def appended(event: Event) -> Moment:
    """When an event was appended, in milliseconds, then by position: what decides which of several is the first."""
    return (event.appended_at, event.position)
