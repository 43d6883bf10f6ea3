"""Decoding of fetched bytes to records: every bit, without aborted transactions, and also for random bytes."""

from __future__ import annotations

import gc
import random
import time
import tracemalloc
import zlib
from collections.abc import Callable, Sequence

import cramjam
import pytest
from aiokafka.codec import lz4_encode, snappy_encode, zstd_encode
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.adapters.brokers.kafka import record_format_v2
from sidecar.adapters.brokers.kafka.decompression import DamagedBatch, decompress, open_stream
from sidecar.adapters.brokers.kafka.record_batch import assign_partitions, build_batch
from sidecar.adapters.brokers.kafka.record_decoder import FetchedChunk, end_offset
from sidecar.domain.errors import TooLarge
from sidecar.domain.model import Outgoing, Record, Rejection
from sidecar.domain.position import Partition

LOG = Partition("kafka", "orders", 0)
VALUE = b"v" * 100


def _batch(base: int, count: int, *, codec: int = 0, producer: int = -1, control: bytes | None = None) -> bytes:
    """Encode a batch as the log stores it."""
    transactional = int(producer >= 0)
    builder = DefaultRecordBatchBuilder(2, codec, transactional, producer, 0, 0, 1 << 20)
    for n in range(count):
        builder.append(n, 1_000 + n, control or b"k", VALUE, [("h", b"1"), ("h", None)])
    raw = bytearray(builder.build())
    raw[:8] = base.to_bytes(8, "big")
    if control is not None:
        raw[22] |= 0x20
    return bytes(raw)


def _all(chunk: FetchedChunk, most: int = 7) -> list[Record]:
    found: list[Record] = []
    while not chunk.done:
        records = chunk.take(most)
        assert len(records) <= most
        found += records
    return found


def _offsets(records: Sequence[Record]) -> list[int]:
    return [record.position.offset for record in records]


@pytest.mark.parametrize("codec", range(5))
def test_records_of_all_codecs(codec: int):
    raw = b"".join(_batch(base, 10, codec=codec) for base in (0, 10, 25))
    chunk = FetchedChunk(LOG, raw, 3, None, check=True)
    records = _all(chunk)
    assert _offsets(records) == [*range(3, 20), *range(25, 35)]
    assert records[0] == Record(LOG.at(3), b"k", VALUE, (("h", b"1"), ("h", None)), 1_003)
    assert chunk.next_offset == 35
    assert end_offset(raw, 3) == 35


def test_a_batch_that_was_cut_off_is_left_for_the_next_fetch():
    raw = _batch(0, 5) + _batch(5, 5)[:-1]
    chunk = FetchedChunk(LOG, raw, 0, None, check=True)
    assert _offsets(_all(chunk)) == [*range(5)]
    assert chunk.next_offset == end_offset(raw, 0) == 5
    assert end_offset(raw[:40], 3) == 3
    assert _all(FetchedChunk(LOG, raw[:40], 3, None, check=True)) == []


def test_aborted_transactions_and_control_records_are_skipped():
    commit, abort = b"\x00\x00\x00\x01", b"\x00\x00\x00\x00"
    raw = b"".join(
        (
            _batch(0, 2, producer=1),
            _batch(2, 2, producer=2),
            _batch(4, 1),
            _batch(5, 1, producer=1, control=abort),
            _batch(6, 2, producer=1),
            _batch(8, 1, producer=2, control=commit),
            _batch(9, 1, producer=1, control=commit),
        )
    )
    chunk = FetchedChunk(LOG, raw, 0, [(1, 0)], check=False)
    assert _offsets(_all(chunk, most=100)) == [2, 3, 4, 6, 7]
    assert chunk.next_offset == 10, "what is no record is committed past, too"


def test_header_names_that_are_no_text_are_kept():
    raw = bytearray(_batch(0, 3))
    chunk = FetchedChunk(LOG, bytes(raw.replace(b"\x02h\x02", b"\x02\xff\x02")), 1, None, check=False)
    records = _all(chunk)
    assert _offsets(records) == [1, 2]
    assert records[0].headers[0] == ("\udcff", b"1")
    out = Outgoing("orders", None, b"v", records[0].headers, timestamp=5)
    packed, _ = build_batch([(0, out)], 1000, 0, -1, -1, 0, False)
    assert _all(FetchedChunk(LOG, packed, 0, None, check=True))[0].headers == records[0].headers


