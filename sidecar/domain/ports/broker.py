"""Port of a message broker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol, Self

from msgspec import Struct
from msgspec.structs import replace

from sidecar.domain.broker_traits import BrokerTraits
from sidecar.domain.model import Outgoing, Record
from sidecar.domain.ports.consumer_groups import GroupProgress
from sidecar.domain.ports.ledger import Ledger
from sidecar.domain.position import Partition, Position


class Lease:
    """The right to read and commit one partition, from its assignment until it is lost.

    There is one object per assignment: a partition that is lost and assigned again has a new lease, and work done under
    the old one cannot be committed.
    """

    __slots__ = ("delivered", "history_mark", "incarnation", "lost", "partition", "start")

    def __init__(self, partition: Partition, start: int) -> None:
        self.partition = partition
        self.start = start
        """First offset of this lease's batches: the group's committed offset, or the configured start."""
        self.delivered = start
        """Offset after the newest record that any member was given before this lease. It is above `start` only where
        members share a partition."""
        self.incarnation: str | None = None
        """Identity of the stream, once it is known; None if the broker has none. A stream that is deleted and created
        again has another one."""
        self.history_mark: int | None = None
        """First committed offset that may be in no file of the history yet; None if no history was ever written.

        The adapter reads it when it acquires the lease, and stores the current value with each commit, so that the next
        owner knows what the history still lacks. The history's recorder sets it."""
        self.lost = False
        """True once the lease is lost. Only the broker adapter sets it, and never resets it."""


class Gap(Struct, frozen=True):
    """Records that were deleted before they were read, by retention, a trim, or the deletion of their stream."""

    partition: Partition
    wanted: int
    """Offset to read next before the gap was found."""
    resumed: int
    """Offset at which reading continues."""
    reason: str
    """A sentence for a person."""
    recreated: bool = False
    """True if the stream was deleted and created again: known events, payloads and offsets of this partition belong to
    another stream."""
    known_since: int | None = None
    """Time of the first knowledge of the stream that was created again, in microseconds: events that were observed
    before belong to the former one. None: now."""


class Batch(Struct, gc=False):
    """Records of one partition, in order."""

    lease: Lease
    records: Sequence[Record]
    """Records in order. The batch that announces a new lease has none (an idle partition is announced too)."""
    next_offset: int
    """Offset to commit with this batch: after its last record, and after the control records that follow."""
    gap: Gap | None = None
    """Records that were lost just before this batch."""
    dropped: Sequence[int] = ()
    """Offsets of the records that `without_records` dropped."""

    @property
    def offsets(self) -> Sequence[int]:
        """Offsets of the records in order, of dropped ones too."""
        records = self.records
        if not records:
            return self.dropped
        first, last = records[0].position.offset, records[-1].position.offset
        if last - first + 1 == len(records):
            return range(first, last + 1)
        return [record.position.offset for record in records]

    def without_records(self) -> Self:
        """Return what is needed to commit the batch, so that its records leave the memory before that."""
        return replace(self, records=(), dropped=self.offsets)


class PartitionStatus(Struct, frozen=True):
    """Offsets and lag of one partition."""

    partition: Partition
    committed: int | None
    """The group's committed offset; None before the first commit."""
    end: int
    """Offset of the next record (Redis: after the newest entry)."""
    lag: int | None
    """Number of uncommitted records; None if the server cannot tell. On Kafka it is an upper bound, because control
    records and compacted ones count."""
    pending: int | None = None
    """Redis: number of entries that were delivered to a consumer of the group and are not acknowledged."""
    ours: bool = True
    """True if this sidecar holds the lease."""
    incarnation: str | None = None
    """Identity of the stream: another one after it was deleted and created again. None: the broker gives none."""


class Finding(Struct, frozen=True):
    """One line of `tracecar check`: an attempt and its result."""

    what: str
    """Subject, such as `sources.kafka: write to orders.dlt`."""
    ok: bool
    detail: str
    """Result; if not ok, also what to do."""


