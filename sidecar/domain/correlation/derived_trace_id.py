"""Trace ids for events without one in their headers: derived, so that every sidecar derives the same.

A derived id is the BLAKE2b hash of a text in UTF-8, 16 bytes read as a big-endian number (0, which is not a valid trace
id, becomes 1). The text is the event's correlation id; else the id of the root to which its causation ids lead; else
its own event id; else its position. The same text gives the same id from any of these sources: a root event whose id is
the correlation id of others has the trace id of these others.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

from sidecar.domain.correlation.event_order import moment
from sidecar.domain.model import Event

FirstEventLookup = Callable[[str], Event | None]
"""Function that finds the first event (by append time, then position) with an event id."""


MASK_PREFIX = "redacted:"
_MASK_CHARACTERS = len(MASK_PREFIX) + 32


def derive_trace_id(text: str) -> int:
    """Derive a trace id, 128 bits and never 0, from a text."""
    return int.from_bytes(digest_id(text), "big") or 1


def digest_id(text: str) -> bytes:
    """Return the 16 bytes of a text that `derive_trace_id` reads: its hash, which a mask has in it."""
    if text.startswith(MASK_PREFIX) and len(text) == _MASK_CHARACTERS:
        try:
            return bytes.fromhex(text[len(MASK_PREFIX) :])
        except ValueError:
            pass
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def mask_id(id: str) -> str:
    """Mask an id that may not be stored. Equal ids have equal masks, and a trace id is derived as from the id."""
    return f"{MASK_PREFIX}{digest_id(id).hex()}"


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


def own_identity(event: Event) -> str:
    """Return the event's id, else its position."""
    return str(event.position) if event.event_id is None else event.event_id


def cause_of(event: Event) -> str | None:
    """Return the causation id; None if the event names itself."""
    return None if event.causation_id == event.event_id else event.causation_id


def is_standalone(event: Event) -> bool:
    """Check whether the trace of an event follows from nothing but its own id or position."""
    return event.trace_id is None and event.correlation_id is None and cause_of(event) is None


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
