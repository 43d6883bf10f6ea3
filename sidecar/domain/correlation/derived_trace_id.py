"""Trace ids of events whose headers give none: derived, so that every sidecar and every restart derives the same.

A derived id is the BLAKE2b hash, with a digest of 16 bytes read as a big-endian number, of one text in UTF-8 (zero,
which is no trace id, becomes one). The text is the event's correlation id; else the id of the root that its causation
ids lead to; else its own event id; else its position. The same text gives the same id whichever of these it is: a
root whose id its followers carry as their correlation id has the trace id of its followers.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

from sidecar.domain.correlation.ordering import moment
from sidecar.domain.model import Event

FirstEventLookup = Callable[[str], Event | None]
"""The first (by append time, then position) of all held events with an event id."""


def derive_trace_id(text: str) -> int:
    """The trace id, 128 bits and never zero, that follows from `text`."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest(), "big") or 1


def trace_id_of(event: Event, first: FirstEventLookup, roots: dict[str, str]) -> int:
    """The event's own trace id, or the derived one. `roots` remembers roots between calls over one held set."""
    if event.trace_id is not None:
        return event.trace_id
    return derive_trace_id(trace_id_source(event, first, roots))


def trace_id_source(event: Event, first: FirstEventLookup, roots: dict[str, str]) -> str:
    """The text that the trace id of an event without one is derived from."""
    if event.correlation_id is not None:
        return event.correlation_id
    cause = cause_of(event)
    if cause is not None:
        return find_root(cause, first, roots)
    return own_identity(event)


def own_identity(event: Event) -> str:
    """The event's own id, else its position."""
    return str(event.position) if event.event_id is None else event.event_id


def cause_of(event: Event) -> str | None:
    """The causation id; an event that names itself names no cause."""
    return None if event.causation_id == event.event_id else event.causation_id


def is_standalone(event: Event) -> bool:
    """Nothing but its own id or position says which trace it belongs to."""
    return event.trace_id is None and event.correlation_id is None and cause_of(event) is None


def find_root(cause: str, first: FirstEventLookup, roots: dict[str, str]) -> str:
    """The id that causation ids lead to from `cause`: of the event without a cause, or of the first one that is not
    held. In a loop of causes it is the earliest event's."""
    path: list[Event] = []
    on_path: dict[str, int] = {}
    while True:
        known = roots.get(cause)
        if known is not None:
            found = known
            break
        if cause in on_path:
            found = min(path[on_path[cause] :], key=moment).event_id or cause
            break
        event = first(cause)
        if event is None:
            found = cause
            break
        on_path[cause] = len(path)
        path.append(event)
        further = cause_of(event)
        if further is None:
            found = cause
            break
        cause = further
    roots.update(dict.fromkeys(on_path, found))
    return found
