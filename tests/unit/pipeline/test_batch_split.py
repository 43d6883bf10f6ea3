"""A commit is split in two parts that together equal the whole."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sidecar.domain.model import Outgoing, Record
from sidecar.domain.ports.broker import Batch, Lease
from sidecar.domain.position import Partition
from sidecar.pipeline.batch_split import count_records, find_origin, split_commit

PARTITION = Partition("memory", "orders", 0)


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=6).filter(lambda sizes: sum(sizes) > 1),
    st.sets(st.integers(0, 30)),
)
def test_the_parts_have_every_record_once_and_in_order(sizes: list[int], rejected: set[int]) -> None:
    lease, offset, batches = Lease(PARTITION, 0), 0, []
    for size in sizes:
        records = [Record(PARTITION.at(offset + number), None, b"x", (), 0) for number in range(size)]
        offset += size
        batches.append(Batch(lease, records, offset + 10))  # control records follow the last one
        offset += 10
    records = [record for batch in batches for record in batch.records]
    outgoing = [
        Outgoing("orders.dlt", None, b"x", (), origin=record.position)
        for number, record in enumerate(records)
        if number in rejected
    ]
    (first, early), (second, late) = split_commit(batches, outgoing)
    assert [record for batch in (*first, *second) for record in batch.records] == records
    assert min(count_records(first), count_records(second)) >= len(records) // 2
    assert early + late == outgoing
    assert all(find_origin(each, first) is not None for each in early)
    assert all(find_origin(each, second) is not None for each in late)
    assert first[-1].next_offset <= next(batch for batch in second if batch.records).records[0].position.offset
    assert second[-1].next_offset == batches[-1].next_offset
