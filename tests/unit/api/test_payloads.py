"""The cache of recent payloads: it returns what it stores, and stays within its bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sidecar.api.services.payloads import PayloadCache
from sidecar.domain.model import Record
from sidecar.domain.position import Partition, Position


def _batch(partition: int, start: int, count: int, size: int = 10) -> list[Record]:
    return [
        Record(Position("kafka", "orders", partition, start + 2 * number), None, b"x" * size, (), 0)
        for number in range(count)
    ]


def test_records_are_found_by_position() -> None:
    cache = PayloadCache()
    for start in (0, 100, 200):
        cache.keep(_batch(0, start, 50))
    cache.keep(_batch(1, 50, 5))
    record = cache.get(Position("kafka", "orders", 0, 102))
    assert record is not None
    assert record.position.offset == 102
    assert cache.get(Position("kafka", "orders", 0, 101)) is None
    assert cache.get(Position("kafka", "orders", 1, 102)) is None
    assert cache.get(Position("kafka", "payments", 0, 102)) is None


def test_a_redelivered_batch_is_found() -> None:
    cache = PayloadCache()
    cache.keep(_batch(0, 100, 50))
    cache.keep(_batch(0, 0, 20))
    cache.keep(_batch(0, 100, 10))
    for offset in (0, 38, 100, 118, 198):
        assert cache.get(Position("kafka", "orders", 0, offset)) is not None


def test_a_partition_that_was_created_again_is_forgotten() -> None:
    cache = PayloadCache(most_records=60)
    for partition in (0, 1, 0):
        cache.keep(_batch(partition, 0, 20))
    cache.discard(Partition("kafka", "orders", 0))
    assert cache.get(Position("kafka", "orders", 0, 2)) is None
    assert cache.get(Position("kafka", "orders", 1, 2)) is not None
    for start in (0, 100, 200):
        cache.keep(_batch(0, start, 20))
    assert cache.get(Position("kafka", "orders", 1, 2)) is None
    assert cache.get(Position("kafka", "orders", 0, 202)) is not None


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 500), st.integers(0, 30), st.integers(0, 2_000))))
def test_the_cache_stays_within_its_bounds(batches: list[tuple[int, int, int, int]]) -> None:
    cache = PayloadCache(most_bytes=10_000, most_records=100)
    for partition, start, count, size in batches:
        cache.keep(_batch(partition, start, count, size))
        held = {id(records): records for starts in cache._starts.values() for _, records in starts}.values()
        assert sum(len(record.value or b"") for records in held for record in records) <= 10_000
        assert sum(map(len, held)) <= 100
        assert sum(map(len, cache._starts.values())) == len(cache._batches)


def test_headers_and_keys_count_too() -> None:
    cache = PayloadCache(most_bytes=1_000_000)
    for start in range(0, 100, 2):
        record = Record(Position("redis", "orders", 0, start), b"k" * 50_000, None, (("field", b"x" * 50_000),), 0)
        cache.keep([record])
    assert len(cache._batches) < 10


def test_nothing_is_kept_when_no_payload_is_asked_for() -> None:
    now = [0.0]
    cache = PayloadCache(clock=lambda: now[0])
    assert not cache.in_use
    cache.get(Position("kafka", "orders", 0, 0))
    assert cache.in_use
    cache.keep(_batch(0, 0, 20))
    now[0] = 59.0
    assert cache.in_use
    now[0] = 61.0
    assert not cache.in_use
    assert not cache._batches
