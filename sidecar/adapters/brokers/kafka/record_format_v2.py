"""Reader of message format 2 that works in bounded steps (Kafka's protocol guide, "Record").

aiokafka's compiled reader is faster, but it reads a whole record at once, however large, and refuses a batch with a
header name that is not UTF-8 (clients may send any bytes there; librdkafka does). This module reads the batches that
are large, that hold a record with too many headers, or that aiokafka refuses. Bytes outside UTF-8 become surrogate
escapes.
"""

from __future__ import annotations

from collections.abc import Iterator

from aiokafka.record.util import decode_varint
from msgspec import Struct

from sidecar.adapters.brokers.kafka.decompression import DamagedBatch, InflatedStream
from sidecar.domain.model import Record, Rejection
from sidecar.domain.position import Partition

MAX_HEADERS_PER_RECORD = 10_000
MIN_HEADER_BYTES = 2
"""Size of the smallest header, with an empty name and a null value."""
MAX_RECORD_BYTES = 64 << 20
MAX_INFLATED_BYTES = 1 << 30
"""Inflated size of one batch after which its remaining records are rejected: a second of work, in steps."""
MAX_REJECTED_PER_BATCH_RECORDS = 100_000
"""Rejected records that one unreadable batch yields at most, because the header that counts them may be damaged too."""
READ_STEP_BYTES = 64 << 10
_HEAD_BYTES = 64 << 10
"""Bytes of an oversized record that are looked at, to find its offset, time and key."""
_MAX_VARINT_BYTES = 10


class BatchHeader(Struct, frozen=True):
    """The part of a batch's header that its records depend on."""

    base_offset: int
    last_offset: int
    count: int
    first_timestamp: int
    append_timestamp: int | None
    """Milliseconds, where the broker sets the time of all records."""


class DamagedRecords(Exception):  # named after the bytes, not after an error of ours
    """Bytes that are not records."""


class EscapedName(str):
    """A header name that encodes its surrogate escapes to the original bytes."""

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return super().encode("utf-8", "surrogateescape")


def read_records(log: Partition, header: BatchHeader, stream: InflatedStream) -> Iterator[Record | None]:
    """Yield the records of a batch, and None after each READ_STEP_BYTES, for a pause.

    A record that is too large or has too many headers has a rejection, and neither value nor headers. The same is true
    of all records after damaged bytes. Never raises.
    """
    window = _Window(stream)
    number, last = 0, header.base_offset - 1
    try:
        while number < header.count:
            yield from window.fill(_MAX_VARINT_BYTES, exact=False)
            length = window.varint()
            if not 0 <= length <= MAX_INFLATED_BYTES:
                raise DamagedRecords(f"a record claims to have {length} bytes")
            if length > MAX_RECORD_BYTES:
                yield from window.fill(_HEAD_BYTES)
                head = RecordReader(window.peek(_HEAD_BYTES))
                record = head.too_large(log, header, length)
                number, last = number + 1, record.position.offset
                yield record
                yield from window.skip(length)
            else:
                yield from window.fill(length)
                record = RecordReader(window.take(length)).record(log, header)
                number, last = number + 1, record.position.offset
                yield record
    except (DamagedRecords, DamagedBatch) as error:
        yield from reject_rest(log, header, number, last, Rejection(window.code, f"unreadable record batch: {error}"))


def reject_rest(log: Partition, header: BatchHeader, number: int, last: int, rejection: Rejection) -> Iterator[Record]:
    """Yield a rejected record for each offset of a batch after `last`; `number` of its records were read."""
    count = min(header.count - number, header.last_offset - last, MAX_REJECTED_PER_BATCH_RECORDS)
    for offset in range(last + 1, last + 1 + count):
        yield Record(log.at(offset), None, None, (), header.first_timestamp, defect=rejection)


def slice_records(payload: bytes, slice_bytes: int) -> list[int] | None:
    """Return the number of records to read at a time, so that a step reads about `slice_bytes` bytes.

    None if a record has too many headers, or the bytes are damaged: read such a batch with `read_records`.
    """
    slices: list[int] = []
    at, end, limit = 0, len(payload), slice_bytes
    count = first = 0
    try:
        while at < end:
            if at > limit:
                slices.append(count - first)
                first, limit = count, at + slice_bytes
            count += 1
            byte = payload[at]
            if byte < 0x80:
                at += 1 + (byte >> 1)
                continue
            second = payload[at + 1]
            if second < 0x80:
                at += 2 + ((byte & 0x7F | second << 7) >> 1)
                continue
            length, at = decode_varint(payload, at)
            if length < 0:
                return None
            if length >= MAX_HEADERS_PER_RECORD * MIN_HEADER_BYTES:
                reader = RecordReader(payload, at)
                reader.skip_to_headers()
                if reader.varint() > MAX_HEADERS_PER_RECORD:
                    return None
            at += length
    except (IndexError, ValueError, DamagedRecords):
        return None
    return [*slices, count - first]


