"""Decoder from the bytes of a fetch to records, read_committed (Kafka's protocol guide, "Record Batch").

aiokafka's compiled batches do the work. Its fetcher also wraps every record in a generator and a dataclass, which
costs more than everything here. `record_format_v2` reads the batches that aiokafka cannot read in bounded time.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from struct import Struct
from typing import Any, Protocol

from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatch

from sidecar.adapters.brokers.kafka.decompression import DamagedBatch, decompress, open_stream
from sidecar.adapters.brokers.kafka.record_format_v2 import (
    MAX_HEADERS_PER_RECORD,
    MIN_HEADER_BYTES,
    BatchHeader,
    read_records,
    reject_rest,
    slice_records,
)
from sidecar.domain.model import Record, Rejection
from sidecar.domain.position import Partition, Position

STEP_MAX_S = 0.003
"""Time after which `FetchedChunk.take` pauses."""
SLICE_BYTES = 64 << 10
"""Bytes of records that are read between two checks of the clock."""
_FRAME = Struct(">qi")
_HEADER = Struct(">qiibIhiqqqhii")
"""Base offset, length, leader epoch, magic, CRC, attributes, last offset delta, first and greatest time, producer id
and epoch, base sequence, count."""
_CODEC_MASK, _APPEND_TIME_FLAG, _TRANSACTIONAL_FLAG, _CONTROL_FLAG = 0x07, 0x08, 0x10, 0x20
_ABORT_KEY = b"\x00\x00\x00\x00"
"""Key of a control record (version, kind) that aborts a transaction."""


def end_offset(raw: bytes, otherwise: int) -> int:
    """Return the offset after the last whole batch in these bytes; `otherwise` if there is no whole batch."""
    at, offset = 0, otherwise
    while (end := _end(raw, at)) is not None:
        offset = int.from_bytes(raw[at : at + 8], "big") + 1
        if raw[at + 16] >= 2:
            offset += int.from_bytes(raw[at + 23 : at + 27], "big")
        at = end
    return offset


class _OpenBatch(Protocol):
    """A batch that is being read."""

    done: bool

    def take(self, room: int, deadline: float) -> list[Record]:
        """Return up to `room` records, and fewer at the deadline.

        Raises DamagedBatch if another reader must begin again.
        """


class FetchedChunk:
    """Batches of one partition from one fetch.

    Control records and those of aborted transactions are left out. Compressed bytes are kept, and at most one batch of
    them is inflated. A record that cannot be read has a rejection (`Record.defect`), at its position.
    """

    __slots__ = (
        *("_aborted", "_aborting", "_at", "_batch", "_check", "_header", "_log", "_open", "_past", "_raw"),
        *("codec", "done", "next_offset"),
    )

    def __init__(
        self, log: Partition, raw: bytes, fetched_from: int, aborted: Sequence[tuple[int, int]] | None, check: bool
    ) -> None:
        """Start at the first batch.

        Args:
            log: The partition.
            raw: Batches as the broker sends them; the last one may be cut off.
            fetched_from: Requested offset; earlier records of the first batch are left out.
            aborted: Producer ids and first offsets of aborted transactions, from the broker's reply.
            check: Verify checksums.
        """
        self._log, self._raw, self._check = log, raw, check
        self._aborted = sorted(aborted or (), key=lambda transaction: transaction[1], reverse=True)
        self._aborting: set[int] = set()
        self._at, self._past = 0, fetched_from
        self._open: _OpenBatch | None = None
        self._batch = b""
        """Uncompressed batch that is open, for a second, tolerant reading."""
        self._header: BatchHeader | None = None
        self.next_offset = fetched_from
        """Offset after the records taken so far, and after control records and aborted ones."""
        self.done = False
        self.codec = 0
        """Codec of the latest batch; 0: not compressed."""

    @property
    def size(self) -> int:
        """Bytes that the chunk holds."""
        return len(self._raw)

    @property
    def end(self) -> int:
        """Offset after its last record: the one to fetch next."""
        return end_offset(self._raw, self.next_offset)

    def take(self, most: int) -> list[Record]:
        """Return the next records, at most `most`.

        Returns early, perhaps with none, after STEP_MAX_S: pause and call it again until the chunk is `done`. Never
        raises.
        """
        records: list[Record] = []
        deadline = time.perf_counter() + STEP_MAX_S
        while len(records) < most and not self.done:
            if self._open is None:
                self._advance()
            else:
                records += self._take(self._open, most - len(records), deadline)
            if time.perf_counter() > deadline:
                break
        return records

    def _take(self, batch: _OpenBatch, room: int, deadline: float) -> list[Record]:
        try:
            records = batch.take(room, deadline)
        except DamagedBatch:
            assert self._header is not None
            payload = io.BytesIO(memoryview(self._batch)[_HEADER.size :])
            self._open = _TolerantBatch(read_records(self._log, self._header, payload))
            return []
        if batch.done:
            self._open, self._batch = None, b""
        if records and records[0].position.offset < self.next_offset:
            # A batch comes whole, also where the fetch began in its middle.
            records = [record for record in records if record.position.offset >= self.next_offset]
        if self._open is None:
            self.next_offset = max(self.next_offset, self._past)
        elif records:
            self.next_offset = records[-1].position.offset + 1
        return records

    def _advance(self) -> None:
        """Open the next batch that has records for us."""
        raw, at = self._raw, self._at
        end = _end(raw, at)
        if end is None:
            self.done = True
            return
        self._at = end
        if raw[at + 16] < 2:
            self._past = int.from_bytes(raw[at : at + 8], "big") + 1
            self._open_legacy_batch(raw[at:end])
            return
        (base, _, _, _, _, attributes, last, first_time, greatest, producer, _, _, count) = _HEADER.unpack_from(raw, at)
        self._past = base + last + 1
        append_time = greatest if attributes & _APPEND_TIME_FLAG else None
        self._header = header = BatchHeader(base, base + last, count, first_time, append_time)
        batch = raw[at:end]
        if self._check and not DefaultRecordBatch(batch).validate_crc():
            rejection = Rejection("decode.malformed", "unreadable record batch: its checksum is wrong")
            self._open = _TolerantBatch(reject_rest(self._log, header, 0, base - 1, rejection))
        elif (producer >= 0 and self._is_aborted(batch, base, producer, attributes)) or attributes & _CONTROL_FLAG:
            self.next_offset = max(self.next_offset, self._past)
        else:
            self._open = self._open_batch(batch, header, attributes & _CODEC_MASK)

    def _open_legacy_batch(self, batch: bytes) -> None:
        """Open a message set of format 0 or 1, whose first field is the offset of its last record."""
        offset = self._past - 1
        self._header = header = BatchHeader(offset, offset, 1, 0, None)
        try:
            self._open = _CompiledBatch(self._log, LegacyRecordBatch(batch, batch[16]), None)
        except (CorruptRecordException, ValueError) as error:
            rejection = Rejection("decode.malformed", f"unreadable record batch: {error}")
            self._open = _TolerantBatch(reject_rest(self._log, header, 0, offset - 1, rejection))

    def _open_batch(self, batch: bytes, header: BatchHeader, codec: int) -> _OpenBatch:
        compressed = memoryview(batch)[_HEADER.size :]
        self.codec = codec
        if codec:
            try:
                payload = decompress(codec, bytes(compressed))
                if payload is None:
                    return _TolerantBatch(read_records(self._log, header, open_stream(codec, bytes(compressed))))
            except DamagedBatch as error:
                rejection = Rejection("decode.malformed", f"unreadable record batch: {error}")
                return _TolerantBatch(reject_rest(self._log, header, 0, header.base_offset - 1, rejection))
            head = bytearray(batch[: _HEADER.size])
            head[22] &= ~_CODEC_MASK & 0xFF
            batch = bytes(head) + payload
        self._batch = batch
        slices: list[int] | None = None
        if len(batch) - _HEADER.size > MAX_HEADERS_PER_RECORD * MIN_HEADER_BYTES:
            slices = slice_records(batch[_HEADER.size :], SLICE_BYTES)
            if slices is None:
                return _TolerantBatch(read_records(self._log, header, io.BytesIO(batch[_HEADER.size :])))
        return _CompiledBatch(self._log, DefaultRecordBatch(batch), slices)

    def _is_aborted(self, batch: bytes, base: int, producer: int, attributes: int) -> bool:
        while self._aborted and self._aborted[-1][1] <= base:
            self._aborting.add(self._aborted.pop()[0])
        if attributes & _CONTROL_FLAG:
            with contextlib.suppress(StopIteration, CorruptRecordException, ValueError):
                if next(iter(DefaultRecordBatch(batch))).key == _ABORT_KEY:
                    self._aborting.discard(producer)
            return True
        return bool(attributes & _TRANSACTIONAL_FLAG) and producer in self._aborting


class _CompiledBatch:
    """A batch that aiokafka's compiled code reads.

    `slices`: how many records to read between two looks at the clock; None: all.
    """

    def __init__(self, log: Partition, batch: Any, slices: list[int] | None) -> None:
        self._log = log
        self._records = chain(batch)  # it can be begun only once, and `islice` begins
        self._slices = slices[::-1] if slices is not None else None
        self.done = False

    def take(self, room: int, deadline: float) -> list[Record]:
        if self._slices is not None:
            room = min(room, self._slices[-1]) if self._slices else 1
        stream, number = self._log.stream, self._log.number
        try:
            records = [
                Record(Position("kafka", stream, number, r.offset), r.key, r.value, tuple(r.headers), r.timestamp)
                for r in islice(self._records, room)
            ]
        except (CorruptRecordException, ValueError) as error:
            raise DamagedBatch(str(error)) from error
        if len(records) < room:
            self.done = True
        elif self._slices:
            self._slices[-1] -= room
            if not self._slices[-1]:
                self._slices.pop()
        return records


class _TolerantBatch:
    """A batch that `record_format_v2` reads, in pauses."""

    def __init__(self, records: Iterator[Record | None]) -> None:
        self._records = records
        self.done = False

    def take(self, room: int, deadline: float) -> list[Record]:
        records: list[Record] = []
        while len(records) < room:
            record = next(self._records, _END)
            if record is _END:
                self.done = True
                break
            if record is not None:
                records.append(record)
            if time.perf_counter() > deadline:
                break
        return records


_END = Record(Position("kafka", "", 0, -1), None, None, (), 0)
"""Marks the end of an iterator of records and pauses."""


def _end(raw: bytes, at: int) -> int | None:
    """Return where the batch at `at` ends; None if no whole batch is there (a broker cuts the last one off)."""
    if at + 61 > len(raw) and at + 26 > len(raw):
        return None
    end = at + 12 + int(_FRAME.unpack_from(raw, at)[1])
    least = 61 if raw[at + 16] >= 2 else 26
    return end if at + least <= end <= len(raw) else None
