"""Splitting of a commit in two, to find the one record that a broker refuses."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from sidecar.domain.model import Outgoing
from sidecar.domain.ports.broker import Batch

Commit = tuple[list[Batch], list[Outgoing]]
"""Consecutive batches of one lease, and the records that their commit publishes."""


def count_records(batches: Sequence[Batch]) -> int:
    """Return the number of records in some batches."""
    return sum(len(batch.offsets) for batch in batches)


def split_commit(batches: Sequence[Batch], outgoing: Sequence[Outgoing]) -> tuple[Commit, Commit]:
    """Split a commit of at least two records into two consecutive parts, each with records."""
    half, first, rest = count_records(batches) // 2, list[Batch](), list(batches)
    while len(rest[0].offsets) <= half:
        batch = rest.pop(0)
        half -= len(batch.offsets)
        first.append(batch)
    if half:
        batch = rest[0]
        offsets = batch.offsets
        first.append(Batch(batch.lease, (), offsets[half], batch.gap, offsets[:half]))
        # The second part keeps what an adapter knows of the batch: its work is done with this part.
        rest[0] = replace(batch, records=(), gap=None, dropped=offsets[half:])
    early = {offset for batch in first for offset in batch.offsets}
    return (
        (first, [each for each in outgoing if _origin(each) in early]),
        (rest, [each for each in outgoing if _origin(each) not in early]),
    )


def _origin(outgoing: Outgoing) -> int | None:
    return None if outgoing.origin is None else outgoing.origin.offset
