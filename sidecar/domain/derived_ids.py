"""Ids that are derived from texts: trace ids, and masks of ids that may not be stored.

A derived trace id is the BLAKE2b hash of a text in UTF-8, 16 bytes read as a big-endian number (0, which is not a valid
trace id, becomes 1).
"""

from __future__ import annotations

from hashlib import blake2b

from sidecar.domain.model import Event

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


def own_identity(event: Event) -> str:
    """Return the event's id, else its position."""
    return str(event.position) if event.event_id is None else event.event_id


def cause_of(event: Event) -> str | None:
    """Return the causation id; None if the event names itself."""
    return None if event.causation_id == event.event_id else event.causation_id


def is_standalone(event: Event) -> bool:
    """Check whether the trace of an event follows from nothing but its own id or position."""
    return event.trace_id is None and event.correlation_id is None and cause_of(event) is None
