"""Codecs of the blocks of Avro object container files (Avro 1.12 specification, "Required Codecs")."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import NamedTuple

import cramjam

_FIRST_BUFFER_BYTES = 64 << 10
_BUFFER_PER_BYTE = 8
_CRC_BYTES = 4


class ContainerFault(ValueError):
    """The bytes are no container file that can be read."""


class ContainerCodec(NamedTuple):
    """A way to compress the blocks of a file."""

    inflate: Callable[[bytes, int], bytes]
    """Takes a block and the most bytes that it may inflate to. Raises ContainerFault."""
    compress: Callable[[bytes], bytes]


def _inflate_nothing(block: bytes, limit: int) -> bytes:
    return block


def _inflate_deflate(block: bytes, limit: int) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(block, limit)
    except zlib.error as error:
        raise ContainerFault(str(error)) from None
    if inflater.unconsumed_tail:
        raise ContainerFault("a block inflates to too much")
    return inflated


def _inflate_snappy(block: bytes, limit: int) -> bytes:
    raw = block[:-_CRC_BYTES]  # a CRC-32 of the inflated bytes follows
    try:
        if cramjam.snappy.decompress_raw_len(raw) > limit:
            raise ContainerFault("a block inflates to too much")
        return bytes(cramjam.snappy.decompress_raw(raw))
    except cramjam.DecompressionError as error:
        raise ContainerFault(str(error)) from None


def _inflate_zstandard(block: bytes, limit: int) -> bytes:
    size = min(limit, max(_FIRST_BUFFER_BYTES, _BUFFER_PER_BYTE * len(block)))
    while True:
        buffer = bytearray(size)
        try:
            return bytes(buffer[: cramjam.zstd.decompress_into(block, buffer)])
        except cramjam.DecompressionError as error:
            if size >= limit:
                raise ContainerFault(str(error)) from None
            size = min(limit, 4 * size)


def _compress_nothing(data: bytes) -> bytes:
    return data


def _compress_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


def _compress_snappy(data: bytes) -> bytes:
    return bytes(cramjam.snappy.compress_raw(data)) + zlib.crc32(data).to_bytes(_CRC_BYTES, "big")


def _compress_zstandard(data: bytes) -> bytes:
    return bytes(cramjam.zstd.compress(data))


CONTAINER_CODECS: dict[bytes, ContainerCodec] = {
    b"null": ContainerCodec(_inflate_nothing, _compress_nothing),
    b"deflate": ContainerCodec(_inflate_deflate, _compress_deflate),
    b"snappy": ContainerCodec(_inflate_snappy, _compress_snappy),
    b"zstandard": ContainerCodec(_inflate_zstandard, _compress_zstandard),
}
