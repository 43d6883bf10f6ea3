"""Log that memory brokers share: streams with partitions, and consumer groups with their members and offsets."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol
from zlib import crc32

from sidecar.adapters.brokers.memory.traits import MEMORY_TRAITS
from sidecar.domain.broker_traits import BrokerTraits
from sidecar.domain.errors import Refused, TooLarge
from sidecar.domain.model import Outgoing, Record
from sidecar.domain.ports.broker import Gap, Retention
from sidecar.domain.position import Partition, Position


class GroupMember(Protocol):
    """A broker in a consumer group, as the log sees it."""

    def set_assignment(self, partitions: list[Partition]) -> None:
        """Own exactly these partitions from now on; others are lost."""

    def wake(self) -> None:
        """Look for records again."""

    def wants(self, stream: str) -> bool: ...


class MemoryPartition:
    """One ordered log with retention."""

    __slots__ = ("first", "records")

    def __init__(self) -> None:
        self.first = 0
        """Offset of the oldest record that retention has kept."""
        self.records: list[Record] = []

    @property
    def end(self) -> int:
        return self.first + len(self.records)

    def trim(self, before: int) -> None:
        """Delete the records before this offset."""
        gone = min(max(before - self.first, 0), len(self.records))
        del self.records[:gone]
        self.first += gone

    def slice(self, start: int, count: int) -> list[Record]:
        at = max(start - self.first, 0)
        return self.records[at : at + count]


class MemoryGroup:
    """A consumer group: its members, and its committed offsets."""

    __slots__ = ("committed", "gaps", "history_marks", "members", "owners")

    def __init__(self) -> None:
        self.members: list[GroupMember] = []
        self.committed: dict[Partition, int] = {}
        self.gaps: dict[Partition, Gap] = {}
        """Gaps that the next lease of a partition reports."""
        self.owners: dict[Partition, GroupMember] = {}
        self.history_marks: dict[Partition, int] = {}


class MemoryLog:
    """Streams and groups within one event loop.

    Args:
        retain: Number of records that a partition keeps.
        max_bytes: Largest accepted value in bytes; None: no limit.
        clock: Returns milliseconds since 1970.
        traits: Scheme and offset format of the positions.
    """

    def __init__(
        self,
        *,
        retain: int = 1_000_000,
        max_bytes: int | None = None,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        traits: BrokerTraits = MEMORY_TRAITS,
    ) -> None:
        self.retain, self.max_bytes, self.clock, self.traits = retain, max_bytes, clock, traits
        self.streams: dict[str, list[MemoryPartition]] = {}
        self.incarnations: dict[str, int] = {}
        """Number of times that each stream was created again."""
        self.groups: dict[str, MemoryGroup] = {}
        self.ledger: dict[tuple[str | None, str], bytes] = {}
        """Ledger entries by stream and key."""
        self.ledger_started_at: dict[str | None, int] = {}
        """Time of the first ledger entry of each stream, milliseconds."""
        self.retention = Retention(None, True)
        """Retention of every stream."""

    def create(self, stream: str, partitions: int = 1) -> None:
        """Create a stream unless it exists."""
        if stream not in self.streams:
            self.streams[stream] = [MemoryPartition() for _ in range(partitions)]
            self._rebalance_all()

    def recreate(self, stream: str) -> None:
        """Delete a stream and create it again, empty."""
        partitions = self.partitions(stream)
        self.streams[stream] = [MemoryPartition() for _ in partitions]
        self.incarnations[stream] = self.incarnations.get(stream, 0) + 1
        for group in self.groups.values():
            for partition in partitions:
                committed = group.committed.pop(partition, None)
                group.history_marks.pop(partition, None)
                if committed is not None:
                    reason = f"{stream} was deleted and created again"
                    group.gaps[partition] = Gap(partition, committed, 0, reason, recreated=True)
            for member in group.members:
                owned = [p for p, owner in group.owners.items() if owner is member and p not in partitions]
                member.set_assignment(owned)
        self._rebalance_all()

    def partition(self, partition: Partition) -> MemoryPartition | None:
        logs = self.streams.get(partition.stream, [])
        return (
            logs[partition.number]
            if partition.system == self.traits.scheme and 0 <= partition.number < len(logs)
            else None
        )

    def partitions(self, stream: str) -> list[Partition]:
        return [Partition(self.traits.scheme, stream, number) for number in range(len(self.streams.get(stream, [])))]

    def check(self, outgoing: Outgoing, index: int) -> None:
        """Raise TooLarge if the record exceeds `max_bytes`."""
        if self.max_bytes is not None and outgoing.value is not None and len(outgoing.value) > self.max_bytes:
            raise TooLarge(
                f"{outgoing.stream}: a value of {len(outgoing.value)} bytes; at most {self.max_bytes} are taken", index
            )

    def append(self, outgoing: Outgoing) -> Position:
        """Write one record. A missing stream is created with one partition."""
        self.create(outgoing.stream)
        logs = self.streams[outgoing.stream]
        number = outgoing.partition
        if number is None or not 0 <= number < len(logs):
            number = crc32(outgoing.key) % len(logs) if outgoing.key is not None else 0
        log = logs[number]
        position = Position(self.traits.scheme, outgoing.stream, number, log.end)
        timestamp = outgoing.timestamp if outgoing.timestamp is not None else self.clock()
        log.records.append(Record(position, outgoing.key, outgoing.value, outgoing.headers, timestamp))
        if len(log.records) > self.retain:
            log.trim(log.end - self.retain)
        self._wake()
        return position

    def trim(self, partition: Partition, before: int) -> None:
        """Delete the records before this offset, as retention does."""
        log = self.partition(partition)
        if log is None:
            raise Refused(f"{partition}: there is no such partition")
        log.trim(before)

    # --- groups

    def join(self, name: str, member: GroupMember) -> MemoryGroup:
        group = self.groups.setdefault(name, MemoryGroup())
        group.members.append(member)
        self._rebalance(group)
        return group

    def leave(self, name: str, member: GroupMember) -> None:
        group = self.groups.get(name)
        if group is not None and member in group.members:
            group.members.remove(member)
            self._rebalance(group)

    def _rebalance_all(self) -> None:
        for group in self.groups.values():
            self._rebalance(group)

    def _rebalance(self, group: MemoryGroup) -> None:
        """Distribute the partitions evenly. A member keeps its partitions up to a fair share."""
        shares: dict[int, list[Partition]] = {id(member): [] for member in group.members}
        wanted = [
            (partition, [member for member in group.members if member.wants(stream)])
            for stream in sorted(self.streams)
            for partition in self.partitions(stream)
        ]
        fair = -(-sum(bool(takers) for _, takers in wanted) // max(len(group.members), 1))
        owners: dict[Partition, GroupMember] = {}
        for keep in (True, False):
            for partition, takers in wanted:
                if not takers or partition in owners:
                    continue
                owner = group.owners.get(partition) if keep else min(takers, key=lambda member: len(shares[id(member)]))
                if owner is None or owner not in takers or (keep and len(shares[id(owner)]) >= fair):
                    continue
                owners[partition] = owner
                shares[id(owner)].append(partition)
        group.owners = owners
        for member in list(group.members):
            member.set_assignment(shares[id(member)])

    def _wake(self) -> None:
        for group in self.groups.values():
            for member in group.members:
                member.wake()
