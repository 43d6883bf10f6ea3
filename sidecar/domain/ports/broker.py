"""What the sidecar needs from a message broker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from msgspec import Struct

from sidecar.domain.broker_traits import BrokerTraits
from sidecar.domain.model import Outgoing, Record
from sidecar.domain.ports.consumer_groups import GroupProgress
from sidecar.domain.ports.ledger import Ledger
from sidecar.domain.position import Partition, Position


class Lease:
    """The right to read and commit one partition, from its assignment until it is lost.

    One object per assignment: a partition that goes and comes back has a new lease, and work done under the old one
    cannot be committed.
    """

    __slots__ = ("lost", "partition", "start")

    def __init__(self, partition: Partition, start: int) -> None:
        self.partition = partition
        self.start = start
        """The first offset this lease's batches can hold: what the group has committed, or its configured start."""
        self.lost = False
        """Set by the broker adapter, never unset."""


class Gap(Struct, frozen=True):
    """Records that are gone before they were read: retention, a trim, a topic created again."""

    partition: Partition
    wanted: int
    """The offset that reading should have gone on from."""
    resumed: int
    """The offset that it went on from instead."""
    reason: str
    """A sentence for a person."""
    recreated: bool = False
    """The stream was deleted and created again: events, payloads and offsets of this partition that are known are those
    of another stream."""


class Batch(Struct, gc=False):
    """Records of one partition, in order."""

    lease: Lease
    records: Sequence[Record]
    """Empty in the batch that announces a new lease (an idle partition is announced too)."""
    next_offset: int
    """What is committed once this batch is: beyond its last record, and beyond what is no record (control records)."""
    gap: Gap | None = None
    """What was lost just before this batch."""


class PartitionStatus(Struct, frozen=True):
    """How far a partition is."""

    partition: Partition
    committed: int | None
    """The group's committed offset; None before the first committing."""
    end: int
    """The offset the next record will get (Redis: beyond the newest entry)."""
    lag: int | None
    """How many records are not committed yet; None where the server cannot say. On Kafka an upper bound: control
    records and compacted ones count."""
    pending: int | None = None
    """Redis: delivered and not yet acknowledged, of all consumers of the group."""
    ours: bool = True
    """This sidecar holds the lease."""


class Finding(Struct, frozen=True):
    """One line of `tracecar check`: something that was tried, and what came out."""

    what: str
    """Such as `sources.kafka: write to orders.dlt`."""
    ok: bool
    detail: str
    """What was found; where not ok, what to do about it."""


class Retention(Struct, frozen=True):
    """What a stream does with the age of its records."""

    keeps_ms: int | None
    """Records older than this are deleted; None where age deletes nothing, or the server does not say."""
    own_times: bool
    """A record keeps the timestamp that it is published with; else the broker gives it its own."""
    takes_ms: int | None = None
    """Records that are older than this are not taken; None where all are, or the server does not say."""


class Broker(Protocol):
    """One connection to Kafka or Redis Streams.

    Reading, committing and looking back are one adapter, because committing must read and write in one transaction.

    Every method may raise Outage (wait, try again) or Refused (tell the person); no method lets an error of the client
    library through.
    """

    traits: BrokerTraits
    """Properties that other rooms depend on."""
    system: str
    """The scheme of its positions: `kafka`, `redis`."""

    @property
    def named_streams(self) -> Sequence[str]:
        """Streams to read that the configuration names; those that a pattern matches are left out."""

    async def start(self) -> None:
        """Connect and join the group. Raises Outage where the server cannot be reached, Refused where it says no."""

    async def close(self) -> None:
        """Leave the group and let go of everything. What was not committed comes again to whoever reads next."""

    def batches(self) -> AsyncIterator[Batch]:
        """Batches of all assigned partitions, in order within each, at most `max_records` records each.

        For every new lease comes one batch without records first. A batch that was not committed comes again after a
        restart. Never yields a dead-letter, ledger or internal stream. New streams that match a pattern join while it
        runs. Raises Disconnected where the connection is gone for good: close, start, call again.
        """

    def hold(self, lease: Lease) -> None:
        """Deliver no more batches of this partition until `release`.

        At most one more may come. Survives rebalances of other partitions. Other partitions are not slowed.
        """

    def release(self, lease: Lease) -> None:
        """Undo `hold`. Does nothing where the lease is lost or was not held."""

    async def rewind(self, lease: Lease) -> None:
        """Deliver again from what is committed: the next batch of this lease begins there.

        No batch comes between the rewinding and the return.
        """

    async def commit(self, batches: Sequence[Batch], outgoing: Sequence[Outgoing]) -> None:
        """Make the outcome of these batches, consecutive ones of one lease, durable as one act.

        Their dead letters published and their progress recorded. After return both are safe; after an exception
        neither is known to be, and the same call may be made again. A record is never dead-lettered twice, whoever
        commits it and however often it is tried. Missing streams are made first, with the partition count and
        replication of the origin's. Raises Fenced where the lease is lost: forget the batches; TooLarge (with the
        index into `outgoing`) and Refused where the server will not take them.
        """

    async def publish(self, outgoing: Sequence[Outgoing]) -> list[Position]:
        """Publish in order, and return once all are durable, with where each now lies."""

    async def read(self, position: Position) -> Record | None:
        """The record at a position; None where retention or a trim has taken it, or it never was."""

    async def partitions(self, stream: str) -> list[Partition]:
        """The stream's partitions; empty where there is no such stream."""

    async def streams(self) -> list[str]:
        """Every stream the broker shows us, dead-letter streams too, internal ones not. Sorted."""

    async def bounds(self, partition: Partition) -> tuple[int, int]:
        """The first offset that is there and the offset after the last; equal where there is nothing."""

    def scan(
        self, partition: Partition, *, since: int | None = None, start: int | None = None, until: int | None = None
    ) -> AsyncIterator[Sequence[Record]]:
        """Committed records in order without committing anything or disturbing `batches`.

        From timestamp `since` (milliseconds) or offset `start` (else from the beginning) to before offset `until`
        (else what was the end when the scan began), then ends. Ends early, without error, where the caller stops
        iterating.
        """

    async def status(self) -> list[PartitionStatus]:
        """How far every partition of the watched streams is, ours and other members'."""

    @property
    def ledger(self) -> Ledger:
        """The ledger in this broker."""

    async def retention(self, stream: str) -> Retention:
        """What the stream does with the age of its records. Where we may not ask: (None, False)."""

    async def warnings(self) -> Sequence[str]:
        """Return sentences about settings of the server by which dead letters may be lost.

        Each names the command that changes the setting. They may be a minute old.
        """

    async def groups(self) -> list[GroupProgress]:
        """How far every other consumer group of the watched streams is, by name.

        Left out are sidecars' own groups (ours, and those named `tracecar.…`), groups that we may not look at, and
        those beyond the first 1,000. Changes nothing, and waits out no trouble for long.
        """

    async def inspect(self) -> list[Finding]:
        """Try every connection and permission that running would need, changing nothing.

        Does not need `start`, never raises for what it is there to find.
        """
