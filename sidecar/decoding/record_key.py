"""A record's key as text that a person can read and search for."""

from __future__ import annotations

from sidecar.decoding.wire_format import json_start

MAX_KEY_CHARACTERS = 512
"""Characters of a key that are kept as text."""


def key_text(key: bytes | None, framed: bool = False) -> str | None:
    """The key as text: UTF-8 as it is, other bytes escaped as `\\xNN`, more than 512 characters cut with an ellipsis.

    A key framed by a schema serialiser (0x00 and an id, or `framed` by a `__key_schema_id` header) gives the text, the
    number or the JSON inside where it is an Avro string, an Avro int or long, or JSON: the schemas that keys have in
    practice. That is told from the bytes alone, for a key's schema is nobody's contract here."""
    if key is None:
        return None
    if framed or key[:1] == b"\0":
        inner = _unframed(key) if key[:1] == b"\0" and len(key) > 5 else _written(key) if framed else None
        if inner is not None:
            return _cut(inner)
    if len(key) <= MAX_KEY_CHARACTERS:
        return key.decode("utf-8", "backslashreplace")
    return _cut(key[: MAX_KEY_CHARACTERS * 4].decode("utf-8", "backslashreplace"))


def _unframed(key: bytes) -> str | None:
    """Behind a 4-byte id; behind an 8-byte one where the 4 bytes say 0, as for values."""
    start = 9 if key[1:5] == b"\0\0\0\0" and len(key) > 9 else 5
    return _written(key[start:])


def _written(data: bytes) -> str | None:
    """What an Avro or JSON serialiser wrote, where the bytes tell."""
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
    """The Avro long at the start, and where it ends. Raises ValueError where there is none."""
    number = 0
    for at, byte in enumerate(data[:10]):
        number |= (byte & 0x7F) << (7 * at)
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at + 1
    raise ValueError("no Avro long")


def _cut(text: str) -> str:
    return text if len(text) <= MAX_KEY_CHARACTERS else text[: MAX_KEY_CHARACTERS - 1] + "…"
