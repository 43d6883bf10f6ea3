"""Trace ids for events without one in their headers: derived, so that every sidecar derives the same.

The text that an id is derived from (`sidecar.domain.derived_ids`) is the event's correlation id; else the id of the
root to which its causation ids lead; else its own event id; else its position. The same text gives the same id from any
of these sources: a root event whose id is the correlation id of others has the trace id of these others.
"""

from __future__ import annotations

from collections.abc import Callable

from sidecar.domain.correlation.event_order import moment
from sidecar.domain.derived_ids import cause_of, derive_trace_id, own_identity
from sidecar.domain.model import Event

FirstEventLookup = Callable[[str], Event | None]
"""Function that finds the first event (by append time, then position) with an event id."""


def trace_id_of(event: Event, first: FirstEventLookup, roots: dict[str, str]) -> int:
    """Return the event's own trace id, or the derived one. `roots` caches roots between calls over the same events."""
    if event.trace_id is not None:
        return event.trace_id
    return derive_trace_id(trace_id_source(event, first, roots))


def trace_id_source(event: Event, first: FirstEventLookup, roots: dict[str, str]) -> str:
    """Return the text from which the trace id of an event is derived, for an event without one."""
    if event.correlation_id is not None:
        return event.correlation_id
    cause = cause_of(event)
    if cause is not None:
        return find_root(cause, first, roots)
    return own_identity(event)


def find_root(cause: str, first: FirstEventLookup, roots: dict[str, str]) -> str:
    """Follow causation ids from `cause` to an event without a cause, or to an unknown one, and return its id.

    In a loop of causes it is the id of the earliest event.
    """
    path: list[Event] = []
    on_path: dict[str, int] = {}
    while True:
        known = roots.get(cause)
        if known is not None:
            origin = known
            break
        if cause in on_path:
            origin = min(path[on_path[cause] :], key=moment).event_id or cause
            break
        event = first(cause)
        if event is None:
            origin = cause
            break
        on_path[cause] = len(path)
        path.append(event)
        further = cause_of(event)
        if further is None:
            origin = cause
            break
        cause = further
    roots.update(dict.fromkeys(on_path, origin))
    return origin
