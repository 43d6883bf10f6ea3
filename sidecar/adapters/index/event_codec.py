"""Codec that packs events into bytes and unpacks them, with code generated from the fields of `Event`.

A packed event is a MessagePack array, about a fifth of the size of the event with its texts. A field that is added at
the end of `Event` is packed and restored without a change here, and bounded by `sidecar.domain.event_bounds`. The
functions are compiled once, with one attribute access for each field, because packing is the hot path of the index.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, get_type_hints

import msgspec
from msgspec import NODEFAULT, Struct
from msgspec.structs import fields

from sidecar.domain.model import Event, SchemaRef

MAX_PACKED_BYTES = 4_096
"""Size of a packed event above which each of its texts is checked and shortened."""

_FIRST_FIELDS = ("appended_at", "observed_at", "occurred_at", "event_id", "type", "version", "key")
"""The first elements of a packed event. The shared index stores this order; the other fields follow as in `Event`."""
_ELSEWHERE = "position"
"""The field that is not packed: the place of the packed event says it."""

_hints = get_type_hints(Event)
_event_fields = {field.name: field for field in fields(Event)}
PACKED_FIELDS = (
    *_FIRST_FIELDS,
    *(name for name in _event_fields if name not in _FIRST_FIELDS and name != _ELSEWHERE),
)


class EventCodec:
    """Functions that pack and restore events in one layout.

    `pack(*leading, trace, schema, event)` returns the bytes; `unpack(data)` returns a Struct with the fields of
    `leading` and those of `Event` but its position; `restore(packed, position, schema)` returns the event. A trace id
    is packed as its 16 bytes, big-endian, and a schema as the caller's `schema_type`.
    """

    def __init__(self, leading: type[Struct], schema_type: Any) -> None:
        """Compile the functions.

        `leading` is an array-like Struct with the elements before those of the event; event fields that it declares
        are packed from the caller's arguments.
        """
        first = [field.name for field in fields(leading)]
        rest = [name for name in PACKED_FIELDS if name not in first]
        types = {**_hints, "trace_id": bytes | None, "schema": schema_type}
        layout: type[Any] = msgspec.defstruct(
            "PackedEvent", _with_defaults(rest, types), bases=(leading,), array_like=True, frozen=True, gc=False
        )
        self.pack: Callable[..., bytes] = _compile_pack(first, rest)
        self.unpack: Callable[[bytes], Any] = msgspec.msgpack.Decoder(layout).decode
        self.restore: Callable[[Any, Any, SchemaRef | None], Event] = _compile_restore()


def _with_defaults(names: Sequence[str], types: dict[str, Any]) -> list[Any]:
    """Give the fields their defaults in `Event`.

    So arrays that an earlier version packed, without the newest fields, can be unpacked. A field that follows one with
    a default needs one as well.
    """
    declared: list[Any] = []
    defaulted = False
    for name in names:
        default = _event_fields[name].default
        defaulted = defaulted or default is not NODEFAULT
        declared.append(
            (name, types[name], None if default is NODEFAULT else default) if defaulted else (name, types[name])
        )
    return declared


def _compile_pack(leading: Sequence[str], names: Sequence[str]) -> Callable[..., bytes]:
    values = [name if name in ("trace_id", "schema") else f"event.{name}" for name in names]
    parameters = ", ".join((*leading, "trace_id", "schema", "event"))
    source = f"def pack_event({parameters}):\n    return encode(({', '.join((*leading, *values))},))\n"
    compiled: Callable[..., bytes] = _compile(source, "pack_event", {"encode": msgspec.msgpack.Encoder().encode})
    return compiled


def _compile_restore() -> Callable[[Any, Any, SchemaRef | None], Event]:
    special = {
        "position": "position",
        "schema": "schema",
        "trace_id": 'None if packed.trace_id is None else from_bytes(packed.trace_id, "big")',
    }
    values = ",\n        ".join(special.get(name, f"packed.{name}") for name in _event_fields)
    source = f"def restore_event(packed, position, schema):\n    return Event(\n        {values},\n    )\n"
    compiled: Callable[[Any, Any, SchemaRef | None], Event] = _compile(
        source, "restore_event", {"Event": Event, "from_bytes": int.from_bytes}
    )
    return compiled


def _compile(source: str, name: str, names: dict[str, Any]) -> Any:
    exec(compile(source, f"<generated from Event: {name}>", "exec"), names)
    return names[name]
