"""Writes the part of the Protocol Buffers wire format that spans and log records need.

The SDK's own encoder takes 26 microseconds for a span of eight attributes, the generated message classes take 5,
joining prepared bytes takes 2. Tests decode the output with the generated classes and compare.
"""

from __future__ import annotations

from collections.abc import Iterable

MAX_VALUE_BYTES = 1_024
"""Longest attribute value; longer ones are cut."""
HEADER_COUNT = MAX_VALUE_BYTES + 1


def _slow_varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


SMALL = [_slow_varint(number) for number in range(1 << 14)]
_LOW = [bytes((number & 0x7F | 0x80, number >> 7 | 0x80)) for number in range(1 << 14)]
"""First two bytes of numbers of three bytes and more."""


def varint(number: int) -> bytes:
    """Encode an unsigned number, 7 bits a byte, lowest first."""
    if number < 1 << 14:
        return SMALL[number]
    if number < 1 << 28:
        return _LOW[number & 0x3FFF] + SMALL[number >> 14]
    if number < 1 << 42:
        return _LOW[number & 0x3FFF] + _LOW[number >> 14 & 0x3FFF] + SMALL[number >> 28]
    return _slow_varint(number)


def tag(field: int, kind: int) -> bytes:
    """Encode a field number and a wire type."""
    return varint(field << 3 | kind)


def write_field(field: int, data: bytes) -> bytes:
    """Encode a field of bytes, text or a message."""
    return tag(field, 2) + varint(len(data)) + data


def utf8(text: str) -> bytes:
    """Encode text as UTF-8, with lone surrogates escaped, cut to `MAX_VALUE_BYTES`."""
    data = text.encode("utf-8", "backslashreplace")
    return data if len(data) <= MAX_VALUE_BYTES else data[:MAX_VALUE_BYTES].decode("utf-8", "ignore").encode()


def build_text_headers(name: str, field: int) -> list[bytes]:
    """Build the bytes that precede a text value in a `KeyValue` of this name in a field, by the text's length."""
    return [_build_header(name, field, b"\x0a" + varint(length), length) for length in range(HEADER_COUNT)]


def build_int_headers(name: str, field: int) -> list[bytes]:
    """Build the bytes that precede a number, by the length of its varint."""
    return [_build_header(name, field, b"\x18", length) for length in range(11)]


def _build_header(name: str, field: int, kind: bytes, length: int) -> bytes:
    key = write_field(1, name.encode())
    value = tag(2, 2) + varint(len(kind) + length) + kind
    return tag(field, 2) + varint(len(key) + len(value) + length) + key + value


def write_attribute(name: str, value: str | int | bool, field: int) -> bytes:
    """Encode a `KeyValue` as a field, where speed does not matter."""
    if value is True or value is False:
        encoded = b"\x10" + (b"\x01" if value else b"\x00")
    elif isinstance(value, int):
        encoded = b"\x18" + varint(value & 0xFFFF_FFFF_FFFF_FFFF)
    else:
        encoded = write_field(1, utf8(value))
    return write_field(field, write_field(1, name.encode()) + write_field(2, encoded))


def write_attributes(pairs: Iterable[tuple[str, str | int | bool]], field: int) -> bytes:
    """Encode attributes as repeated fields."""
    return b"".join([write_attribute(name, value, field) for name, value in pairs])
