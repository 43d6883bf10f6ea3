"""Conversion of record keys to text that a person can read and search for.

Most keys are text. Integer serializers write 4 or 8 bytes, UUID serializers 16; other binary keys are hashes or
structures. The bytes of one key rarely reveal its kind, so the other keys of the stream decide: a stream with text keys
has no number among them, and a stream with 4-byte numbers does not have the text `ABCD`.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from sidecar.decoding.wire_format import json_start

MAX_KEY_CHARACTERS = 512
"""Characters of a key to keep as text."""
NUMBER_WIDTHS = frozenset((4, 8))
UUID_BYTES = 16
AMBIGUOUS_WIDTHS = NUMBER_WIDTHS | {UUID_BYTES}
"""Lengths of keys that can be a number or a UUID even if their bytes are text."""
JSON_KEY_STARTS = frozenset('{"')
MAX_JSON_KEY_BYTES = 65_536
_MAX_STREAMS = 10_000
_MAX_COUNT = 1 << 20
"""Keys of a stream after which its keys are written in the same way for good."""
_MAX_COUNTED_BYTES = 64
_WHITESPACE = frozenset("\t\n\r")


class _KeyCounts(Struct):
    """Numbers of keys seen on one stream, by their kind."""

    text: int = 0
    by_width: dict[int, int] = {}
    """Binary keys, by their length in bytes."""
    uuids: int = 0
    """Those of 16 bytes with the version and variant of a UUID."""
    total: int = 0
    native: frozenset[int] = frozenset()
    """Lengths at which a binary key is a number or a UUID, else it is hex."""
    prevalent: frozenset[int] = frozenset()
    """Lengths at which bytes that could be text are a number or a UUID too."""

    def add(self, key: bytes, is_text: bool) -> None:
        """Count a key. Decide at powers of two only, so that the keys of a stream do not change back and forth."""
        if is_text:
            self.text += 1
        else:
            width = min(len(key), _MAX_COUNTED_BYTES)
            self.by_width[width] = self.by_width.get(width, 0) + 1
            if width == UUID_BYTES and _is_uuid(key):
                self.uuids += 1
        self.total += 1
        if self.total & (self.total - 1) == 0 and self.total <= _MAX_COUNT:
            self._decide()

    def _decide(self) -> None:
        binary = sum(self.by_width.values())
        agreeing = {
            width
            for width, count in self.by_width.items()
            if width in AMBIGUOUS_WIDTHS and count >= self.text and 2 * count >= binary
        }
        if 2 * self.uuids <= self.by_width.get(UUID_BYTES, 0):
            agreeing.discard(UUID_BYTES)
        self.native = frozenset(agreeing)
        self.prevalent = frozenset(width for width in agreeing if self.by_width[width] > self.text)


class KeyReader:
    """Converts keys to text, consistently within each stream. It counts the kinds of keys that it has seen."""

    def __init__(self) -> None:
        self._streams: dict[str, _KeyCounts] = {}

    def text(self, stream: str, key: bytes | None, framed: bool = False) -> str | None:
        r"""Return a key as text.

        UTF-8 stays as it is. A binary key is shown as a number (4 or 8 bytes, big-endian), a UUID or hex, as the
        stream's other keys suggest. Bytes that are mostly text are escaped as `\xNN`. Text of more than 512 characters
        is cut.

        If the key starts with a schema id (or is `framed`: it has a header `__key_schema_id`), the Avro string, Avro
        number or JSON inside is returned. Its bytes alone decide which it is, because keys have no subject to check
        against.
        """
        if key is None:
            return None
        counts, width = self._counts(stream), len(key)
        if framed or (key[:1] == b"\0" and width > 5 and not counts.by_width.get(width)):
            has_id = key[:1] == b"\0" and width > 5
            inner = _unframe(key) if has_id else _read_written(key)
            if inner is not None:
                counts.add(key, is_text=True)
                return _cut(inner)
        text = _readable(key)
        if text is not None and width not in counts.prevalent:
            counts.add(key, is_text=True)
            return _cut(text)
        if text is None:
            counts.add(key, is_text=False)
        if width not in counts.native:
            return _cut(key[:MAX_KEY_CHARACTERS].hex())
        return str(UUID(bytes=key)) if width == UUID_BYTES else str(int.from_bytes(key, "big", signed=True))

    def _counts(self, stream: str) -> _KeyCounts:
        counts = self._streams.get(stream)
        if counts is None:
            if len(self._streams) >= _MAX_STREAMS:
                self._streams.clear()
            counts = self._streams[stream] = _KeyCounts(by_width={})
        return counts


def key_identity(key: bytes | None, text: str | None) -> str | None:
    """Return the id inside of a key that is JSON, as Kafka Connect and JSON serializers write ids.

    A quoted string gives its content, `{"id": 5}` its single value, and `{"schema": …, "payload": …}` the id in its
    payload. Returns None for a key of another kind that is too long for an id.

    Args:
        key: The key's bytes.
        text: The key as text, which is returned if there is no id inside.
    """
    if text and text[0] in JSON_KEY_STARTS and key is not None and len(key) <= MAX_JSON_KEY_BYTES:
        try:
            value = msgspec.json.decode(key)
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError):
            value = None
        inner = _scalar(value)
        if inner:
            return inner if len(inner) < MAX_KEY_CHARACTERS else None
    return text if text and len(text) < MAX_KEY_CHARACTERS else None


def _scalar(value: Any) -> str | None:
    wrapped = value.__class__ is dict and value.keys() == {"schema", "payload"}
    if wrapped:
        value = value["payload"]
    if value.__class__ is dict:
        if len(value) != 1:
            return msgspec.json.encode(value).decode() if wrapped else None
        (value,) = value.values()
    if value.__class__ is str:
        return str(value)
    return str(value) if value.__class__ is int else repr(value) if value.__class__ is float else None


def _readable(key: bytes) -> str | None:
    """Decode text; None where the bytes are binary: control characters, or too few printable ones."""
    if len(key) > MAX_KEY_CHARACTERS * 4:
        key = key[: MAX_KEY_CHARACTERS * 4]
        text = key.decode("utf-8", "backslashreplace")
        return None if _has_controls(text) else text
    try:
        text = key.decode()
    except UnicodeDecodeError:
        printable = sum(32 <= byte < 127 for byte in key)
        text = key.decode("utf-8", "backslashreplace")
        return text if 4 * printable >= 3 * len(key) and not _has_controls(text) else None
    return None if not text.isprintable() and _has_controls(text) else text


def _has_controls(text: str) -> bool:
    return any(character < " " and character not in _WHITESPACE for character in text)


def _is_uuid(key: bytes) -> bool:
    """Return True if 16 bytes have the version and the variant of RFC 9562."""
    return 1 <= key[6] >> 4 <= 8 and key[8] >> 6 == 2


def _unframe(key: bytes) -> str | None:
    """Read what comes after a 4-byte schema id; after an 8-byte one where the 4 bytes are 0, as for values."""
    start = 9 if key[1:5] == b"\0\0\0\0" else 5
    return _read_written(key[start:])


def _read_written(data: bytes) -> str | None:
    """Read what an Avro or JSON serializer wrote, as far as the bytes tell."""
    try:
        number, after = _zigzag(data)
        if 0 < number == len(data) - after:
            return data[after:].decode()
        if json_start(data) is not None or data[:1] == b'"':
            return data.decode().strip().strip('"')
        return str(number) if after == len(data) else None
    except ValueError:
        return None


def _zigzag(data: bytes) -> tuple[int, int]:
    """Read the Avro long at the start; return it and the index behind it. Raises ValueError where there is none."""
    number = 0
    for at, byte in enumerate(data[:10]):
        number |= (byte & 0x7F) << (7 * at)
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at + 1
    raise ValueError(f"expected an Avro long, found {data[:10].hex() or 'no bytes'}")


def _cut(text: str) -> str:
    return text if len(text) <= MAX_KEY_CHARACTERS else text[: MAX_KEY_CHARACTERS - 1] + "…"
