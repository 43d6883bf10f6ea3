"""From the bytes of a fetch to records, read_committed (Kafka's protocol guide, "Record Batch").

aiokafka's compiled batches do the work; its fetcher wraps every record in a generator and a dataclass besides, which
costs more than everything here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from struct import Struct
from typing import Any

from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatch

from sidecar.adapters.brokers.kafka.decompression import DecompressionLimitExceeded, decompress
from sidecar.adapters.brokers.kafka.record_format_v2 import DamagedRecords, read_plain_records
from sidecar.domain.model import Record
from sidecar.domain.position import Partition, Position

_FRAME = Struct(">qi")
_HEADER = Struct(">qiibIhiqqqhii")
"""Base offset, length, leader epoch, magic, CRC, attributes, last offset delta, first and greatest time, producer id
and epoch, base sequence, count."""
_CODEC, _APPEND_TIME, _TRANSACTIONAL, _CONTROL = 0x07, 0x08, 0x10, 0x20
_ABORT = b"\x00\x00\x00\x00"
"""A control record's key (version, kind) where it ends a transaction in vain."""


class UnreadableRecords(Exception):  # it says what the bytes are
    """Bytes that are no records, or too many. `past` is the offset behind them, from where the chunk goes on."""

    def __init__(self, message: str, past: int) -> None:
        self.past = past
        super().__init__(message)


def end_offset(raw: bytes, otherwise: int) -> int:
    """The offset after the last whole batch in these bytes; `otherwise` where there is none."""
    at, found = 0, otherwise
    while (end := _end(raw, at)) is not None:
        found = int.from_bytes(raw[at : at + 8], "big") + 1
        if raw[at + 16] >= 2:
            found += int.from_bytes(raw[at + 23 : at + 27], "big")
        at = end
    return found


class FetchedChunk:
    """What one fetch brought of one partition, given bit by bit; never control records or those of aborted
    transactions. The compressed bytes are kept, and one batch of them inflated."""

    __slots__ = (
        *("_aborted", "_aborting", "_at", "_batch", "_check", "_log", "_open", "_past", "_raw", "_trouble"),
        *("done", "next_offset"),
    )

    def __init__(
        self, log: Partition, raw: bytes, fetched_from: int, aborted: Sequence[tuple[int, int]] | None, check: bool
    ) -> None:
        """`aborted`: producer ids and first offsets of aborted transactions, as the broker's answer has them."""
        self._log, self._raw, self._check = log, raw, check
        self._aborted = sorted(aborted or (), key=lambda one: one[1], reverse=True)
        self._aborting: set[int] = set()
        self._at, self._past = 0, fetched_from
        self._open: Iterator[Any] | None = None
        self._batch: tuple[bytes, int, int, int, int | None] | None = None
        """The open batch for a second, tolerant reading: payload, count, base offset, its times; None in the second."""
        self._trouble: UnreadableRecords | None = None
        self.next_offset = fetched_from
        """What comes after all that was taken, and after what is no record."""
        self.done = False

    @property
    def size(self) -> int:
        return len(self._raw)

    def take(self, most: int) -> list[Record]:
        """The next records: at most `most`, and fewer (perhaps none) only where the chunk ends (then it is `done`) or
        comes to something unreadable. Raises Unreadable, after which the next call goes on behind it."""
        records: list[Record] = []
        while len(records) < most and not self.done and self._trouble is None:
            if self._open is None:
                self._advance()
            else:
                records += self._some(self._open, most - len(records))
        if self._trouble is not None and not records:
            trouble, self._trouble = self._trouble, None
            self.next_offset = trouble.past
            raise trouble
        return records

    def _some(self, batch: Iterator[Any], room: int) -> list[Record]:
        stream, number = self._log.stream, self._log.number
        try:
            found = [
                Record(Position("kafka", stream, number, r.offset), r.key, r.value, tuple(r.headers), r.timestamp)
                for r in islice(batch, room)
            ]
        except (CorruptRecordException, ValueError, DamagedRecords) as error:
            if self._batch is None:
                self._open, self._trouble = None, self._unreadable(f"is damaged: {error}")
            else:
                self._open, self._batch = read_plain_records(*self._batch), None
            return []
        if len(found) < room:
            self._open = None
        if found and found[0].position.offset < self.next_offset:
            # A batch comes whole, also where the fetch began in its middle.
            found = [record for record in found if record.position.offset >= self.next_offset]
        if self._open is None:
            self.next_offset = max(self.next_offset, self._past)
        elif found:
            self.next_offset = found[-1].position.offset + 1
        return found

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
            self._batch = None
            self._open = chain(LegacyRecordBatch(raw[at:end], raw[at + 16]))
            return
        (base, _, _, _, _, attributes, last, first_time, greatest, producer, _, _, count) = _HEADER.unpack_from(raw, at)
        self._past = base + last + 1
        batch = raw[at:end]
        if self._check and not DefaultRecordBatch(batch).validate_crc():
            self._trouble = self._unreadable("has a wrong checksum")
        elif (producer >= 0 and self._is_aborted(batch, base, producer, attributes)) or attributes & _CONTROL:
            self.next_offset = max(self.next_offset, self._past)
        else:
            try:
                batch = _plain(batch, attributes & _CODEC)
            except DecompressionLimitExceeded as error:
                self._trouble = self._unreadable(str(error))
                return
            append_time = greatest if attributes & _APPEND_TIME else None
            self._batch = (batch[_HEADER.size :], count, base, first_time, append_time)
            self._open = chain(DefaultRecordBatch(batch))  # it can be begun only once, and `islice` begins

    def _is_aborted(self, batch: bytes, base: int, producer: int, attributes: int) -> bool:
        while self._aborted and self._aborted[-1][1] <= base:
            self._aborting.add(self._aborted.pop()[0])
        if attributes & _CONTROL:
            if next(iter(DefaultRecordBatch(batch))).key == _ABORT:
                self._aborting.discard(producer)
            return True
        return bool(attributes & _TRANSACTIONAL) and producer in self._aborting

    def _unreadable(self, what: str) -> UnreadableRecords:
        where = f"{self._log}: a batch up to offset {self._past - 1} {what}"
        return UnreadableRecords(where, max(self.next_offset, self._past))


def _end(raw: bytes, at: int) -> int | None:
    """Where the batch at `at` ends; None where no whole batch is there (a broker cuts the last one off)."""
    if at + 61 > len(raw) and at + 26 > len(raw):
        return None
    end = at + 12 + int(_FRAME.unpack_from(raw, at)[1])
    least = 61 if raw[at + 16] >= 2 else 26
    return end if at + least <= end <= len(raw) else None


def _plain(batch: bytes, codec: int) -> bytes:
    """The batch as if it had not been compressed."""
    if not codec:
        return batch
    head = bytearray(batch[: _HEADER.size])
    head[22] &= ~_CODEC & 0xFF
    return bytes(head) + decompress(codec, batch[_HEADER.size :])
