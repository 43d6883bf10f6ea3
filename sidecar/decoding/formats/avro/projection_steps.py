"""Steps of generated projections that are too rare, or too long, to be written out wherever they are needed."""

from __future__ import annotations

from struct import Struct
from typing import Any

MAX_SHORT_BYTES = 0x80
"""First bytes below are whole numbers."""
MAX_SHORT_NUMBERS = 64
"""Numbers that are not negative and take one byte."""
MAX_NUMBER_BYTES = 9
"""Longer numbers are left to the full decoder, as they may be out of range."""


class Unusual(ValueError):
    """Raised for what the full decoder must decide."""


def read_number(data: bytes, at: int) -> tuple[int, int]:
    """Read a zig-zag number, and the index after it."""
    byte = data[at]
    number, shift, last = byte & 0x7F, 7, at + MAX_NUMBER_BYTES
    at += 1
    while byte >= MAX_SHORT_BYTES:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        shift += 7
        at += 1
    if at > last:
        raise Unusual
    return (number >> 1) ^ -(number & 1), at


def skip_number(data: bytes, at: int) -> int:
    """Return the index after a number."""
    last = at + MAX_NUMBER_BYTES
    while data[at] >= MAX_SHORT_BYTES:
        at += 1
    if at >= last:
        raise Unusual
    return at + 1


def read_text(data: bytes, at: int) -> tuple[str, int]:
    """Read a text, and the index after it."""
    length, at = read_number(data, at)
    end = at + length
    if not at <= end <= len(data):
        raise Unusual
    return data[at:end].decode(), end


def skip_text(data: bytes, at: int) -> int:
    """Verify a text, and return the index after it."""
    return read_text(data, at)[1]


def skip_bytes(data: bytes, at: int, most: int) -> int:
    """Return the length in the payload of bytes of which there may be `most`."""
    length, begin = read_number(data, at)
    if not 0 <= length <= most:
        raise Unusual
    return begin + length - at


def read_count(data: bytes, at: int, least: int) -> tuple[int, int]:
    """Read the count of a block whose items take at least so many bytes each, and the index of the first of them."""
    count, at = read_number(data, at)
    if count < 0:  # the size of the block follows
        count, at = -count, read_number(data, at)[1]
    if not 0 < count * least <= len(data) - at:
        raise Unusual
    return count, at


NAMES: dict[str, Any] = {
    "STEPS": [(length >> 1) + 1 if length < MAX_SHORT_BYTES and not length & 1 else 0 for length in range(256)],
    "NUMBERS": [(number >> 1) ^ -(number & 1) for number in range(MAX_SHORT_BYTES)],
    "read_float": Struct("<f").unpack_from,
    "read_double": Struct("<d").unpack_from,
    "read_6_bytes": Struct("6B").unpack_from,
    "read_8_bytes": Struct("8B").unpack_from,
    **{step.__name__: step for step in (read_number, skip_number, read_text, skip_text, skip_bytes, read_count)},
}
"""Names in all generated code. STEPS: the length of a text, or of bytes, with its length before it, by its first byte,
and 0 where that is not all of the length. NUMBERS: the number by its only byte."""
