"""Large records leave the interpreter to other threads while they are decoded.

Work in a thread does not stop the event loop's thread, unless one call into C keeps the interpreter for long.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import fastavro
import pytest

from sidecar.decoding.decoder import DecodeResult
from sidecar.decoding.formats.avro.avro_format import MAX_WALKED_STEP_BYTES
from sidecar.domain.model import Decoded, Record
from tests.support.decoding import Court, avro, confluent, court, record

MIN_TURNS = 10
"""Turns of another task while one record is decoded: each of these records takes more than ten times as long as the
longest time for which a thread keeps the interpreter."""
ARRAY_OF_ARRAYS: Any = {"type": "array", "items": {"type": "array", "items": "int"}}
TREE: Any = {
    "type": "record",
    "name": "Tree",
    "fields": [{"name": "children", "type": {"type": "array", "items": "Tree"}}],
}


@pytest.fixture
def it() -> Iterator[Court]:
    with court() as made:
        yield made


def decode(it: Court, records: Sequence[Record]) -> tuple[list[Decoded], int]:
    """Decode records, and count how often another task had its turn meanwhile."""

    async def run() -> tuple[list[Decoded], int]:
        turns = 0

        async def take_turns() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0.001)
                turns += 1

        other = asyncio.ensure_future(take_turns())
        decoded = await it.judge.decode_with_schemas(records)
        other.cancel()
        return decoded, turns

    return it.run(run())


def nulls(count: int) -> bytes:
    """An array of so many items that are one byte of zero each."""
    return avro("long", count) + b"\0" * count + b"\0"


def _container() -> bytes:
    """A small file that inflates to much."""
    schema = {"type": "record", "name": "R", "fields": [{"name": "a", "type": {"type": "array", "items": "int"}}]}
    out = io.BytesIO()
    fastavro.writer(out, fastavro.parse_schema(schema), [{"a": [0] * 900_000}], codec="deflate")
    return out.getvalue()


SLOW: dict[str, tuple[Any, Callable[[], bytes]]] = {
    "integers": ({"type": "array", "items": "int"}, lambda: nulls(900_000)),
    "arrays": (ARRAY_OF_ARRAYS, lambda: nulls(400_000)),
    "a map": (
        {"type": "map", "values": "int"},
        lambda: avro({"type": "map", "values": "int"}, dict.fromkeys(map(hex, range(200_000)), 0)),
    ),
    "a tree": (TREE, lambda: nulls(100_000)),
}
SLOW_JSON = {
    "integers": b"[" + b"0," * 900_000 + b"0]",
    "objects": b'{"a": [' + b"{}," * 300_000 + b"{}]}",
    "names": b"{" + b",".join(b'"%x":0' % number for number in range(300_000)) + b"}",
    "lone surrogates": b'["' + b"\\ud800," * 200_000 + b'"]',
    "an error at the end": b"[" + b"0," * 900_000 + b"x]",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_avro(it: Court, name: str) -> None:
    schema, payload = SLOW[name]
    value = confluent(it.id_of("orders-value", schema), payload())
    (decoded,), turns = decode(it, [record(value)])
    assert decoded.event.rejection is None
    assert len(decoded.body) in (900_000, 400_000, 200_000, 1)
    assert turns >= MIN_TURNS


@pytest.mark.slow
def test_a_small_container_file_that_inflates_to_much(it: Court) -> None:
    value = _container()
    assert len(value) < 10_000
    (decoded,), turns = decode(it, [record(value)])
    assert decoded.body == {"a": [0] * 900_000}
    assert turns >= MIN_TURNS


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW_JSON)
def test_json(it: Court, name: str) -> None:
    (decoded,), turns = decode(it, [record(SLOW_JSON[name])])
    assert decoded.event.unchecked
    assert turns >= MIN_TURNS


@pytest.mark.slow
def test_json_that_is_checked_by_a_schema(it: Court) -> None:
    item = {"type": "record", "name": "Item", "fields": [{"name": "x", "type": ["null", "int"], "default": None}]}
    it.register(
        "orders-value",
        {"type": "record", "name": "R", "fields": [{"name": "a", "type": {"type": "array", "items": item}}]},
    )
    (decoded,), turns = decode(it, [record(b'{"a": [' + b"{}," * 300_000 + b'{"x": "1"}]}')])
    assert decoded.event.rejection is not None
    assert decoded.event.rejection.path == "a[300000].x"
    assert turns >= MIN_TURNS


@pytest.mark.slow
def test_a_flat_entry_whose_fields_are_read_again_and_again(it: Court) -> None:
    fields = [{"name": f"f{number}", "type": {"type": "array", "items": "int"}} for number in range(60)]
    it.register("orders-value", {"type": "record", "name": "R", "fields": fields})
    headers = [(f"f{number}", b"[" + b"0," * 20_000 + b"0]") for number in range(60)]
    (decoded,), turns = decode(it, [record(None, headers, system="redis")])
    assert decoded.event.rejection is None
    assert turns >= MIN_TURNS


def test_a_small_payload_of_a_recursive_schema_is_left_to_a_thread(it: Court) -> None:
    value = confluent(it.id_of("orders-value", TREE), nulls(MAX_WALKED_STEP_BYTES))
    it.one(record(confluent(1, nulls(1))))

    async def run() -> DecodeResult:
        return it.judge.decode_batch([record(value)])

    result = it.run(run())
    assert (result.decoded, result.missing, result.is_large) == ([], None, True)
    assert it.one(record(value)).event.rejection is None
