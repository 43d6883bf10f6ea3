"""Records of message format 2 read and written without aiokafka, for header names that are not UTF-8: clients may send
any bytes there (librdkafka does), and aiokafka refuses the whole batch. Bytes outside UTF-8 stand as surrogate escapes.

Format: Kafka's protocol guide, "Record"."""

from __future__ import annotations

from collections.abc import Iterator

from aiokafka.record.util import decode_varint
from msgspec import Struct


class PlainRecord(Struct, frozen=True):
    """A record with the attributes of aiokafka's."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


class DamagedRecords(Exception):  # it says what the bytes are
    """These bytes are no records."""


def read_plain_records(
    payload: bytes, count: int, base_offset: int, first_timestamp: int, append_timestamp: int | None
) -> Iterator[PlainRecord]:
    """The records of an uncompressed batch's payload. Raises Damaged."""
    reader = _VarintReader(payload)
    for _ in range(count):
        length = reader.varint()
        end = reader.at + length
        reader.varint()  # attributes: none are defined
        timestamp = first_timestamp + reader.varint()
        offset = base_offset + reader.varint()
        key, value = reader.some(), reader.some()
        headers = [reader.header() for _ in range(reader.count())]
        if reader.at != end:
            raise DamagedRecords(f"a record of {length} bytes has {reader.at - end + length}")
        yield PlainRecord(offset, timestamp if append_timestamp is None else append_timestamp, key, value, headers)


class EscapedName(str):
    """A header name that encodes its surrogate escapes to the bytes they stand for."""

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return super().encode("utf-8", "surrogateescape")


class _VarintReader:
    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self.at = 0

    def varint(self) -> int:
        try:
            value, self.at = decode_varint(self._payload, self.at)
        except (IndexError, ValueError) as error:
            raise DamagedRecords(f"no number at byte {self.at}") from error
        return int(value)

    def count(self) -> int:
        value = self.varint()
        if not 0 <= value <= len(self._payload) - self.at:
            raise DamagedRecords(f"{value} headers in {len(self._payload) - self.at} bytes")
        return value

    def some(self) -> bytes | None:
        length = self.varint()
        if length < 0:
            return None
        start, self.at = self.at, self.at + length
        if self.at > len(self._payload):
            raise DamagedRecords(f"{length} bytes at byte {start} of {len(self._payload)}")
        return self._payload[start : self.at]

    def header(self) -> tuple[str, bytes | None]:
        name = self.some()
        if name is None:
            raise DamagedRecords("a header without a name")
        return name.decode("utf-8", "surrogateescape"), self.some()