def test_damaged_bytes_are_rejected_records_and_their_neighbors_pass():
    good, bad = _batch(0, 5), bytearray(_batch(5, 5))
    bad[80] ^= 0xFF
    chunk = FetchedChunk(LOG, good + bytes(bad) + _batch(10, 5), 0, None, check=True)
    records = _all(chunk, most=100)
    assert _offsets(records) == [*range(15)]
    assert [record.defect is not None for record in records] == [False] * 5 + [True] * 5 + [False] * 5
    assert records[5].defect == Rejection("decode.malformed", "unreadable record batch: its checksum is wrong")
    assert records[5].value is None
    assert chunk.next_offset == 15


@example(b"\x00", 16, False)  # as if it were of format 0
@example(b"\x01", 16, True)
@given(st.binary(max_size=300), st.integers(0, 400), st.booleans())
def test_no_bytes_crash_or_stall(noise: bytes, at: int, check: bool):
    raw = bytearray(_batch(0, 3) + _batch(3, 3, codec=4))
    raw[at : at + len(noise)] = noise
    chunk = FetchedChunk(LOG, bytes(raw), 0, None, check)
    end_offset(bytes(raw), 0)
    for _ in range(100_000):
        chunk.take(2)
        if chunk.done:
            return
    pytest.fail("the chunk does not end")


ENCODERS: dict[int, Callable[[bytes], bytes]] = {
    1: lambda data: _gzip(data),
    2: snappy_encode,
    3: lz4_encode,
    4: zstd_encode,
}


@pytest.mark.parametrize("codec", ENCODERS)
def test_bombs_are_read_in_parts(codec: int):
    encode = ENCODERS[codec]
    assert decompress(codec, encode(b"x" * 1000), limit=1000) == b"x" * 1000
    assert decompress(codec, encode(b"x" * 1001), limit=1000) is None
    stream, total = open_stream(codec, encode(b"x" * 10_000_000)), 0
    while part := stream.read(1 << 16):
        assert len(part) <= 1 << 16
        total += len(part)
    assert total == 10_000_000
    with pytest.raises(DamagedBatch):
        open_stream(codec, b"no such thing at all").read(100)


def test_snappy_without_javas_framing():
    assert decompress(2, bytes(cramjam.snappy.compress_raw(b"abc" * 100))) == b"abc" * 100


def test_unknown_codecs():
    with pytest.raises(DamagedBatch, match="codec 7"):
        decompress(7, b"")


