"""Decompression of record batches, in bounds: a broker takes a batch of a megabyte that inflates to gigabytes."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import cramjam

MAX_BATCH_BYTES = 64 << 20
"""Bytes that one batch may inflate to."""
_GZIP, _SNAPPY, _LZ4, _ZSTD = 1, 2, 3, 4
_XERIAL = b"\x82SNAPPY\x00"
"""Java's snappy framing: 16 bytes of header, then blocks, each after its 4-byte length."""


class DecompressionLimitExceeded(Exception):  # it says what the bytes are
    """These bytes are damaged, or inflate to more than `MOST`."""


def decompress(codec: int, data: bytes) -> bytes:
    """The bytes that were compressed with Kafka's codec number `codec`. Raises Bomb."""
    try:
        if codec == _GZIP:
            return _gzip(data)
        if codec == _SNAPPY:
            return _snappy(data)
        if codec == _LZ4:
            return _growing(cramjam.lz4.decompress_into, data)
        if codec == _ZSTD:
            return _growing(cramjam.zstd.decompress_into, data)
    except (zlib.error, cramjam.DecompressionError) as error:
        raise DecompressionLimitExceeded(str(error)) from error
    raise DecompressionLimitExceeded(f"there is no compression codec {codec}")


def _gzip(data: bytes) -> bytes:
    stream = zlib.decompressobj(wbits=31)
    out = stream.decompress(data, MAX_BATCH_BYTES)
    if stream.unconsumed_tail or not stream.eof:
        raise DecompressionLimitExceeded(_too_much("ends early or inflates"))
    return out


def _snappy(data: bytes) -> bytes:
    if not data.startswith(_XERIAL):
        return _snappy_block(data, MAX_BATCH_BYTES)
    out = bytearray()
    at = 16
    while at + 4 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        out += _snappy_block(data[at + 4 : at + 4 + length], MAX_BATCH_BYTES - len(out))
        at += 4 + length
    return bytes(out)


def _snappy_block(data: bytes, most: int) -> bytes:
    if cramjam.snappy.decompress_raw_len(data) > most:
        raise DecompressionLimitExceeded(_too_much("inflates"))
    return bytes(cramjam.snappy.decompress_raw(data))


def _growing(decompress_into: Callable[[bytes, bytearray], Any], data: bytes) -> bytes:
    """Neither format says how much will come out: try a usual ratio first, then more."""
    room = min(MAX_BATCH_BYTES, len(data) * 8 + 4096)
    while True:
        out = bytearray(room)
        try:
            return bytes(memoryview(out)[: int(decompress_into(data, out))])
        except cramjam.DecompressionError as error:
            # Damaged or more than the room: both have the same class, so only the bound ends the search.
            if room >= MAX_BATCH_BYTES:
                raise DecompressionLimitExceeded(_too_much("is damaged or inflates")) from error
            room = min(MAX_BATCH_BYTES, room * 8)


def _too_much(verb: str) -> str:
    return f"the batch {verb} to more than {MAX_BATCH_BYTES >> 20} MiB"
