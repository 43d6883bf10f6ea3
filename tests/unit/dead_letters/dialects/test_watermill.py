"""Dead letters of Watermill's poison queue."""

from __future__ import annotations

import msgspec

from sidecar.dead_letters.dialects import read
from sidecar.domain.model import Record
from sidecar.domain.position import Position
from tests.support.dead_letters import NAMING, NOW, WATERMILL, assert_restored, facts, letter


def test_headers_are_read() -> None:
    found = assert_restored(WATERMILL[1:])
    assert facts(found) == (
        "watermill", "reported.error", "orders", "None", None, None, None, NOW * 1000,
        "no stock of sku 17 (in handler billing)",
    )  # fmt: skip


def test_a_message_that_is_not_poisoned_is_no_dead_letter_of_watermill() -> None:
    assert letter(WATERMILL[:1]).dialect == "unknown"


def test_on_redis_the_facts_are_in_the_metadata_and_the_record_is_given_back_without_them() -> None:
    own = {"correlation_id": "c-1", "name": "shop.OrderPlaced"}
    poisoned = own | {name: (value or b"").decode() for name, value in WATERMILL[1:]}
    fields = (
        ("_watermill_message_uuid", b"w-1"),
        ("metadata", msgspec.msgpack.encode(poisoned)),
        ("payload", b"{}"),
    )
    found = read(Record(Position("redis", "poison", 0, 5), None, None, fields, NOW), NAMING)
    assert (found.dialect, found.stream, found.message) == (
        "watermill", "orders", "no stock of sku 17 (in handler billing)",
    )  # fmt: skip
    assert found.record is not None
    assert found.record.headers == (fields[0], ("metadata", msgspec.msgpack.encode(own)), fields[2])


def test_metadata_that_is_no_messagepack_map_is_ignored() -> None:
    for packed in (b"", b"\xff", b"\x91" * 100_000, msgspec.msgpack.encode([1])):
        fields = (("_watermill_message_uuid", b"w-1"), ("metadata", packed))
        assert read(Record(Position("redis", "poison", 0, 5), None, b"{}", fields, NOW), NAMING).dialect == "unknown"
