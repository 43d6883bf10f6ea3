"""From a fetch's bytes to records: bit by bit, without what was aborted, and whatever the bytes are."""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence

import cramjam
import pytest
from aiokafka.codec import lz4_encode, snappy_encode, zstd_encode
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from sidecar.adapters.brokers.kafka import decompression
from sidecar.adapters.brokers.kafka.decompression import DecompressionLimitExceeded, decompress
from sidecar.adapters.brokers.kafka.record_batch import assign_partitions, batch
from sidecar.adapters.brokers.kafka.record_decoder import FetchedChunk, UnreadableRecords, after
from sidecar.domain.errors import TooLarge
from sidecar.domain.model import Outgoing, Record
from sidecar.domain.position import Partition

LOG = Partition("kafka", "orders", 0)
VALUE = b"v" * 100


def _batch(base: int, count: int, *, codec: int = 0, producer: int = -1, control: bytes | None = None) -> bytes:
    """A batch as it stands in the log."""
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
    assert after(raw, 3) == 35


def test_a_batch_that_was_cut_off_is_left_for_the_next_fetch():
    raw = _batch(0, 5) + _batch(5, 5)[:-1]
    chunk = FetchedChunk(LOG, raw, 0, None, check=True)
    assert _offsets(_all(chunk)) == [*range(5)]
    assert chunk.next_offset == after(raw, 0) == 5
    assert after(raw[:40], 3) == 3
    assert _all(FetchedChunk(LOG, raw[:40], 3, None, check=True)) == []


def test_aborted_transactions_and_control_records_are_passed_over():
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
    packed, _ = batch([(0, out)], 1000, 0, -1, -1, 0, False)
    assert _all(FetchedChunk(LOG, packed, 0, None, check=True))[0].headers == records[0].headers


def test_damaged_bytes_are_named_and_passed():
    good, bad = _batch(0, 5), bytearray(_batch(5, 5))
    bad[80] ^= 0xFF
    chunk = FetchedChunk(LOG, good + bytes(bad) + _batch(10, 5), 0, None, check=True)
    assert _offsets(chunk.take(100)) == [*range(5)]
    with pytest.raises(UnreadableRecords, match="kafka://orders/0") as caught:
        chunk.take(100)
    assert caught.value.past == chunk.next_offset == 10
    assert _offsets(chunk.take(100)) == [*range(10, 15)]


@given(st.binary(max_size=300), st.integers(0, 400), st.booleans())
def test_no_bytes_crash_or_stall(noise: bytes, at: int, check: bool):
    raw = bytearray(_batch(0, 3) + _batch(3, 3, codec=4))
    raw[at : at + len(noise)] = noise
    chunk = FetchedChunk(LOG, bytes(raw), 0, None, check)
    after(bytes(raw), 0)
    for _ in range(100):
        try:
            chunk.take(2)
        except UnreadableRecords:
            continue
        if chunk.done:
            return
    pytest.fail("the chunk does not end")


@pytest.mark.parametrize("codec", range(1, 5))
def test_bombs_are_not_inflated(codec: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(decompression, "MAX_BATCH_BYTES", 1 << 20)
    encode = {1: _gzip, 2: snappy_encode, 3: lz4_encode, 4: zstd_encode}[codec]
    assert decompress(codec, encode(b"x" * (1 << 20))) == b"x" * (1 << 20)
    with pytest.raises(DecompressionLimitExceeded):
        decompress(codec, encode(b"x" * ((1 << 20) + 1)))
    with pytest.raises(DecompressionLimitExceeded):
        decompress(codec, b"no such thing at all")


def test_snappy_without_javas_framing():
    assert decompress(2, bytes(cramjam.snappy.compress_raw(b"abc" * 100))) == b"abc" * 100


def test_unknown_codecs():
    with pytest.raises(DecompressionLimitExceeded, match="codec 7"):
        decompress(7, b"")


def _gzip(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=31)
    return stream.compress(data) + stream.flush()


def test_where_records_go():
    keyed = Outgoing("orders", b"21", b"", (), partition=None)
    asked = Outgoing("orders", b"21", b"", (), partition=1)
    too_high = Outgoing("orders", b"21", b"", (), partition=9_999)
    nowhere = Outgoing("orders", None, b"", ())
    found = assign_partitions([keyed, asked, too_high, *[nowhere] * 50], {"orders": 1000})
    where = {index: tp.partition for tp, records in found.items() for index, _ in records}
    # What Java's producer says: toPositive(murmur2("21")) % 1000.
    assert where[0] == where[2] == (-973932308 & 0x7FFFFFFF) % 1000
    assert where[1] == 1
    assert len({where[n] for n in range(3, 53)}) > 1


def test_what_no_broker_takes_is_too_large():
    with pytest.raises(TooLarge) as caught:
        assign_partitions([Outgoing("a", None, b"", ()), Outgoing("a", None, bytes(65 << 20), ())], {"a": 1})
    assert caught.value.index == 1


def test_batches_are_filled_up_to_their_bound():
    records = list(enumerate(Outgoing("a", None, random.randbytes(1000), ()) for _ in range(10)))
    raw, count = batch(records, 5_000, 0, 1, 2, 3, True)
    assert 3 <= count <= 5
    assert len(raw) <= 5_000
    raw, count = batch(records, 10, 0, 1, 2, 3, True)
    assert count == 1, "one always goes"