class RecordReader:
    """Reads one record from bytes that start after its length. Raises DamagedRecords."""

    def __init__(self, payload: bytes, at: int = 0) -> None:
        self._payload, self._at = payload, at

    def record(self, log: Partition, header: BatchHeader) -> Record:
        """Read the whole record."""
        offset, timestamp = self._start(header)
        key, value = self._some(), self._some()
        count = self.varint()
        if count > MAX_HEADERS_PER_RECORD:
            message = f"a record with {count} headers; at most {MAX_HEADERS_PER_RECORD} are read"
            return Record(log.at(offset), key, None, (), timestamp, defect=Rejection("decode.limit", message))
        if count < 0:
            raise DamagedRecords(f"a record claims to have {count} headers")
        headers = tuple([self._header() for _ in range(count)])
        if self._at != len(self._payload):
            raise DamagedRecords(f"a record of {len(self._payload)} bytes ends after {self._at} of them")
        return Record(log.at(offset), key, value, headers, timestamp)

    def too_large(self, log: Partition, header: BatchHeader, length: int) -> Record:
        """Read the beginning of a record of `length` bytes, with its key if the key is in these bytes."""
        offset, timestamp = self._start(header)
        try:
            key = self._some()
        except DamagedRecords:
            key = None
        message = f"a record of {length} bytes; at most {MAX_RECORD_BYTES} are read"
        return Record(log.at(offset), key, None, (), timestamp, defect=Rejection("decode.limit", message))

    def skip_to_headers(self) -> None:
        """Move to the field with the number of headers."""
        self._at += 1
        for _ in range(2):
            self.varint()
        for _ in range(2):
            length = self.varint()
            self._at += max(0, length)

    def varint(self) -> int:
        try:
            value, self._at = decode_varint(self._payload, self._at)
        except (IndexError, ValueError) as error:
            raise DamagedRecords(f"expected a number at byte {self._at} of a record") from error
        return int(value)

    def _start(self, header: BatchHeader) -> tuple[int, int]:
        self._at += 1  # attributes: none are defined
        timestamp = header.first_timestamp + self.varint()
        offset = header.base_offset + self.varint()
        if not header.base_offset <= offset <= header.last_offset:
            raise DamagedRecords(
                f"a record has the offset {offset}, in a batch from {header.base_offset} to {header.last_offset}"
            )
        return offset, timestamp if header.append_timestamp is None else header.append_timestamp

    def _some(self) -> bytes | None:
        length = self.varint()
        if length < 0:
            return None
        start, self._at = self._at, self._at + length
        if self._at > len(self._payload):
            raise DamagedRecords(f"a field at byte {start} claims {length} bytes, in a record of {len(self._payload)}")
        return self._payload[start : self._at]

    def _header(self) -> tuple[str, bytes | None]:
        name = self._some()
        if name is None:
            raise DamagedRecords("a header without a name")
        return name.decode("utf-8", "surrogateescape"), self._some()


class _Window:
    """The part of a stream that is in memory."""

    def __init__(self, stream: InflatedStream) -> None:
        self._stream = stream
        self._data = bytearray()
        self._at = self._total = 0
        self.code = "decode.malformed"
        """Code of the rejection if reading fails."""

    def fill(self, size: int, *, exact: bool = True) -> Iterator[None]:
        """Read until `size` bytes are there, with pauses. Raises DamagedRecords if the stream ends before."""
        while len(self._data) - self._at < size:
            if not self._pull():
                if exact:
                    raise DamagedRecords("the batch ends within a record")
                return
            yield None

    def varint(self) -> int:
        try:
            value, self._at = decode_varint(self._data, self._at)
        except (IndexError, ValueError) as error:
            raise DamagedRecords("the batch ends early") from error
        return int(value)

    def peek(self, size: int) -> bytes:
        return bytes(memoryview(self._data)[self._at : self._at + size])

    def take(self, size: int) -> bytes:
        taken = self.peek(size)
        self._at += size
        return taken

    def skip(self, size: int) -> Iterator[None]:
        """Pass over bytes without keeping them, with pauses."""
        while True:
            step = min(size, len(self._data) - self._at)
            self._at += step
            size -= step
            if not size:
                return
            if not self._pull():
                raise DamagedRecords("the batch ends within a record")
            yield None

    def _pull(self) -> bool:
        more = self._stream.read(READ_STEP_BYTES)
        self._total += len(more)
        if self._total > MAX_INFLATED_BYTES:
            self.code = "decode.limit"
            raise DamagedRecords(f"its records inflate to more than {MAX_INFLATED_BYTES >> 20} MiB")
        if self._at > READ_STEP_BYTES:
            del self._data[: self._at]
            self._at = 0
        self._data += more
        return bool(more)
