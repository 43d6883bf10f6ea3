"""Duration of one step: few bytes never become many values, and decoding a batch yields after a few milliseconds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from sidecar.decoding import decoder
from tests.support.decoding import Court, avro, confluent, court, record

EMPTY = {"type": "record", "name": "Empty", "fields": []}
NULLS = {"type": "record", "name": "Nulls", "fields": [{"name": f"n{n}", "type": "null"} for n in range(9_000)]}
NESTED: Any = {"type": "array", "items": {"type": "array", "items": {"type": "array", "items": "null"}}}


def claim(items: int) -> bytes:
    """Encode an array that claims this number of items of zero bytes."""
    return avro("long", items) + b"\0"


@pytest.fixture
def it() -> Iterator[Court]:
    with court() as made:
        yield made


@pytest.mark.parametrize("claimed", [999_990, 20_000])
@pytest.mark.parametrize(
    "item",
    [EMPTY, "null", {"type": "fixed", "name": "F", "size": 0}, {**EMPTY, "fields": [{"name": "n", "type": "null"}]}],
    ids=["record", "null", "fixed", "record of null"],
)
def test_a_few_bytes_never_make_many_items(it: Court, item: Any, claimed: int) -> None:
    id = it.id_of("orders-value", {"type": "array", "items": item})
    value = confluent(id, claim(claimed))
    assert len(value) < 10
    rejection = it.one(record(value)).event.rejection
    assert rejection is not None
    assert rejection.code == "decode.limit"
    started = time.process_time()
    decoded = it.all([record(value, offset=offset) for offset in range(500)])
    assert time.process_time() - started < 1
    assert all(each.body is None for each in decoded)


def test_arrays_within_arrays_and_wide_records_are_bounded_too(it: Court) -> None:
    for number, (declared, payload) in enumerate(
        [
            (NESTED, avro("long", 2_000) + b"\2\2\xa0\x9c\1\0\0" * 2_000 + b"\0"),
            ({"type": "array", "items": NULLS}, claim(5)),
            ({"type": "map", "values": {"type": "array", "items": "null"}}, b"\2\0" + claim(999_990) + b"\0"),
        ]
    ):
        id = it.id_of(f"s{number}-value", declared)
        rejection = it.one(record(confluent(id, payload), stream=f"s{number}")).event.rejection
        assert rejection is not None
        assert rejection.code == "decode.limit"


def test_items_without_bytes_are_bounded_by_the_payload(it: Court) -> None:
    id = it.id_of("orders-value", {"type": "array", "items": EMPTY})
    assert it.one(record(confluent(id, claim(5_000)))).body == [{}] * 5_000
    id = it.id_of("ints-value", {"type": "array", "items": "int"})
    value = list(range(100_000))
    decoded = it.one(record(confluent(id, avro({"type": "array", "items": "int"}, value)), stream="ints"))
    assert decoded.body == value


def test_a_batch_is_left_for_other_tasks_wherever_that_is_in_it(it: Court) -> None:
    id = it.id_of("orders-value", {"type": "array", "items": EMPTY})
    records = [record(confluent(id, claim(5_000)), offset=offset) for offset in range(100)]
    it.one(records[0])
    done = 0
    steps = []
    while done < len(records):
        started = time.process_time()
        result = it.judge.decode_batch(records, done)
        steps.append(time.process_time() - started)
        assert result.missing is None
        assert result.decoded
        done += len(result.decoded)
    assert len(steps) > 1
    assert min(steps) < 3 * decoder.STEP_S
