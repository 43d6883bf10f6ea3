"""Coverage of the shared index: the partitions that all members read together."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from sidecar.adapters.index.redis.key_layout import log_from, log_of
from sidecar.domain.ports.index import Coverage
from sidecar.domain.position import Partition

COVERAGE_FRESH_MS = 15_000
"""Time without a heartbeat after which a partition counts as read by no member."""
_STAMP_DIGITS, _SINCE_END_INDEX = 15, 31
"""Ends of the time of the last heartbeat, and of the append time since when, in the value of a partition."""


class MemberCoverage(Struct, frozen=True):
    """Coverage of one partition by one member."""

    partition: Partition
    since: int
    filling: bool
    beat: int
    """Time of the member's last heartbeat, in milliseconds of the server's clock."""


def field_of(partition: Partition) -> bytes:
    return log_of(partition.system, partition.stream, partition.number).written


def covered_from(field: bytes, value: bytes) -> MemberCoverage | None:
    try:
        return MemberCoverage(
            partition=log_from(field).partition,
            beat=int(value[:_STAMP_DIGITS]),
            filling=value[_STAMP_DIGITS : _STAMP_DIGITS + 1] == b"1",
            since=int(value[_STAMP_DIGITS + 1 : _SINCE_END_INDEX]),
        )
    except (ValueError, msgspec.MsgspecError):
        return None


class SharedCoverage:
    """Coverage of this sidecar and of the others, as of the last heartbeat."""

    def __init__(self) -> None:
        self.own: dict[Partition, int] = {}
        """Append time from which each of our partitions is covered, in milliseconds."""
        self.filling: set[Partition] = set()
        self.left: set[Partition] = set()
        """Partitions that this member gave up and that no other member's coverage includes yet."""
        self._all: dict[Partition, MemberCoverage] = {}
        self._now = 0
        self.evicted = 0
        self.horizon: int | None = None

    def covering(self, partition: Partition, since_ms: int) -> None:
        self.own[partition] = since_ms
        self.left.discard(partition)

    def forget(self, partition: Partition) -> None:
        if self.own.pop(partition, None) is not None:
            self.left.add(partition)
        self.filling.discard(partition)

    def update(self, now: int, entries: dict[bytes, bytes], evicted: int, swept: dict[bytes, bytes]) -> None:
        """Store the reply to a heartbeat."""
        covered = [entry for field, value in entries.items() if (entry := covered_from(field, value)) is not None]
        self._all = {entry.partition: entry for entry in covered}
        self._now = now
        self.evicted = evicted
        self.horizon = int(swept[b"horizon"]) if b"horizon" in swept else None
        self.left -= self._all.keys()

    def answer(self, events: int, notes: list[str]) -> Coverage:
        """Build the coverage of all members."""
        since = dict(self.own)
        filling = bool(self.filling)
        unread: set[Partition] = set(self.left)
        for entry in self._all.values():
            if entry.partition in self.own:
                since[entry.partition] = min(entry.since, since[entry.partition])
            elif entry.beat < self._now - COVERAGE_FRESH_MS:
                unread.add(entry.partition)
            else:
                since[entry.partition] = entry.since
                filling |= entry.filling
        oldest = max(since.values(), default=None)
        if self.horizon is not None:
            oldest = self.horizon + 1 if oldest is None else max(oldest, self.horizon + 1)
        if unread:
            streams = ", ".join(sorted({partition.stream for partition in unread})[:5])
            notes = [f"{len(unread)} partitions are read by no member now ({streams})", *notes]
        return Coverage(
            events=events,
            evicted=self.evicted,
            since=oldest,
            partitions=sorted(since),
            filling=filling,
            note="; ".join(notes) or None,
        )
