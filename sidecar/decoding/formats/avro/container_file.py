"""Avro object container files (Avro 1.12 specification, "Object Container Files") as a record's value.

Some producers write a whole file, with its schema, for each event. Such a value is hostile input: the size of the
schema, the inflated size of blocks, and the number of values are bounded.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import cramjam

from sidecar.decoding.formats.schema_format import SelfDescribedValue, UnusableSchema
from sidecar.domain.bounded_cache import BoundedCache
from sidecar.domain.json_path import PathFault

MAGIC = b"Obj\x01"
_SYNC_BYTES = 16
_MAX_METADATA_ENTRIES = 100
_MAX_SCHEMA_BYTES = 256 << 10
_MAX_INFLATED_BYTES = 2 << 20
_FIRST_BUFFER_BYTES = 64 << 10
_BUFFER_PER_BYTE = 8
_MAX_RECORDS = 10_000
_MAX_BLOCKS = 1_000
_MAX_SCHEMAS = 100
_MAX_VARINT_BYTES = 10


class ContainerFault(ValueError):
    """Bytes that are not a readable container file."""


class ContainerReader:
    """Reads container files, and caches the decoders of recent schemas."""

    def __init__(self, compile: Callable[[str], tuple[str | None, Callable[[bytes, int], Any]]]) -> None:
        """Create a reader.

        `compile` returns, for a schema text, the record's name and a decoder for an array of such records.
        """
        self._compile = compile
        self._decoders: BoundedCache[bytes, tuple[str | None, Callable[[bytes, int], Any]]] = BoundedCache(_MAX_SCHEMAS)

    def read(self, data: bytes) -> SelfDescribedValue | None:
        """Decode a file: its only record, or the list of all. Never raises. Returns None for any other bytes."""
        if data[:4] != MAGIC:
            return None
        try:
            return self._read(data)
        except (ContainerFault, UnusableSchema):
            return None

    def _read(self, data: bytes) -> SelfDescribedValue:
        metadata, at = _read_metadata(data, len(MAGIC))
        sync, at = _take(data, at, _SYNC_BYTES)
        name, decode = self._decoder(metadata.get("avro.schema", b""))
        inflate = _CODECS.get(metadata.get("avro.codec", b"null") or b"null")
        if inflate is None:
            raise ContainerFault("unknown codec")
        records: list[Any] = []
        left, blocks = _MAX_INFLATED_BYTES, 0
        while at < len(data):
            blocks += 1
            if blocks > _MAX_BLOCKS:
                raise ContainerFault("too many blocks")
            count, at = _read_long(data, at)
            size, at = _read_long(data, at)
            block, at = _take(data, at, size)
            end, at = _take(data, at, _SYNC_BYTES)
            if end != sync or not 0 <= count <= _MAX_RECORDS - len(records):
                raise ContainerFault("a block is broken")
            payload = inflate(block, left)
            left -= len(payload)
            # A block is what an array is: so many values, one after another.
            values = decode(_write_long(count) + payload + b"\0", 0) if count else []
            if isinstance(values, PathFault):
                raise ContainerFault(values.message)
            records += values
        return SelfDescribedValue(records[0] if len(records) == 1 else records, name)

    def _decoder(self, schema: bytes) -> tuple[str | None, Callable[[bytes, int], Any]]:
        decoder = self._decoders.find(schema)
        if decoder is None:
            if len(schema) > _MAX_SCHEMA_BYTES:
                raise ContainerFault("the schema is too long")
            decoder = self._decoders[schema] = self._compile(schema.decode("utf-8", "replace"))
        return decoder


def _read_metadata(data: bytes, at: int) -> tuple[dict[str, bytes], int]:
    """Read the map of names to bytes at the head of a file, and the index after it."""
    metadata: dict[str, bytes] = {}
    left = _MAX_METADATA_ENTRIES
    while True:
        count, at = _read_long(data, at)
        if count < 0:
            count, at = -count, _read_long(data, at)[1]
        if not count:
            return metadata, at
        left -= count
        if left < 0:
            raise ContainerFault("too much metadata")
        for _ in range(count):
            name, at = _take(data, *reversed(_read_long(data, at)))
            value, at = _take(data, *reversed(_read_long(data, at)))
            metadata[name.decode("utf-8", "replace")] = value


def _read_long(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    for index in range(at, min(at + _MAX_VARINT_BYTES, len(data))):
        number |= (data[index] & 0x7F) << shift
        if data[index] < 0x80:
            return (number >> 1) ^ -(number & 1), index + 1
        shift += 7
    raise ContainerFault("expected a number")


def _write_long(number: int) -> bytes:
    encoded = number << 1
    out = bytearray()
    while encoded >= 0x80:
        out.append(encoded & 0x7F | 0x80)
        encoded >>= 7
    out.append(encoded)
    return bytes(out)


def _take(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    if size < 0 or at + size > len(data):
        raise ContainerFault("the bytes end too early")
    return data[at : at + size], at + size


def _inflate_nothing(block: bytes, limit: int) -> bytes:
    return block


def _inflate_deflate(block: bytes, limit: int) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(block, limit)
    except zlib.error as error:
        raise ContainerFault(str(error)) from None
    if inflater.unconsumed_tail:
        raise ContainerFault("a block inflates to too many bytes")
    return inflated


def _inflate_snappy(block: bytes, limit: int) -> bytes:
    raw = block[:-4]  # a CRC-32 of the inflated bytes follows
    try:
        if cramjam.snappy.decompress_raw_len(raw) > limit:
            raise ContainerFault("a block inflates to too many bytes")
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


_CODECS: dict[bytes, Callable[[bytes, int], bytes]] = {
    b"null": _inflate_nothing,
    b"deflate": _inflate_deflate,
    b"snappy": _inflate_snappy,
    b"zstandard": _inflate_zstandard,
}
