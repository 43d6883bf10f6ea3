"""Hostile records block neither the event loop nor memory."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from collections.abc import Iterator

import pytest

from sidecar.domain.model import Record
from sidecar.runtime.gc_tuning import tune_gc
from tests.support.decoding import ORDER_CREATED, Court, avro, confluent, court, order, record
from tests.support.hostile import CHECKED_SCHEMA, CHECKED_STREAM, FREE_STREAM, HostileRecord, hostile_records
from tests.support.loop_steps import watch_steps

MAX_STEP_S = 0.05
"""Maximum processor time of one step. The limit is about 10 ms; slow machines need longer."""
MEBIBYTE = 1 << 20
INPUTS = {hostile.name: hostile for hostile in hostile_records(MEBIBYTE)}


@pytest.fixture(scope="module")
def it() -> Iterator[Court]:
    before = gc.get_threshold()
    tune_gc()  # as a sidecar does: the objects of other tests are not collected again and again
    try:
        with court() as made:
            made.register(f"{CHECKED_STREAM}-value", CHECKED_SCHEMA)
            yield made
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)


def records(it: Court, hostile: HostileRecord) -> list[Record]:
    """Build the record on the streams where it costs most."""
    system = "kafka" if hostile.value is not None else "redis"
    if hostile.schema is not None:
        id = it.id_of(f"{hostile.stream}-value", hostile.schema)
        return [record(hostile.framed(id), stream=hostile.stream)]
    return [record(hostile.value, hostile.headers, stream=s, system=system) for s in (FREE_STREAM, CHECKED_STREAM)]


@pytest.mark.slow
@pytest.mark.parametrize("name", INPUTS)
def test_no_record_keeps_the_event_loop(it: Court, name: str) -> None:
    for hostile in records(it, INPUTS[name]):
        it.one(record({"a": [1]}, stream=hostile.position.stream))
        with watch_steps() as steps:
            it.one(hostile)
        assert steps.longest_s < MAX_STEP_S, steps.longest


@pytest.mark.parametrize("name", INPUTS)
def test_a_small_part_of_it_is_no_longer_step_than_the_whole(it: Court, name: str) -> None:
    """Records that are just small enough to be decoded in the event loop."""
    small = next(hostile for hostile in hostile_records(30 << 10) if hostile.name == name)
    for hostile in records(it, small):
        it.one(record({"a": [1]}, stream=hostile.position.stream))
        with watch_steps() as steps:
            it.one(hostile)
        assert steps.longest_s < MAX_STEP_S, steps.longest


MEASURE = """
import resource, sys
from tests.support.decoding import court, record
from tests.support.hostile import CHECKED_SCHEMA, CHECKED_STREAM

value = {value}
with court() as it:
    it.register(CHECKED_STREAM + "-value", CHECKED_SCHEMA)
    it.one(record({{"a": []}}, stream=CHECKED_STREAM))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async def decode(stream):
        decoded, = await it.judge.decode_with_schemas([record(value, stream=stream)])
        return decoded.event.rejection and decoded.event.rejection.code
    print(it.run(decode("free")), it.run(decode(CHECKED_STREAM)))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
"""Runs in a process of its own, because the peak of memory counts from the start of a process."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (r"""b'{"a":[%b]}' % b",".join([b"[]"] * 5_000_000)""", "decode.limit"),
        (r"""b'{"schema":null,"payload":"{\\"a\\":[%b]}"}' % b",".join([b"[]"] * 5_000_000)""", "schema.mismatch"),
        (r"""b"Obj\1" + b"\2" * (15 << 20)""", "decode.malformed"),
    ],
    ids=["lists", "lists in text", "container file"],
)
def test_bytes_that_compress_well_do_not_become_many_values(value: str, expected: str) -> None:
    """Some kilobytes in the broker inflate to 15 MB; as values they would need half a gigabyte."""
    command = [sys.executable, "-c", MEASURE.format(value=value)]
    codes, kibibytes = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert codes == f"None {expected}"
    assert int(kibibytes) < 120 << 10


def test_json_texts_with_many_commas_are_no_many_values(it: Court) -> None:
    body = {"a": [1], "table": "x,y,[z],{}\\\n" * 300_000}
    assert it.one(record(body, stream=CHECKED_STREAM)).body == body


def test_a_number_that_no_float_holds_is_json(it: Court) -> None:
    decoded = it.one(record(b'{"a":[1],"total":1e400,"eventId":"e"}', stream=CHECKED_STREAM))
    assert decoded.event.rejection is None
    assert repr(decoded.body["total"]) == "1e400"


@pytest.mark.parametrize("size", [20 << 10, 200 << 10])
def test_large_and_small_records_keep_their_order(it: Court, size: int) -> None:
    batch = [
        record({"eventId": str(number), "text": "x" * (size if number % 3 == 0 else 10)}, offset=number)
        for number in range(30)
    ]
    decoded = it.all(batch)
    assert [each.event.event_id for each in decoded] == [str(number) for number in range(30)]
    assert [each.record for each in decoded] == batch


@pytest.mark.parametrize("stream", [FREE_STREAM, CHECKED_STREAM])
def test_a_large_record_is_decoded_as_a_small_one_is(it: Court, stream: str) -> None:
    small = it.one(
        record({"a": [1], "eventId": "e"}, {"traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01"}, stream=stream)
    )
    large = it.one(
        record(
            {"a": [1], "eventId": "e", "more": "x" * 100_000},
            {"traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01"},
            stream=stream,
        )
    )
    for field in ("event_id", "trace_id", "span_id", "schema", "unchecked", "rejection", "type"):
        assert getattr(small.event, field) == getattr(large.event, field), field


def test_a_slow_record_is_rejected_and_no_outage() -> None:
    """Late answers of the registry are used, also if other events used them first."""
    late = iter(range(0, 1_000_000, 40))
    with court(clock=lambda: float(next(late))) as it:
        it.register(f"{CHECKED_STREAM}-value", CHECKED_SCHEMA)
        decoded = it.one(record({"a": ["no number"]}, stream=CHECKED_STREAM))
        assert decoded.event.rejection is not None
        assert decoded.event.rejection.code == "schema.mismatch"
        unknown = it.one(record(b"\0\0\0\1\1{}", stream=CHECKED_STREAM))
        assert unknown.event.rejection is not None
        assert unknown.event.rejection.code == "schema.unknown_id"


class Batch(list[Record]):
    """A batch to which a weak reference is possible."""


BROKEN = {
    "cut": lambda valid: valid[:-9],
    "longer": lambda valid: valid + b"\0",
    "not UTF-8": lambda valid: valid.replace(b"event-1", b"event\xff1"),
    "another value": lambda valid: b'{"eventId": "e", "data": []}',
    "not JSON": lambda valid: b'{"eventId": ',
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_rejected_record_does_not_keep_its_batch_in_memory(fault: str) -> None:
    """As an exception in a variable of a frame of its own traceback would, until garbage is collected."""
    with court() as it:
        id = it.id_of("orders-value", ORDER_CREATED)
        batch = Batch([record(BROKEN[fault](confluent(id, avro(ORDER_CREATED, order()))))])
        it.all(batch)  # schemas are fetched
        gone = weakref.ref(batch)
        gc.disable()
        try:
            decoded = it.judge.decode_batch(batch).decoded
            assert decoded[0].event.rejection is not None
            del batch, decoded
            assert gone() is None
        finally:
            gc.enable()
