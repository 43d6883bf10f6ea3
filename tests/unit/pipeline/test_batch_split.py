"""A commit is split in two parts that together equal the whole."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sidecar.domain.model import Outgoing, Record
from sidecar.domain.ports.broker import Batch, Lease
from sidecar.domain.position import Partition
from sidecar.pipeline.batch_split import count_records, split_commit

PARTITION = Partition("memory", "orders", 0)


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=6).filter(lambda sizes: sum(sizes) > 1),
    st.sets(st.integers(0, 30)),
    st.booleans(),
)
def test_the_parts_have_every_record_once_and_in_order(sizes: list[int], rejected: set[int], dropped: bool) -> None:
    lease, offset, batches, all_records = Lease(PARTITION, 0), 0, [], list[Record]()
    for size in sizes:
        records = [Record(PARTITION.at(offset + number), None, b"x", (), 0) for number in range(size)]
        offset += size
        all_records += records
        batch = Batch(lease, records, offset + 10)  # control records follow the last one
        batches.append(batch.without_records() if dropped else batch)
        offset += 10
    outgoing = [
        Outgoing("orders.dlt", None, b"x", (), origin=record.position)
        for number, record in enumerate(all_records)
        if number in rejected
    ]
    (first, early), (second, late) = split_commit(batches, outgoing)
    offsets = [record.position.offset for record in all_records]
    assert [offset for batch in (*first, *second) for offset in batch.offsets] == offsets
    assert min(count_records(first), count_records(second)) >= len(all_records) // 2
    assert early + late == outgoing
    for part, published in ((first, early), (second, late)):
        assert {each.origin.offset for each in published if each.origin} <= {n for batch in part for n in batch.offsets}
    assert first[-1].next_offset <= next(batch for batch in second if batch.offsets).offsets[0]
    assert second[-1].next_offset == batches[-1].next_offset


def test_a_batch_without_records_has_the_offsets_of_those_that_it_had() -> None:
    records = [Record(PARTITION.at(offset), None, b"x", (), 0) for offset in (3, 4, 7)]
    batch = Batch(Lease(PARTITION, 0), records, 9)
    emptied = batch.without_records()
    assert (list(batch.offsets), list(emptied.offsets), emptied.records) == ([3, 4, 7], [3, 4, 7], ())
    assert list(Batch(Lease(PARTITION, 0), records[:2], 5).without_records().offsets) == [3, 4]
