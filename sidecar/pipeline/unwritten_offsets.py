"""Offsets of the leased partitions that are in no file of the history yet, and the marks that state the first of them.

A mark is stored with each commit (`Lease.history_mark`), so that it survives this process: its successor fills what
lies between the mark and the committed offset, even if no file was ever written.

Where members of a group share a partition, a range with a member's name has only the records that this member was
given. The range that a lease begins with has those of every member, and only a scan of all records takes it away.
"""

from __future__ import annotations

from collections.abc import Iterable

from sidecar.domain.offset_ranges import OffsetRange, join_ranges, subtract_ranges
from sidecar.domain.ports.broker import Lease
from sidecar.domain.position import Partition


class UnwrittenOffsets:
    """Keeps the mark of each lease at the first offset that is in no file."""

    def __init__(self) -> None:
        self._leases: dict[Partition, Lease] = {}
        self._ranges: dict[Partition, list[OffsetRange]] = {}
        """Ranges of each partition that are in no file, in order."""
        self._ends: dict[Partition, int] = {}
        """Mark of each partition if all of it is in files."""

    def begin(self, lease: Lease) -> None:
        """Begin a lease: what earlier owners committed after their mark may be in no file."""
        partition, end = lease.partition, max(lease.start, lease.delivered)
        inherited = end if lease.history_mark is None else min(lease.history_mark, end)
        self._leases[partition] = lease
        self._ends[partition] = end
        self._ranges[partition] = join_ranges([OffsetRange(partition, lease.incarnation, inherited, end)])
        self._mark(partition)

    def add(self, offsets: OffsetRange) -> None:
        """Note a range that is on its way to a file."""
        partition = offsets.partition
        if partition not in self._leases:
            return
        ranges = self._ranges[partition]
        last = ranges[-1] if ranges else None
        if last is not None and last.log == offsets.log and last.start <= offsets.start <= last.end:
            end = max(last.end, offsets.end)
            ranges[-1] = OffsetRange(partition, offsets.incarnation, last.start, end, offsets.member)
        else:
            # Offsets of a stream that was deleted and created again have nothing in common with earlier ones.
            same = [each for each in ranges if each.incarnation == offsets.incarnation]
            self._ranges[partition] = join_ranges([*same, offsets])
            if len(same) < len(ranges):
                self._ends[partition] = offsets.start
        self._ends[partition] = max(self._ends[partition], offsets.end)
        self._mark(partition)

    def remove(self, written: Iterable[OffsetRange]) -> None:
        """Note ranges that are in files, or that the broker no longer has."""
        by_partition: dict[Partition, list[OffsetRange]] = {}
        for each in written:
            if each.partition in self._leases:
                by_partition.setdefault(each.partition, []).append(each)
        for partition, ranges in by_partition.items():
            self._ranges[partition] = subtract_ranges(self._ranges[partition], ranges)
            self._mark(partition)

    def _mark(self, partition: Partition) -> None:
        ranges = self._ranges[partition]
        self._leases[partition].history_mark = min((each.start for each in ranges), default=self._ends[partition])
