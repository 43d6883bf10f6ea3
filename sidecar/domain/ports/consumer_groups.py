"""Progress of consumer groups."""

from __future__ import annotations

from bisect import bisect_left
from operator import attrgetter

from msgspec import Struct

from sidecar.domain.position import Partition

SIDECAR_GROUPS = "tracecar."
"""Prefix of the groups of sidecars, unless the configuration names them differently."""


class Unacknowledged(Struct, frozen=True, gc=False):
    """A pending entry of a Redis group: delivered to a member and not acknowledged."""

    offset: int
    idle_ms: int
    """Time since its last delivery."""
    deliveries: int


class GroupPartition(Struct, frozen=True):
    """Progress of another consumer group on one partition."""

    partition: Partition
    committed: int
    """Offset below which all records are committed. Redis: the oldest pending entry, else the id after the newest
    delivered one."""
    end: int
    """Offset after the last record that the group can read."""
    lag: int | None
    """Number of uncommitted records; None if the server cannot tell. On Kafka it is an upper bound, as in
    `PartitionStatus`."""
    delivered: int | None = None
    """Redis: offset below which all entries were delivered to a member at least once; None if the broker has no
    deliveries."""
    read: int | None = None
    """Number that rises by one with each record that the group reads; None if the server does not count."""
    unacknowledged: tuple[Unacknowledged, ...] = ()
    """The oldest pending entries of a Redis group, by offset."""
    more_unacknowledged: bool = False
    """True if `unacknowledged` may not list all pending entries."""

    def has_consumed(self, offset: int) -> bool | None:
        """Check whether the group has consumed the record at this offset; None if unknown."""
        if offset < self.committed:
            return True
        if self.delivered is None or offset >= self.delivered:
            return False
        at = bisect_left(self.unacknowledged, offset, key=attrgetter("offset"))
        if at < len(self.unacknowledged):
            return self.unacknowledged[at].offset != offset
        return None if self.more_unacknowledged else True


class GroupProgress(Struct, frozen=True):
    """Progress of another consumer group."""

    group: str
    members: int | None
    """Number of members (Redis: of consumers that it knows, including those long gone); None if the server does not
    tell, as for Kafka's newer groups (KIP-848)."""
    partitions: tuple[GroupPartition, ...]
    """Partitions of the watched streams on which it has committed or received records. Never empty."""
