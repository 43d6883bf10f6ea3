"""The events of the benchmark have their documented size, flows and faults."""

from __future__ import annotations

from io import BytesIO

import fastavro
import pytest

from tests.support.bench_events import SCHEMA, bench_events


def decode(value: bytes) -> tuple[object, bytes]:
    buffer = BytesIO(value[5:])
    return fastavro.schemaless_reader(buffer, fastavro.parse_schema(SCHEMA), None), buffer.read()


def broken(value: bytes) -> bool:
    try:
        return decode(value)[1] != b""
    except EOFError:
        return True


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert bench_events(50, 0.1, seed=7) == bench_events(50, 0.1, seed=7)
    assert bench_events(50, 0.1, seed=7) != bench_events(50, 0.1, seed=8)


def test_five_events_make_a_flow_and_every_event_has_its_own_id() -> None:
    events = bench_events(1003)
    traces = [headers[0][1].split(b"-")[1] for _, _, headers in events]
    assert len(events) == 1003
    assert len(set(traces)) == 201
    assert max(traces.count(trace) for trace in set(traces)) == 5
    assert len({decode(value)[0]["eventId"] for _, value, _ in events}) == 1003  # type: ignore[index]  # a record


def test_an_event_has_about_350_bytes_and_names_its_schema() -> None:
    sizes = [len(value) for _, value, _ in bench_events(200, schema_id=42)]
    assert 320 <= sum(sizes) / len(sizes) <= 380
    assert all(value[:5] == b"\x00\x00\x00\x00\x2a" for _, value, _ in bench_events(20, schema_id=42))


@pytest.mark.parametrize(("ratio", "expected"), [(0.0, 0), (0.01, 10), (0.25, 250)])
def test_as_many_are_broken_as_was_asked_for(ratio: float, expected: int) -> None:
    assert sum(broken(value) for _, value, _ in bench_events(1000, ratio)) == expected
