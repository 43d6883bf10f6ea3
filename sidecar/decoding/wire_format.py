"""Wire formats of values: the names of the schema with which a value was written, and the start of its body.

The decoder looks for them in this order:

1. header `__value_schema_id`: 0x00 and a 4-byte id, or 0x01 and a 16-byte GUID (Confluent's header serializer) 2.
headers `apicurio.value.globalId` and `apicurio.value.contentId`: 8 bytes (Apicurio's headers mode) 3. value prefix 0x00
and a 4-byte id (Confluent), all big-endian 4. value prefix 0x00 and an 8-byte id (Apicurio's older default) 5. value
prefix 0xC3 0x01 and the 8-byte little-endian CRC-64-AVRO of the schema (Avro 1.11, single-object encoding) 6. none:
JSON if it begins like JSON, else opaque bytes

An 8-byte id and a 4-byte id have the same prefix. Registries number ids from 1 upward, so an 8-byte id below 2^32 looks
like the 4-byte id 0, which no registry uses; that, and nothing else, is read as 8 bytes. An 8-byte id of 2^32 or more
would be read as a 4-byte one: no registry has come that far. The names of 3 to 5 are a guess: a number, a double or
bare Avro can begin with the same bytes. Such a frame is marked `guessed`, and its reader must find a confirmation: a
subject of the stream, or an id that is registered.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Literal
from uuid import UUID

from msgspec import Struct

from sidecar.domain.model import Rejection

VALUE_SCHEMA_ID = "__value_schema_id"
APICURIO_GLOBAL_ID = "apicurio.value.globalid"
APICURIO_CONTENT_ID = "apicurio.value.contentid"
APICURIO_ENCODING = "apicurio.value.encoding"

HEADERS = frozenset((VALUE_SCHEMA_ID, APICURIO_GLOBAL_ID, APICURIO_CONTENT_ID, APICURIO_ENCODING))
"""Headers that concern the value's schema or encoding, in lower case."""

BOM = b"\xef\xbb\xbf"
_JSON_STARTS = frozenset(b"{[")
_WHITESPACE = b" \t\r\n"


class WireForm(Enum):
    """Encoding of the bytes from `WireFrame.start` on, as far as the frame tells."""

    SCHEMA = auto()
    """The named schema's encoding: binary Avro, for an Avro schema."""
    JSON = auto()
    OPAQUE = auto()
    """Unknown encoding."""


IdKind = Literal["id", "guid", "global_id", "content_id", "fingerprint"]


class SchemaId(Struct, frozen=True, gc=False):
    """One of the names of a schema."""

    kind: IdKind
    value: int | str

    def __str__(self) -> str:
        shown = f"{self.value:016x}" if self.kind == "fingerprint" else self.value
        return f"{self.kind.replace('_', ' ')} {shown}"


class WireFrame(Struct, frozen=True, gc=False):
    """The names of a value's schema, and the start of its body."""

    form: WireForm
    start: int = 0
    ids: tuple[SchemaId, ...] = ()
    """Names of the schema; empty if the value has none. Of several, the first that the registry knows counts."""
    guessed: bool = False
    """True if the names were read from bytes of the value that may mean something else."""


def frame(value: bytes, headers: Mapping[str, bytes]) -> WireFrame | Rejection:
    """Read the frame of a value.

    `headers` are those in `HEADERS`, by lower-case name, without null ones. A schema header that cannot be read is a
    rejection: the sender declares a schema, and it is unknown which.
    """
    if headers:
        named = _header_ids(headers)
        if isinstance(named, Rejection):
            return named
        if named:
            is_json = headers.get(APICURIO_ENCODING, b"").strip().upper() == b"JSON"
            return WireFrame(WireForm.JSON if is_json else WireForm.SCHEMA, 0, named)
    return bare_frame(value)


def bare_frame(value: bytes) -> WireFrame:
    """Read the frame of a value from its own bytes alone."""
    first = value[:1]
    if first == b"\x00" and len(value) >= 5:
        id = int.from_bytes(value[1:5], "big")
        if id == 0 and len(value) >= 9:
            long_id = int.from_bytes(value[1:9], "big")
            ids = (SchemaId("global_id", long_id), SchemaId("content_id", long_id))
            return WireFrame(WireForm.SCHEMA, 9, ids, guessed=True)
        return WireFrame(WireForm.SCHEMA, 5, (SchemaId("id", id),), guessed=True)
    if first == b"\xc3" and value[1:2] == b"\x01" and len(value) >= 10:
        fingerprint = SchemaId("fingerprint", int.from_bytes(value[2:10], "little"))
        return WireFrame(WireForm.SCHEMA, 10, (fingerprint,), guessed=True)
    start = json_start(value)
    return WireFrame(WireForm.JSON, start) if start is not None else WireFrame(WireForm.OPAQUE)


def json_start(value: bytes, start: int = 0) -> int | None:
    """Find the start of an object or array after a byte-order mark and white space, in the first 64 bytes.

    Returns None if there is none.
    """
    head = value[start : start + 64]
    rest = head.removeprefix(BOM).lstrip(_WHITESPACE)
    return start + len(head) - len(rest) if rest and rest[0] in _JSON_STARTS else None


def _header_ids(headers: Mapping[str, bytes]) -> tuple[SchemaId, ...] | Rejection:
    stated = headers.get(VALUE_SCHEMA_ID)
    if stated is not None:
        if len(stated) == 5 and stated[0] == 0:
            return (SchemaId("id", int.from_bytes(stated[1:], "big")),)
        if len(stated) == 17 and stated[0] == 1:
            return (SchemaId("guid", str(UUID(bytes=stated[1:]))),)
        return _reject_header(VALUE_SCHEMA_ID, "0x00 and a 4-byte id, or 0x01 and a 16-byte GUID", stated)
    ids: list[SchemaId] = []
    kinds: tuple[tuple[str, IdKind], ...] = ((APICURIO_GLOBAL_ID, "global_id"), (APICURIO_CONTENT_ID, "content_id"))
    for name, kind in kinds:
        stated = headers.get(name)
        if stated is None:
            continue
        if len(stated) not in (4, 8):
            return _reject_header(name, "an id of 8 bytes", stated)
        ids.append(SchemaId(kind, int.from_bytes(stated, "big")))
    return tuple(ids)


def _reject_header(name: str, expected: str, value: bytes) -> Rejection:
    shown = f"0x{value[:20].hex()}{'…' if len(value) > 20 else ''}" if value else "nothing"
    return Rejection(
        "decode.malformed", f"header {name}: expected {expected}, found {shown} ({len(value)} bytes)", f"header:{name}"
    )
