"""Progress of consumer groups."""

from __future__ import annotations

from bisect import bisect_left
from operator import attrgetter

from msgspec import Struct

from sidecar.domain.position import Partition

SIDECAR_GROUPS = "tracecar."
"""What the names of sidecars' own groups begin with, unless configured otherwise."""


class Unacknowledged(Struct, frozen=True, gc=False):
    """Redis: an entry that a group's member was given and has not acknowledged."""

    offset: int
    idle_ms: int
    """Since it was last given to somebody."""
    deliveries: int


class GroupPartition(Struct, frozen=True):
    """How far another consumer group is with one partition."""

    partition: Partition
    committed: int
    """Everything below this offset is committed. Redis: the oldest entry that is pending, else behind the newest
    delivered."""
    end: int
    """Behind the last record that the group can read."""
    lag: int | None
    """Records not committed yet; None where the server cannot say. On Kafka an upper bound, as in `PartitionStatus`."""
    delivered: int | None = None
    """Redis: everything below this offset was given to a member once; None where there are no deliveries."""
    read: int | None = None
    """Counts up by one for each record that the group reads; None where the server does not count."""
    unacknowledged: tuple[Unacknowledged, ...] = ()
    """Redis: the oldest pending entries, by offset."""
    more_unacknowledged: bool = False
    """There may be more than `unacknowledged` lists."""

    def passed(self, offset: int) -> bool | None:
        """Whether the group is done with the record at this offset; None where that is not known."""
        if offset < self.committed:
            return True
        if self.delivered is None or offset >= self.delivered:
            return False
        at = bisect_left(self.unacknowledged, offset, key=attrgetter("offset"))
        if at < len(self.unacknowledged):
            return self.unacknowledged[at].offset != offset
        return None if self.more_unacknowledged else True


class GroupProgress(Struct, frozen=True):
    """How far another consumer group is."""

    group: str
    members: int | None
    """Who is in it now (Redis: consumers it knows, also those long gone); None where the server does not say, as of
    Kafka's newer groups (KIP-848)."""
    partitions: tuple[GroupPartition, ...]
    """Those of the watched streams in which it has committed or was given something. Never empty."""