def _compressed(codec: int, records: Sequence[tuple[bytes | None, list[tuple[str, bytes | None]]]]) -> bytes:
    """Encode these values and headers as one compressed batch."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, 0, 0, 1 << 30)
    for number, (value, headers) in enumerate(records):
        builder.append(number, 1_000 + number, b"key", value, headers)
    raw = bytes(builder.build())
    packed = bytearray(raw[:61] + ENCODERS[codec](raw[61:]))
    packed[8:12] = (len(packed) - 12).to_bytes(4, "big")
    packed[22] |= codec
    return bytes(packed)


def _steps(chunk: FetchedChunk) -> tuple[list[Record], float]:
    """Decode everything. Returns the records, and the processor time of the longest step in seconds.

    What earlier tests left in memory is kept from the garbage collector, whose passes would count as ours.
    """
    records, longest = [], 0.0
    gc.collect()
    gc.freeze()
    try:
        while not chunk.done:
            begun = time.thread_time()
            records += chunk.take(500)
            longest = max(longest, time.thread_time() - begun)
    finally:
        gc.unfreeze()
    return records, longest


@pytest.mark.parametrize("codec", ENCODERS)
def test_a_record_that_inflates_to_much_is_rejected_and_its_neighbors_pass(codec: int):
    good: tuple[bytes | None, list[tuple[str, bytes | None]]] = (b"good", [("h", b"1")])
    raw = _compressed(codec, [good, (bytes(70 << 20), []), good, good])
    records, longest = _steps(FetchedChunk(LOG, raw, 0, None, check=False))
    assert _offsets(records) == [0, 1, 2, 3]
    assert [record.value for record in records] == [b"good", None, b"good", b"good"]
    assert [record.key for record in records] == [b"key"] * 4
    assert [record.timestamp for record in records] == [1_000, 1_001, 1_002, 1_003]
    assert records[1].defect is not None
    assert records[1].defect.code == "decode.limit"
    assert longest < 0.1


def test_a_large_record_within_the_limit_is_read():
    raw = _compressed(4, [(b"a", []), (b"x" * (30 << 20), [("h", None)]), (b"b", [])])
    records, longest = _steps(FetchedChunk(LOG, raw, 0, None, check=False))
    assert [record.value and len(record.value) for record in records] == [1, 30 << 20, 1]
    assert records[1].headers == (("h", None),)
    assert longest < 0.2


def test_headers_are_counted_before_they_become_objects():
    raw = _compressed(
        4, [(b"good", []), (b"bad", [("", None)] * 2_000_000), (b"good", []), (b"bad", [("", None)] * 10_001)]
    )
    tracemalloc.start()
    records, longest = _steps(FetchedChunk(LOG, raw, 0, None, check=False))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [record.value for record in records] == [b"good", None, b"good", None]
    assert records[1].defect == Rejection("decode.limit", "a record with 2000000 headers; at most 10000 are read")
    assert [record.headers for record in records] == [(), (), (), ()]
    assert longest < 0.1
    assert peak < 40 << 20


def test_many_headers_are_read_in_steps():
    raw = _compressed(4, [(b"v", [("h", b"1")] * 9_000)] * 40)
    records, longest = _steps(FetchedChunk(LOG, raw, 0, None, check=False))
    assert [len(record.headers) for record in records] == [9_000] * 40
    assert longest < 0.1


def test_a_batch_that_inflates_beyond_all_bounds_is_rejected_from_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(record_format_v2, "MAX_INFLATED_BYTES", 100 << 20)
    raw = _compressed(4, [(b"a", []), (bytes(70 << 20), []), (bytes(70 << 20), []), (b"b", [])])
    records, _ = _steps(FetchedChunk(LOG, raw, 0, None, check=False))
    assert _offsets(records) == [0, 1, 2, 3]
    assert [record.defect and record.defect.code for record in records] == [None, *["decode.limit"] * 3]


def test_a_batch_that_ends_within_a_record_rejects_the_rest():
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, 0, 0, 1 << 30)
    for number in range(4):
        builder.append(number, 1_000, b"key", b"value", [])
    raw = bytearray(builder.build())
    raw[-1] = 0x7E
    records, _ = _steps(FetchedChunk(LOG, bytes(raw), 0, None, check=False))
    assert _offsets(records) == [0, 1, 2, 3]
    assert [record.defect is None for record in records] == [True, True, True, False]


def _gzip(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=31)
    return stream.compress(data) + stream.flush()


def test_partitions_of_published_records():
    keyed = Outgoing("orders", b"21", b"", (), partition=None)
    asked = Outgoing("orders", b"21", b"", (), partition=1)
    too_high = Outgoing("orders", b"21", b"", (), partition=9_999)
    nowhere = Outgoing("orders", None, b"", ())
    found = assign_partitions([keyed, asked, too_high, *[nowhere] * 50], {"orders": 1000})
    where = {index: tp.partition for tp, records in found.items() for index, _ in records}
    # Java's producer computes toPositive(murmur2("21")) % 1000.
    assert where[0] == where[2] == (-973932308 & 0x7FFFFFFF) % 1000
    assert where[1] == 1
    assert len({where[n] for n in range(3, 53)}) > 1


def test_a_record_beyond_every_brokers_limit_is_too_large():
    with pytest.raises(TooLarge) as caught:
        assign_partitions([Outgoing("a", None, b"", ()), Outgoing("a", None, bytes(65 << 20), ())], {"a": 1})
    assert caught.value.index == 1


def test_batches_are_filled_up_to_their_bound():
    records = list(enumerate(Outgoing("a", None, random.randbytes(1000), ()) for _ in range(10)))
    raw, count = build_batch(records, 5_000, 0, 1, 2, 3, True)
    assert 3 <= count <= 5
    assert len(raw) <= 5_000
    raw, count = build_batch(records, 10, 0, 1, 2, 3, True)
    assert count == 1, "one always goes"
