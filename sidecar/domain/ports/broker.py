"""Port of a message broker."""

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
        """First offset of this lease's batches: the group's committed offset, or its configured start."""
        self.lost = False
        """Set by the broker adapter, never unset."""


class Gap(Struct, frozen=True):
    """Records that were deleted before they were read, by retention, a trim, or the deletion of their stream."""

    partition: Partition
    wanted: int
    """Offset that should have been read next."""
    resumed: int
    """Offset that is read next instead."""
    reason: str
    """A sentence for a person."""
    recreated: bool = False
    """The stream was deleted and created again: known events, payloads and offsets of this partition belong to another
    stream."""


class Batch(Struct, gc=False):
    """Records of one partition, in order."""

    lease: Lease
    records: Sequence[Record]
    """Records in order; none in the batch that announces a new lease (an idle partition is announced, too)."""
    next_offset: int
    """Offset to commit with this batch: after its last record, and after control records that follow."""
    gap: Gap | None = None
    """Records that were lost just before this batch."""


class PartitionStatus(Struct, frozen=True):
    """Offsets and lag of one partition."""

    partition: Partition
    committed: int | None
    """The group's committed offset; None before the first commit."""
    end: int
    """Offset of the next record (Redis: after the newest entry)."""
    lag: int | None
    """Records that are not committed yet; None if the server cannot say. On Kafka an upper bound: control records and
    compacted ones count."""
    pending: int | None = None
    """Redis: entries delivered and not acknowledged, of all consumers of the group."""
    ours: bool = True
    """This sidecar holds the lease."""


class Finding(Struct, frozen=True):
    """One line of `tracecar check`: an attempt and its result."""

    what: str
    """Subject, such as `sources.kafka: write to orders.dlt`."""
    ok: bool
    detail: str
    """Result; if not ok, also what to do."""


class Retention(Struct, frozen=True):
    """Limits that a stream sets to the age of its records."""

    keeps_ms: int | None
    """Records older than this are deleted; None if age deletes nothing, or the server does not say."""
    own_times: bool
    """True if a record keeps the timestamp that it is published with; else the broker sets its own."""
    takes_ms: int | None = None
    """Records older than this are refused; None if none are, or the server does not say."""


class Broker(Protocol):
    """One connection to Kafka or Redis Streams.

    Reading, committing and looking back are one adapter, because committing must read and write in one transaction.

    Every method may raise Outage (wait, then retry) or Refused (tell the operator). No method raises an error of the
    client library.
    """

    traits: BrokerTraits
    """Properties that other rooms depend on."""
    system: str
    """The scheme of its positions: `kafka`, `redis`."""

    @property
    def named_streams(self) -> Sequence[str]:
        """Streams to read that the configuration names; those that a pattern matches are left out."""

    async def start(self) -> None:
        """Connect and join the group. Raises Outage if the server cannot be reached, Refused if it says no."""

    async def close(self) -> None:
        """Leave the group and end all leases.

        Records that were not committed are delivered again, to the next reader.
        """

    def batches(self) -> AsyncIterator[Batch]:
        """Yield batches of all assigned partitions, in order within each, of at most `max_records` records.

        The first batch of a new lease has no records. A batch that was not committed is delivered again after a
        restart. Never yields a dead-letter, ledger or internal stream. New streams that match a pattern join while it
        runs. Raises Disconnected if the connection is lost for good: close, start, call again.
        """

    def hold(self, lease: Lease) -> None:
        """Deliver no more batches of this partition until `release`.

        At most one more batch may come. The hold survives rebalances of other partitions, and does not slow them.
        """

    def release(self, lease: Lease) -> None:
        """Undo `hold`. Does nothing if the lease is lost or not held."""

    async def rewind(self, lease: Lease) -> None:
        """Deliver again from the committed offset: the next batch of this lease begins there.

        No batch is delivered between the rewind and the return.
        """

    async def commit(self, batches: Sequence[Batch], outgoing: Sequence[Outgoing]) -> None:
        """Make the outcome of consecutive batches of one lease durable.

        Publish `outgoing` and commit offsets, as one act.

        After return both are durable; after an exception the outcome is unknown, and the same call may be made again. A
        record is never dead-lettered twice, by whichever member and however often it is tried. Missing streams are
        created first, with the partition count and replication of the origin. Raises Fenced if the lease is lost: drop
        the batches. Raises TooLarge or RecordRefused (with the index into `outgoing`) and Refused if the server does
        not accept them.
        """

    async def publish(self, outgoing: Sequence[Outgoing]) -> list[Position]:
        """Publish in order, and return the position of each once all are durable."""

    async def read(self, position: Position) -> Record | None:
        """Return the record at a position; None if it was deleted or never existed."""

    async def partitions(self, stream: str) -> list[Partition]:
        """Return the stream's partitions; none if there is no such stream."""

    async def streams(self) -> list[str]:
        """Return the streams that the broker shows us, sorted: dead-letter streams too, internal ones not."""

    async def bounds(self, partition: Partition) -> tuple[int, int]:
        """Return the first offset and the offset after the last; equal if the partition is empty."""

    def scan(
        self, partition: Partition, *, since: int | None = None, start: int | None = None, until: int | None = None
    ) -> AsyncIterator[Sequence[Record]]:
        """Yield committed records in order, without committing anything or disturbing `batches`.

        Begins at timestamp `since` (milliseconds) or offset `start`, else at the beginning, and ends before offset
        `until`, else at the end as of the start of the scan. A caller may stop at any time.
        """

    async def status(self) -> list[PartitionStatus]:
        """Return offsets and lag of every partition of the watched streams, ours and other members'."""

    @property
    def ledger(self) -> Ledger:
        """The ledger in this broker."""

    async def retention(self, stream: str) -> Retention:
        """Return the stream's limits of age; (None, False) if we may not ask."""

    async def warnings(self) -> Sequence[str]:
        """Return sentences about settings of the server by which dead letters may be lost.

        Each names the command that changes the setting. They may be a minute old.
        """

    async def groups(self) -> list[GroupProgress]:
        """Return the progress of every other consumer group of the watched streams, by name.

        Groups of sidecars (ours, and those named `tracecar.…`), groups that we may not describe, and those beyond the
        first 1,000 are left out. Changes nothing, and retries only briefly.
        """

    async def inspect(self) -> list[Finding]:
        """Try every connection and permission that running would need, changing nothing.

        Does not need `start`, and reports errors as findings.
        """
