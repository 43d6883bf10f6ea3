"""Ranges of offsets: the read parts of a partition, and the missing parts in between."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate, groupby
from typing import Generic, TypeVar

from msgspec import Struct

from sidecar.domain.position import Partition

_V = TypeVar("_V")


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
    member: str | None = None
    """The sidecar that read the range, where members of a group share a partition: the range has the records that this
    member was given. None: it has every record."""

    @property
    def log(self) -> tuple[Partition, str, str]:
        """Partition, incarnation and member, as a sort key."""
        return self.partition, self.incarnation or "", self.member or ""


def _order(offsets: OffsetRange) -> tuple[tuple[Partition, str, str], int]:
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
                joined[-1] = OffsetRange(last.partition, last.incarnation, last.start, each.end, last.member)
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
            yield OffsetRange(whole.partition, whole.incarnation, start, each.start, whole.member)
        start = each.end
    if start < whole.end:
        yield OffsetRange(whole.partition, whole.incarnation, start, whole.end, whole.member)


class RangeIndex(Generic[_V]):
    """Values by the ranges of offsets that they belong to."""

    def __init__(self, entries: Iterable[tuple[OffsetRange, _V]]) -> None:
        by_partition: dict[Partition, list[tuple[OffsetRange, _V]]] = {}
        for offsets, value in entries:
            by_partition.setdefault(offsets.partition, []).append((offsets, value))
        self._partitions: dict[Partition, _SortedRanges[_V]] = {
            partition: _SortedRanges(ranges) for partition, ranges in by_partition.items()
        }

    def find(self, partition: Partition, offset: int) -> list[tuple[OffsetRange, _V]]:
        """Return the ranges that hold an offset, of every incarnation, with their values."""
        ranges = self._partitions.get(partition)
        return [] if ranges is None else ranges.find(offset)


class _SortedRanges(Generic[_V]):
    """Ranges of one partition by their start, with the largest end up to each."""

    def __init__(self, entries: list[tuple[OffsetRange, _V]]) -> None:
        self._entries = sorted(entries, key=lambda entry: entry[0].start)
        self._starts = [offsets.start for offsets, _ in self._entries]
        self._ends = list(accumulate((offsets.end for offsets, _ in self._entries), max))

    def find(self, offset: int) -> list[tuple[OffsetRange, _V]]:
        entries = []
        place = bisect_right(self._starts, offset) - 1
        while place >= 0 and self._ends[place] > offset:
            if self._entries[place][0].end > offset:
                entries.append(self._entries[place])
            place -= 1
        return entries
