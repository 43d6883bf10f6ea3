"""Bounds of the texts and numbers of an event that is stored outside of its broker, in an index or in the history."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, get_type_hints

from msgspec.structs import fields, replace

from sidecar.domain.model import Event, Rejection, SchemaRef

MAX_TEXT_CHARS = 512
"""Longest id or name to keep. A longer one is cut, and a hash of it keeps it distinct from others."""
MAX_MESSAGE_CHARS = 2_000
UNPACKABLE = (TypeError, ValueError, OverflowError)
"""Errors of encoders for texts that UTF-8 cannot encode, and for numbers beyond their field; see `bound_event`."""
UNSIGNED_BITS = {"trace_id": 128, "span_id": 64, "parent_span_id": 64}
"""Sizes in bits of the fields of an event that are unsigned numbers."""

_SIGNED_BITS = 63
_hints = get_type_hints(Event)
_names = tuple(field.name for field in fields(Event) if field.name != "position")
_TEXTS = tuple(name for name in _names if _hints[name] in (str, str | None))
_NUMBERS = tuple(name for name in _names if _hints[name] in (int, int | None) and name not in UNSIGNED_BITS)


def bound_text(text: str) -> str:
    """Bound a text to `MAX_TEXT_CHARS`, and escape characters that UTF-8 cannot encode."""
    if len(text) > MAX_TEXT_CHARS:
        digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        text = f"{text[: MAX_TEXT_CHARS - 36]}...{digest}"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def bound_event(event: Event) -> Event:
    """Make any event storable: texts are bounded, numbers clamped to their fields."""
    changes: dict[str, Any] = {name: bound_text(text) for name in _TEXTS if (text := getattr(event, name)) is not None}
    for name in _NUMBERS:
        if (number := getattr(event, name)) is not None:
            changes[name] = _clamp(number)
    for name, bits in UNSIGNED_BITS.items():
        number = getattr(event, name)
        changes[name] = number if number is not None and 0 <= number < 1 << bits else None
    if changes["trace_id"] is None:
        changes["trace_origin"] = None
    if event.rejection is not None:
        changes["rejection"] = _bounded_rejection(event.rejection)
    if event.schema is not None:
        changes["schema"] = _bounded_schema(event.schema)
    return replace(event, **changes)


def _bounded_rejection(rejection: Rejection) -> Rejection:
    return Rejection(
        bound_text(rejection.code),
        rejection.message[:MAX_MESSAGE_CHARS].encode("utf-8", "backslashreplace").decode("utf-8"),
        None if rejection.path is None else bound_text(rejection.path),
    )


def _bounded_schema(schema: SchemaRef) -> SchemaRef:
    return SchemaRef(
        None if schema.subject is None else bound_text(schema.subject),
        None if schema.version is None else _clamp(schema.version),
        None if schema.id is None else _clamp(schema.id),
        None if schema.guid is None else bound_text(schema.guid),
    )


def _clamp(number: int) -> int:
    return min(max(number, -(1 << _SIGNED_BITS)), (1 << _SIGNED_BITS) - 1)
