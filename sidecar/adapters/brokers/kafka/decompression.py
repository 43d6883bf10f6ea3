"""Decompression of record batches in bounded steps.

A broker accepts a batch of one megabyte that inflates to gigabytes. A batch that inflates to little is decompressed at
once (`decompress`). Any other is read as a stream (`open_stream`), some kilobytes at a time, so that neither memory nor
one step of the event loop depends on its content.
"""

from __future__ import annotations

import io
import sys
import zlib
from collections.abc import Callable
from typing import Any, Protocol

import cramjam
import lz4.frame

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ONE_STEP_BYTES = 4 << 20
"""Size up to which a batch is decompressed at once: some milliseconds of work."""
MAX_WINDOW_BYTES = 128 << 20
"""Largest window that a zstd frame may ask the reader to keep. Kafka's own clients refuse larger ones too."""
MAX_SNAPPY_BLOCK_BYTES = 64 << 20
"""Largest inflated snappy block, which cannot be read in parts. Java's clients write 32 KiB."""
_GZIP_ID, _SNAPPY_ID, _LZ4_ID, _ZSTD_ID = CODEC_IDS = (1, 2, 3, 4)
_XERIAL_MAGIC = b"\x82SNAPPY\x00"
"""Start of Java's snappy framing: 16 bytes of header, then blocks, each after its 4-byte length."""
_XERIAL_HEADER_BYTES = 16
_INFLATE_GUESS_FACTOR = 8


class DamagedBatch(Exception):  # named after the bytes, not after an error of ours
    """Compressed bytes that are damaged, or that exceed a limit of their codec."""


class InflatedStream(Protocol):
    """Decompressed bytes, read in parts."""

    def read(self, size: int) -> bytes:
        """Return up to `size` more bytes; none at the end. Raises DamagedBatch."""


def decompress(codec: int, data: bytes, limit: int = ONE_STEP_BYTES) -> bytes | None:
    """Decompress bytes of Kafka's codec number `codec`.

    Returns None if the result exceeds `limit` bytes, or, for lz4 and zstd, if the bytes may be damaged: then read it
    with `open_stream`. Raises DamagedBatch.
    """
    try:
        if codec == _GZIP_ID:
            return _gzip(data, limit)
        if codec == _SNAPPY_ID:
            return _snappy(data, limit)
        if codec == _LZ4_ID:
            return _fit(cramjam.lz4.decompress_into, data, limit)
        if codec == _ZSTD_ID:
            return _fit(cramjam.zstd.decompress_into, data, limit)
    except (zlib.error, cramjam.DecompressionError) as error:
        raise DamagedBatch(str(error)) from error
    raise DamagedBatch(f"unknown compression codec {codec}")


def open_stream(codec: int, data: bytes) -> InflatedStream:
    """Open compressed bytes for reading in parts. Raises DamagedBatch."""
    streams: dict[int, Callable[[bytes], InflatedStream]] = {
        _GZIP_ID: _GzipStream,
        _SNAPPY_ID: _SnappyStream,
        _LZ4_ID: _Lz4Stream,
        _ZSTD_ID: _ZstdStream,
    }
    if codec not in streams:
        raise DamagedBatch(f"unknown compression codec {codec}")
    return streams[codec](data)


def _gzip(data: bytes, limit: int) -> bytes | None:
    stream = zlib.decompressobj(wbits=31)
    out = stream.decompress(data, limit + 1)
    if len(out) > limit:
        return None
    if not stream.eof:
        raise DamagedBatch("the gzip stream ends early")
    return out


def _snappy(data: bytes, limit: int) -> bytes | None:
    out = bytearray()
    for block in _snappy_blocks(data):
        if len(out) + cramjam.snappy.decompress_raw_len(block) > limit:
            return None
        out += bytes(cramjam.snappy.decompress_raw(block))
    return bytes(out)


def _snappy_blocks(data: bytes) -> list[bytes]:
    if not data.startswith(_XERIAL_MAGIC):
        return [data]
    blocks = []
    at = _XERIAL_HEADER_BYTES
    while at + 4 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        blocks.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    return blocks


def _fit(decompress_into: Callable[[bytes, bytearray], Any], data: bytes, limit: int) -> bytes | None:
    """Decompress into a buffer of a usual ratio, then of the limit: neither format says how much will come out."""
    room = min(limit, len(data) * _INFLATE_GUESS_FACTOR + 4096)
    while True:
        out = bytearray(room)
        try:
            return bytes(memoryview(out)[: int(decompress_into(data, out))])
        except cramjam.DecompressionError:
            # Damaged bytes and a lack of room raise the same class, so only the limit ends the search.
            if room >= limit:
                return None
            room = min(limit, room * _INFLATE_GUESS_FACTOR)


class _GzipStream:
    def __init__(self, data: bytes) -> None:
        self._stream, self._rest = zlib.decompressobj(wbits=31), data

    def read(self, size: int) -> bytes:
        try:
            out = self._stream.decompress(self._rest, size)
        except zlib.error as error:
            raise DamagedBatch(str(error)) from error
        self._rest = self._stream.unconsumed_tail
        return out


class _SnappyStream:
    def __init__(self, data: bytes) -> None:
        self._blocks = _snappy_blocks(data)[::-1]
        self._open = io.BytesIO()

    def read(self, size: int) -> bytes:
        while not (out := self._open.read(size)) and self._blocks:
            block = self._blocks.pop()
            try:
                if cramjam.snappy.decompress_raw_len(block) > MAX_SNAPPY_BLOCK_BYTES:
                    raise DamagedBatch(f"a snappy block inflates to more than {MAX_SNAPPY_BLOCK_BYTES >> 20} MiB")
                self._open = io.BytesIO(bytes(cramjam.snappy.decompress_raw(block)))
            except cramjam.DecompressionError as error:
                raise DamagedBatch(str(error)) from error
        return out


class _Lz4Stream:
    def __init__(self, data: bytes) -> None:
        self._stream, self._rest = lz4.frame.LZ4FrameDecompressor(), data

    def read(self, size: int) -> bytes:
        if self._stream.eof:
            return b""
        rest, self._rest = self._rest, b""
        try:
            return bytes(self._stream.decompress(rest, max_length=size))
        except RuntimeError as error:
            raise DamagedBatch(str(error)) from error


class _ZstdStream:
    def __init__(self, data: bytes) -> None:
        self._stream, self._rest = _zstd_decompressor(), data

    def read(self, size: int) -> bytes:
        while True:
            rest, self._rest = self._rest, b""
            if self._stream.eof:
                rest = self._stream.unused_data
                if not rest:
                    return b""
                self._stream = _zstd_decompressor()  # the next frame
            try:
                out = self._stream.decompress(rest, max_length=size)
            except zstd.ZstdError as error:
                raise DamagedBatch(str(error)) from error
            if out:
                return out
            if not self._stream.eof:
                return b""  # the frame ends early


def _zstd_decompressor() -> zstd.ZstdDecompressor:
    return zstd.ZstdDecompressor(
        options={zstd.DecompressionParameter.window_log_max: MAX_WINDOW_BYTES.bit_length() - 1}
    )
