"""Splitting of a commit in two, to find the one record that a broker refuses."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from sidecar.domain.model import Outgoing, Record
from sidecar.domain.ports.broker import Batch

Commit = tuple[list[Batch], list[Outgoing]]
"""Consecutive batches of one lease, and the records that their commit publishes."""


def count_records(batches: Sequence[Batch]) -> int:
    """Return the number of records in some batches."""
    return sum(len(batch.records) for batch in batches)


def split_commit(batches: Sequence[Batch], outgoing: Sequence[Outgoing]) -> tuple[Commit, Commit]:
    """Split a commit of at least two records into two consecutive parts, each with records."""
    half, first, rest = count_records(batches) // 2, list[Batch](), list(batches)
    while len(rest[0].records) <= half:
        batch = rest.pop(0)
        half -= len(batch.records)
        first.append(batch)
    if half:
        batch = rest[0]
        boundary = batch.records[half].position.offset
        first.append(Batch(batch.lease, batch.records[:half], boundary, batch.gap))
        # The second part keeps what an adapter knows of the batch: its work is done with this part.
        rest[0] = replace(batch, records=batch.records[half:], gap=None)
    offsets = {record.position.offset for batch in first for record in batch.records}
    return (
        (first, [each for each in outgoing if _origin(each) in offsets]),
        (rest, [each for each in outgoing if _origin(each) not in offsets]),
    )


def find_origin(outgoing: Outgoing, batches: Sequence[Batch]) -> Record | None:
    """Return the record from which an outgoing record was made."""
    for batch in batches:
        for record in batch.records:
            if record.position == outgoing.origin:
                return record
    return None


def _origin(outgoing: Outgoing) -> int | None:
    return None if outgoing.origin is None else outgoing.origin.offset
