r"""Messages that a framework wraps into the fields of a Redis entry: headers and body are inside of a field.

FastStream writes one field, `__data__`: since 0.6 bytes in a format of its own (`\x89BIN…`, a version, offsets, the
headers, the body), before that JSON `{"data": …, "headers": {…}}`. Watermill writes `_watermill_message_uuid`,
`payload`, and `metadata` as a MessagePack map. `unwrap_message` gives the record as if headers and body had been
written plainly. The record in the broker, and what is shown and replayed of it, stays as it is.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from sidecar.domain.broker_traits import traits_of
from sidecar.domain.model import Headers, Record

FASTSTREAM_FIELD = "__data__"
WATERMILL_ID_FIELD = "_watermill_message_uuid"
_WATERMILL_METADATA_FIELD = "metadata"
_WATERMILL_BODY_FIELD = "payload"
TRANSPORT_FIELDS = frozenset((FASTSTREAM_FIELD, WATERMILL_ID_FIELD))
"""Field names that mark a wrapped message, in lower case."""
EVENT_ID_HEADER = "event-id"
_BINARY_MAGIC = b"\x89BIN\r\n\x1a\n"
_BINARY_VERSION = 1
_BINARY_HEAD_BYTES = len(_BINARY_MAGIC) + 2 + 4 + 4
MAX_WRAPPED_HEADERS = 1_000
_msgpack_decoder = msgspec.msgpack.Decoder(dict[str, Any])
_msgpack_encoder = msgspec.msgpack.Encoder()
_json_decoder = msgspec.json.Decoder()


def unwrap_message(record: Record) -> Record | None:
    """Return the record with the headers and the body that a framework wrapped; None where nothing is wrapped."""
    if not traits_of(record.position.system).bodyless_entries:
        return None
    fields = dict(record.headers)
    if FASTSTREAM_FIELD in fields and record.value is None:
        wrapped = fields[FASTSTREAM_FIELD] or b""
        unwrapped = _unwrap_binary(wrapped) if wrapped.startswith(_BINARY_MAGIC) else _unwrap_json(wrapped)
        if unwrapped is None:
            return None
        others = tuple([header for header in record.headers if header[0] != FASTSTREAM_FIELD])
        return replace(record, headers=others + unwrapped[0], value=unwrapped[1], value_at=0)
    metadata = read_watermill_metadata(record)
    if metadata is None:
        return None
    value = record.value if record.value is not None else fields.get(_WATERMILL_BODY_FIELD)
    hidden = (WATERMILL_ID_FIELD, _WATERMILL_METADATA_FIELD, _WATERMILL_BODY_FIELD)
    others = tuple([header for header in record.headers if header[0] not in hidden])
    identity = ((EVENT_ID_HEADER, fields[WATERMILL_ID_FIELD]),)
    aliases = tuple([(_METADATA_ALIASES[name], text) for name, text in metadata if name in _METADATA_ALIASES])
    return replace(record, headers=others + identity + metadata + aliases, value=value, value_at=0)


_METADATA_ALIASES = {"correlation_id": "correlation-id", "name": "event-type"}
"""Names of Watermill's own: its correlation middleware and its CQRS component's event name."""


def read_watermill_metadata(record: Record) -> Headers | None:
    """Read the metadata of a Watermill message on Redis as headers; None where the record is no such message."""
    fields = dict(record.headers)
    if not traits_of(record.position.system).bodyless_entries or WATERMILL_ID_FIELD not in fields:
        return None
    packed = fields.get(_WATERMILL_METADATA_FIELD)
    if not packed:
        return ()
    try:
        metadata = _msgpack_decoder.decode(packed)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if len(metadata) > MAX_WRAPPED_HEADERS:
        return None
    return tuple([(name, _to_bytes(value)) for name, value in metadata.items()])


def replace_watermill_metadata(fields: Headers, metadata: Headers) -> Headers:
    """Return an entry's fields with other metadata."""
    packed = _msgpack_encoder.encode({name: (value or b"").decode("utf-8", "replace") for name, value in metadata})
    return tuple([(name, packed if name == _WATERMILL_METADATA_FIELD else value) for name, value in fields])


def _to_bytes(value: Any) -> bytes | None:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, bytes) or value is None:
        return value
    return msgspec.json.encode(value) if isinstance(value, int | float | bool) else None


def _unwrap_binary(wrapped: bytes) -> tuple[Headers, bytes] | None:
    """Read FastStream's binary format.

    Magic, version (2 bytes), offset of the headers (4), offset of the body (4), number of headers (2), then each name
    and each value after its length (2); all big-endian.
    """
    if len(wrapped) < _BINARY_HEAD_BYTES:
        return None
    head = memoryview(wrapped)[len(_BINARY_MAGIC) :]
    version = int.from_bytes(head[:2], "big")
    headers_at, body_at = int.from_bytes(head[2:6], "big"), int.from_bytes(head[6:10], "big")
    if version != _BINARY_VERSION or not _BINARY_HEAD_BYTES <= headers_at <= body_at <= len(wrapped):
        return None
    at = headers_at
    count = int.from_bytes(wrapped[at : at + 2], "big")
    at += 2
    headers: list[tuple[str, bytes | None]] = []
    parts: list[bytes] = []
    if count > MAX_WRAPPED_HEADERS:
        return None
    for _ in range(2 * count):
        size = int.from_bytes(wrapped[at : at + 2], "big")
        at += 2
        if at + size > body_at:
            return None
        parts.append(wrapped[at : at + size])
        at += size
    for name, value in zip(parts[::2], parts[1::2], strict=True):
        headers.append((name.decode("utf-8", "backslashreplace"), value))
    return _with_aliases(headers), wrapped[body_at:]


def _unwrap_json(wrapped: bytes) -> tuple[Headers, bytes] | None:
    """Read the format of FastStream before 0.6: JSON with the body as text in `data`, the headers in `headers`."""
    try:
        message = _json_decoder.decode(wrapped)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    if message.__class__ is not dict or message.get("data").__class__ is not str:
        return None
    headers = message.get("headers")
    if headers.__class__ is not dict:
        headers = {}
    if len(headers) > MAX_WRAPPED_HEADERS:
        return None
    named = [(name, _to_bytes(value)) for name, value in headers.items() if name.__class__ is str]
    return _with_aliases(named), message["data"].encode("utf-8", "surrogatepass")


def _with_aliases(headers: list[tuple[str, bytes | None]]) -> Headers:
    """FastStream's `correlation_id` and `message_id` under names that the envelope looks for."""
    aliases = [("correlation-id", value) for name, value in headers if name == "correlation_id"]
    return tuple(headers + aliases)
