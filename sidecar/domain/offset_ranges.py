"""Ranges of offsets: the read parts of a partition, and the missing parts in between."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from msgspec import Struct

from sidecar.domain.position import Partition


class OffsetRange(Struct, frozen=True):
    """Consecutive offsets of one partition, in one incarnation of its stream."""

    partition: Partition
    incarnation: str | None
    """Identity of the stream; None if its broker gives none. A stream that is deleted and created again has another
    one."""
    start: int
    """First offset."""
    end: int
    """Offset after the last one."""

    @property
    def log(self) -> tuple[Partition, str]:
        """Partition and incarnation, as a sort key."""
        return self.partition, self.incarnation or ""


def _order(offsets: OffsetRange) -> tuple[tuple[Partition, str], int]:
    return offsets.log, offsets.start


def join_ranges(ranges: Iterable[OffsetRange]) -> list[OffsetRange]:
    """Join ranges that touch or overlap, in order. Empty ranges are left out."""
    joined: list[OffsetRange] = []
    for each in sorted(ranges, key=_order):
        if each.start >= each.end:
            continue
        last = joined[-1] if joined else None
        if last is not None and last.log == each.log and each.start <= last.end:
            if each.end > last.end:
                joined[-1] = OffsetRange(last.partition, last.incarnation, last.start, each.end)
        else:
            joined.append(each)
    return joined


def subtract_ranges(ranges: Iterable[OffsetRange], taken: Iterable[OffsetRange]) -> list[OffsetRange]:
    """Return the parts of `ranges` that no range of `taken` covers, joined and in order."""
    by_log = {log: list(group) for log, group in groupby(join_ranges(taken), key=lambda each: each.log)}
    return [part for each in join_ranges(ranges) for part in _parts_outside(each, by_log.get(each.log, []))]


def _parts_outside(whole: OffsetRange, taken: Iterable[OffsetRange]) -> Iterator[OffsetRange]:
    start = whole.start
    for each in taken:
        if each.end <= start:
            continue
        if each.start >= whole.end:
            break
        if each.start > start:
            yield OffsetRange(whole.partition, whole.incarnation, start, each.start)
        start = each.end
    if start < whole.end:
        yield OffsetRange(whole.partition, whole.incarnation, start, whole.end)
