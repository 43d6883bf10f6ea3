"""MessagePack maps of texts whose bytes need not be UTF-8, as Go programs write them."""

from __future__ import annotations

from sidecar.domain.model import Headers

_SIZES = {0xD9: 1, 0xDA: 2, 0xDB: 4, 0xC4: 1, 0xC5: 2, 0xC6: 4}
"""Bytes of the length after the first byte of `str` and `bin`."""
_MAP_16, _MAP_32, _NIL = b"\xde"[0], b"\xdf"[0], b"\xc0"[0]


def unpack_texts(packed: bytes, max_texts: int) -> Headers | None:
    """Read a map of texts, in order; None if it is anything else, or has more than `max_texts` of them."""
    first = packed[0]
    if first & 0xF0 == 0x80:
        count, at = first & 0x0F, 1
    elif first in (_MAP_16, _MAP_32):
        at = 3 if first == _MAP_16 else 5
        count = int.from_bytes(packed[1:at], "big")
    else:
        return None
    if count > max_texts:
        return None
    texts: list[tuple[str, bytes | None]] = []
    for _ in range(count):
        name = _read_text(packed, at)
        value = None if name is None else _read_text(packed, name[1])
        if name is None or name[0] is None or value is None:
            return None
        texts.append((name[0].decode("utf-8", "surrogateescape"), value[0]))
        at = value[1]
    return tuple(texts) if at == len(packed) else None


def _read_text(packed: bytes, at: int) -> tuple[bytes | None, int] | None:
    """Return the text at a place and the place after it."""
    if at >= len(packed):
        return None
    first = packed[at]
    if first == _NIL:
        return None, at + 1
    if first & 0xE0 == 0xA0:
        start, length = at + 1, first & 0x1F
    elif first in _SIZES:
        start = at + 1 + _SIZES[first]
        length = int.from_bytes(packed[at + 1 : start], "big")
    else:
        return None
    end = start + length
    return (packed[start:end], end) if end <= len(packed) else None


def pack_texts(texts: Headers) -> bytes:
    """Write a map of texts."""
    count = len(texts)
    parts = [bytes([0x80 | count]) if count < 16 else bytes([_MAP_32]) + count.to_bytes(4, "big")]
    for name, value in texts:
        parts.append(_pack_text(name.encode("utf-8", "surrogateescape")))
        parts.append(bytes([_NIL]) if value is None else _pack_text(value))
    return b"".join(parts)


def _pack_text(text: bytes) -> bytes:
    length = len(text)
    if length < 32:
        return bytes([0xA0 | length]) + text
    return bytes([0xDB]) + length.to_bytes(4, "big") + text
