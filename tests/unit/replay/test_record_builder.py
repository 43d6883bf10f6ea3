"""Restoring of failed records from their origin, where a framework changed them or lost their time."""

from __future__ import annotations

from typing import cast

from msgspec.structs import replace

from sidecar.dead_letters.dialects import read
from sidecar.domain.errors import Refused
from sidecar.domain.model import DeadLetter, Headers, Record
from sidecar.domain.ports.broker import Broker
from sidecar.domain.position import Position
from sidecar.replay.record_builder import (
    DIFFERENT_RECORD,
    KEPT_ONLY,
    SERIALIZED_AGAIN,
    RecordBuilder,
    RestoredRecord,
)
from tests.support.dead_letters import CONNECT, NAMING, NOW, SMALLRYE, THEN, spring

ORIGIN = Position("kafka", "orders", 3, 4711)
STORED = Record(ORIGIN, b"\x00\x00\x00\x07", b'{"total": 4}', (("h", b"1"),), THEN)


class Log:
    """A broker that has one record, has none, or refuses."""

    def __init__(self, record: Record | None, refuses: bool = False) -> None:
        self.record, self.refuses, self.reads = record, refuses, 0

    async def read(self, position: Position) -> Record | None:
        self.reads += 1
        if self.refuses:
            raise Refused("no such topic")
        return self.record


def letter(headers: Headers, key: bytes | None, value: bytes | None) -> DeadLetter:
    record = Record(Position("kafka", "orders-dlt", 0, 1), key, value, (("h", b"1"), *headers), NOW)
    return read(record, NAMING)


async def restore(dead: DeadLetter, log: Log) -> RestoredRecord:
    async def in_sight(system: str, stream: str) -> bool:
        return stream == "orders"

    return await RecordBuilder(cast("Broker", log), in_sight, "r-1", None, None).restore(dead)


async def test_a_reserialized_record_is_sent_as_the_origin_has_it() -> None:
    restored = await restore(letter(spring(), b"7", b'{"total":4.0}'), Log(STORED))
    assert restored.record == STORED
    assert restored.warning == f"the key and the value {SERIALIZED_AGAIN}"
    same = await restore(letter(spring(), STORED.key, STORED.value), Log(STORED))
    assert (same.record.value, same.record.timestamp, same.warning) == (STORED.value, THEN, None)


async def test_another_record_at_the_origin_is_not_sent() -> None:
    other = replace(STORED, timestamp=THEN + 1)
    restored = await restore(letter(spring(), b"7", b"{}"), Log(other))
    assert (restored.record.value, restored.warning) == (b"{}", DIFFERENT_RECORD)
    without_time = await restore(letter(SMALLRYE, b"7", b"{}"), Log(STORED))
    assert (without_time.record.value, without_time.warning) == (b"{}", DIFFERENT_RECORD)


async def test_a_letter_without_a_time_gets_that_of_the_origin() -> None:
    restored = await restore(letter(SMALLRYE, STORED.key, STORED.value), Log(STORED))
    assert (restored.record.timestamp, restored.record.headers, restored.warning) == (THEN, (("h", b"1"),), None)


async def test_a_record_that_is_gone_is_sent_as_the_letter_holds_it() -> None:
    for log in (Log(None), Log(None, refuses=True)):
        kept = await restore(letter(spring(), b"7", b"{}"), log)
        assert (kept.record.value, kept.record.timestamp, kept.warning) == (b"{}", THEN, None)
        timeless = await restore(letter(SMALLRYE, b"7", b"{}"), log)
        assert (timeless.record.timestamp, timeless.warning) == (NOW, KEPT_ONLY)


async def test_exact_letters_and_streams_out_of_sight_are_not_read() -> None:
    log = Log(STORED)
    await restore(letter(CONNECT, b"7", b"{}"), log)
    await restore(letter(spring(b"payments"), b"7", b"{}"), log)
    assert log.reads == 0
