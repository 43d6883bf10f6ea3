r"""Messages that a framework wraps into the fields of a Redis entry, with headers and body inside one field.

FastStream writes one field, `__data__`: since 0.6 bytes in its own format (`\x89BIN…`, a version, offsets, the headers,
the body), before that JSON `{"data": …, "headers": {…}}`. Watermill writes `_watermill_message_uuid`, `payload`, and
`metadata` as a MessagePack map. `unwrap_message` returns the record as if headers and body had been written as plain
fields. The record in the broker, and its copies by replays, stay unchanged.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from sidecar.decoding.envelope.packed_texts import pack_texts, unpack_texts
from sidecar.domain.broker_traits import traits_of
from sidecar.domain.json_limits import has_too_many_values
from sidecar.domain.json_safe import encode_json, read_lenient_json
from sidecar.domain.model import Headers, Record
from sidecar.domain.transport_fields import (
    FASTSTREAM_FIELD,
    WATERMILL_BODY_FIELD,
    WATERMILL_ID_FIELD,
    WATERMILL_METADATA_FIELD,
)

TRANSPORT_FIELDS = frozenset((FASTSTREAM_FIELD, WATERMILL_ID_FIELD))
"""Field names that mark a wrapped message."""
_BINARY_MAGIC = b"\x89BIN\r\n\x1a\n"
_BINARY_FORMAT_VERSION = 1
_BINARY_HEAD_BYTES = len(_BINARY_MAGIC) + 2 + 4 + 4
MAX_WRAPPED_HEADERS = 1_000
_msgpack_decoder = msgspec.msgpack.Decoder(dict[str, Any])


class UnwrappedMessage(Struct, frozen=True):
    """A message from the fields of a Redis entry."""

    record: Record
    """The entry as if the message's headers were its fields, and the message's body its body field."""
    implied: dict[str, Any]
    """Fields of the event under the framework's own names, used if neither headers nor body have them."""


def unwrap_message(record: Record) -> UnwrappedMessage | None:
    """Return the message that a framework wrapped; None if nothing is wrapped, or its form is unknown."""
    fields = dict(record.headers)
    if not traits_of(record.position.system).bodyless_entries:
        return _with_implied(record) if WATERMILL_ID_FIELD in fields else None
    if FASTSTREAM_FIELD in fields and record.value is None:
        wrapped = fields[FASTSTREAM_FIELD] or b""
        message = _unwrap_binary(wrapped) if wrapped.startswith(_BINARY_MAGIC) else _unwrap_json(wrapped)
        if message is None:
            return None
        others = tuple([header for header in record.headers if header[0] != FASTSTREAM_FIELD])
        return _with_implied(replace(record, headers=others + message[0], value=message[1], value_at=0))
    metadata = read_watermill_metadata(record)
    if metadata is None:
        return None
    value = record.value if record.value is not None else fields.get(WATERMILL_BODY_FIELD)
    own = (WATERMILL_ID_FIELD, WATERMILL_METADATA_FIELD, WATERMILL_BODY_FIELD)
    others = tuple([header for header in record.headers if header[0] not in own])
    identity = ((WATERMILL_ID_FIELD, fields[WATERMILL_ID_FIELD]),)
    return _with_implied(replace(record, headers=others + identity + metadata, value=value, value_at=0))


def find_binary_body(wrapped: bytes) -> int | None:
    """Return the place of the body in FastStream's binary format; None for any other bytes."""
    if not wrapped.startswith(_BINARY_MAGIC) or _unwrap_binary(wrapped) is None:
        return None
    return int.from_bytes(wrapped[_BINARY_HEAD_BYTES - 4 : _BINARY_HEAD_BYTES], "big")


def _with_implied(record: Record) -> UnwrappedMessage:
    """Add the fields under the frameworks' own header names; `name` is that of Watermill's CQRS component."""
    headers = dict(record.headers)
    implied = {"correlation_id": headers.get("correlation_id"), "event_id": headers.get(WATERMILL_ID_FIELD)}
    if implied["event_id"] is not None:
        implied["type"] = headers.get("name")
    return UnwrappedMessage(record, {field: value for field, value in implied.items() if value is not None})


def read_watermill_metadata(record: Record) -> Headers | None:
    """Read the metadata of a Watermill message on Redis as headers; None if the record is no such message."""
    fields = dict(record.headers)
    if WATERMILL_ID_FIELD not in fields or not traits_of(record.position.system).bodyless_entries:
        return None
    packed = fields.get(WATERMILL_METADATA_FIELD)
    if not packed:
        return ()
    texts = unpack_texts(packed, MAX_WRAPPED_HEADERS)
    if texts is not None:
        return texts
    try:
        metadata = _msgpack_decoder.decode(packed)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if len(metadata) > MAX_WRAPPED_HEADERS:
        return None
    return tuple([(name, _to_bytes(value)) for name, value in metadata.items()])


def replace_watermill_metadata(fields: Headers, metadata: Headers) -> Headers:
    """Return an entry's fields with other metadata."""
    packed = pack_texts(metadata)
    return tuple([(name, packed if name == WATERMILL_METADATA_FIELD else value) for name, value in fields])


def _to_bytes(value: Any) -> bytes | None:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, bytes) or value is None:
        return value
    return encode_json(value) if isinstance(value, int | float | bool) else None


def _unwrap_binary(wrapped: bytes) -> tuple[Headers, bytes] | None:
    """Read FastStream's binary format.

    Magic, version (2 bytes), offset of the headers (4), offset of the body (4), number of headers (2), then each name
    and each value after its length (2); all big-endian.
    """
    if len(wrapped) < _BINARY_HEAD_BYTES:
        return None
    head = wrapped[len(_BINARY_MAGIC) : _BINARY_HEAD_BYTES]
    version = int.from_bytes(head[:2], "big")
    headers_at, body_at = int.from_bytes(head[2:6], "big"), int.from_bytes(head[6:10], "big")
    if version != _BINARY_FORMAT_VERSION or not _BINARY_HEAD_BYTES <= headers_at <= body_at <= len(wrapped):
        return None
    count = int.from_bytes(wrapped[headers_at : headers_at + 2], "big")
    if count > MAX_WRAPPED_HEADERS:
        return None
    parts: list[bytes] = []
    at = headers_at + 2
    for _ in range(2 * count):
        size = int.from_bytes(wrapped[at : at + 2], "big")
        at += 2
        if at + size > body_at:
            return None
        parts.append(wrapped[at : at + size])
        at += size
    names = [name.decode("utf-8", "backslashreplace") for name in parts[::2]]
    return tuple(zip(names, parts[1::2], strict=True)), wrapped[body_at:]


def _unwrap_json(wrapped: bytes) -> tuple[Headers, bytes] | None:
    """Read the format of FastStream before 0.6: JSON with the body as text in `data`, the headers in `headers`."""
    if has_too_many_values(wrapped):
        return None
    try:
        message = read_lenient_json(wrapped)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError):
        return None
    if message.__class__ is not dict or "data" not in message:
        return None
    headers = message.get("headers") or {}
    if headers.__class__ is not dict or len(headers) > MAX_WRAPPED_HEADERS:
        return None
    data = message["data"]
    body = data.encode("utf-8", "surrogatepass") if data.__class__ is str else encode_json(data)
    return tuple([(name, _to_bytes(value)) for name, value in headers.items()]), body