class Retention(Struct, frozen=True):
    """A stream's limits on the age of its records."""

    keeps_ms: int | None
    """Age after which records are deleted; None if age deletes nothing, or the server does not tell."""
    own_times: bool
    """True if a record keeps the timestamp with which it is published; False if the broker sets its own."""
    takes_ms: int | None = None
    """Age above which new records are refused; None if there is no such limit, or the server does not tell."""


class Broker(Protocol):
    """One connection to Kafka or Redis Streams.

    One adapter reads, commits and looks back, because a commit must read and write in one transaction.

    Every method may raise Outage (wait, then retry) or Refused (tell the operator). No method raises an error of the
    client library.
    """

    traits: BrokerTraits
    """Properties of the broker on which other rooms depend."""
    system: str
    """The scheme of its positions: `kafka`, `redis`."""

    @property
    def named_streams(self) -> Sequence[str]:
        """Names of streams in the configuration, without those that only a pattern matches."""

    async def start(self) -> None:
        """Connect and join the group. Raises Outage if the server cannot be reached, Refused if it refuses."""

    async def close(self) -> None:
        """Leave the group and end all leases.

        Uncommitted records are delivered again to the next reader.
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
        """Deliver again from the committed offset: the next batch of this lease starts there.

        No batch is delivered before this returns.
        """

    async def commit(self, batches: Sequence[Batch], outgoing: Sequence[Outgoing]) -> None:
        """Publish `outgoing` and commit the offsets of consecutive batches of one lease: all of it, or nothing.

        After return, the records and the offsets are durable; after an exception the outcome is unknown, and the same
        call may be repeated. A record is never dead-lettered twice, regardless of which member tries it, and how often.
        Missing streams are created first, with the partition count and replication of the origin. The lease's
        `history_mark` is stored before or with the offsets; the next lease of the partition has it, or the lowest one
        where members share the partition. Raises Fenced if the
        lease is lost: drop the batches. Raises TooLarge or RecordRefused (with the index into `outgoing`) and Refused
        if the server does not accept them.
        """

    async def publish(self, outgoing: Sequence[Outgoing]) -> list[Position]:
        """Publish records in order, and return the position of each once all are durable."""

    async def read(self, position: Position) -> Record | None:
        """Return the record at a position; None if it was deleted or never existed."""

    async def partitions(self, stream: str) -> list[Partition]:
        """Return the stream's partitions; none if the stream does not exist."""

    async def streams(self) -> list[str]:
        """Return the visible streams, sorted, including dead-letter streams but not internal ones."""

    async def bounds(self, partition: Partition) -> tuple[int, int]:
        """Return the first offset and the offset after the last; equal if the partition is empty."""

    def scan(
        self, partition: Partition, *, since: int | None = None, start: int | None = None, until: int | None = None
    ) -> AsyncIterator[Sequence[Record]]:
        """Yield committed records in order, without committing anything or disturbing `batches`.

        Starts at timestamp `since` (milliseconds) or offset `start`, else at the beginning. Ends before offset `until`,
        else at the end as of the start of the scan. A caller may stop at any time.
        """

    async def status(self) -> list[PartitionStatus]:
        """Return offsets and lag of every partition of the watched streams, ours and other members'."""

    @property
    def ledger(self) -> Ledger:
        """Ledger in this broker."""

    async def retention(self, stream: str) -> Retention:
        """Return the stream's limits on age; `Retention(None, False)` if we may not read them."""

    async def warnings(self) -> Sequence[str]:
        """Return sentences about settings of the server that can lose dead letters.

        Each names the command that changes the setting. They may be a minute old.
        """

    async def groups(self) -> list[GroupProgress]:
        """Return the progress of every other consumer group of the watched streams, by name.

        It omits groups of sidecars (ours, and those named `tracecar.…`), groups that we may not describe, and those
        beyond the first 1,000. Changes nothing, and retries only briefly.
        """

    async def inspect(self) -> list[Finding]:
        """Try every connection and permission that running needs, without changing anything.

        Does not need `start`, and reports errors as findings.
        """
