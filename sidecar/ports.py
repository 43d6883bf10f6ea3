"""What the sidecar needs from the world, as protocols. Each docstring is a promise that a contract suite checks, on the
memory adapter and on the real server alike."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import AsyncIterator, Sequence
from operator import attrgetter
from typing import Protocol

from msgspec import Struct

from sidecar.model import Decoded, Event, Outgoing, Partition, Position, Record, SchemaRef

# --- broker ---------------------------------------------------------------------------------------------------------


class Lease:
    """The right to read and settle one partition, from its assignment until it is lost. One object per assignment: a
    partition that goes and comes back has a new lease, and work done under the old one cannot be settled."""

    __slots__ = ("lost", "partition", "start")

    def __init__(self, partition: Partition, start: int) -> None:
        self.partition = partition
        self.start = start
        """The first offset this lease's batches can hold: what the group has settled, or its configured start."""
        self.lost = False
        """Set by the broker adapter, never unset."""


class Gap(Struct, frozen=True):
    """Records that are gone before they were read: retention, a trim, a topic made anew."""

    partition: Partition
    wanted: int
    """The offset that reading should have gone on from."""
    resumed: int
    """The offset that it went on from instead."""
    reason: str
    """A sentence for a person."""


class Batch(Struct, gc=False):
    """Records of one partition, in order."""

    lease: Lease
    records: Sequence[Record]
    """Empty in the batch that announces a new lease (an idle partition is announced too)."""
    next_offset: int
    """What is settled once this batch is: beyond its last record, and beyond what is no record (control records)."""
    gap: Gap | None = None
    """What was lost just before this batch."""


class PartitionStatus(Struct, frozen=True):
    """How far a partition is."""

    partition: Partition
    settled: int | None
    """The group's settled offset; None before the first settling."""
    end: int
    """The offset the next record will get (Redis: beyond the newest entry)."""
    lag: int | None
    """How many records are not settled yet; None where the server cannot say. On Kafka an upper bound: control
    records and compacted ones count."""
    pending: int | None = None
    """Redis: delivered and not yet acknowledged, of all consumers of the group."""
    ours: bool = True
    """This sidecar holds the lease."""


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
    settled: int
    """Everything below this offset is settled. Redis: the oldest entry that is pending, else behind the newest
    delivered."""
    end: int
    """Behind the last record that the group can read."""
    lag: int | None
    """Records not settled yet; None where the server cannot say. On Kafka an upper bound, as in `PartitionStatus`."""
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
        if offset < self.settled:
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
    """Those of the watched streams in which it has settled or was given something. Never empty."""


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


class Entry(Struct, frozen=True, gc=False):
    """A change of one entry of the ledger."""

    key: str
    before: bytes | None
    """What stood there when the change was thought of; None: nothing."""
    after: bytes | None
    """What shall stand there; None: nothing. The same as `before` where it shall only still be so."""


class Act(Struct, frozen=True, gc=False):
    """Changes of the ledger and what is published with them: all of it or nothing, and once."""

    stream: str | None
    """The stream whose entries these are: the one that a letter's record failed on, or its dead-letter stream where
    that is not known. None: entries that belong to no stream, such as jobs. Redis keeps those of a stream in a hash
    beside its dead-letter stream, the others in one of their own; Kafka has all in one topic."""
    entries: tuple[Entry, ...]
    """At least one of them changes something: by that an act that was carried out already is known again."""
    outgoing: tuple[Outgoing, ...] = ()


class Done(Struct, frozen=True, gc=False):
    """What became of an act."""

    carried_out: bool
    """Now, or by an earlier call with the same act."""
    stands: tuple[bytes | None, ...]
    """What stands in the ledger now, for each entry of the act."""
    positions: tuple[Position, ...] = ()
    """Where what was published lies; empty where nothing was, or an earlier call did it."""


class Ledger(Protocol):
    """What was done with dead letters, durable in the broker and shared by every sidecar on it: bytes by key. Raises
    Outage and Refused."""

    async def entries(self, stream: str | None, keys: Sequence[str]) -> list[bytes | None]:
        """What stands for each key of a stream (see `Act.stream`), everything committed before the call included."""

    async def under(self, prefix: str) -> dict[str, bytes]:
        """All entries that belong to no stream and whose key begins with `prefix`, by key. Such keys have no space, as
        those of letters do."""

    async def act(self, acts: Sequence[Act]) -> list[Done]:
        """Carry out each act whose entries all still stand as `before` says, or leave it and say what stands instead:
        each wholly or not at all, and durably. What they publish is in order within each partition. After an exception
        each may have been carried out or not; the same call may be made again and finds out, however many others act
        meanwhile: no act is ever carried out twice. Raises TooLarge (with the index of the record among all that the
        acts publish), Refused where a target is missing or not to be written; then all acts, or (Redis) those from that
        one on, were not carried out."""

    async def begun(self, stream: str | None) -> int | None:
        """Since when (milliseconds) the ledger has had entries of this stream; None before the first. What was done
        before that time, by a ledger that was deleted since, is not known."""


class Broker(Protocol):
    """One connection to Kafka or Redis Streams. Reading, settling and looking back are one adapter, because settling
    must read and write in one transaction.

    Every method may raise Outage (wait, try again) or Refused (tell the person); no method lets an error of the client
    library through."""

    system: str
    """`kafka`, `redis` or `memory`: the scheme of its positions."""

    async def start(self) -> None:
        """Connect and join the group. Raises Outage where the server cannot be reached, Refused where it says no."""

    async def close(self) -> None:
        """Leave the group and let go of everything. What was not settled comes again to whoever reads next."""

    def batches(self) -> AsyncIterator[Batch]:
        """Batches of all assigned partitions, in order within each, at most `max_records` records each. For every new
        lease comes one batch without records first. A batch that was not settled comes again after a restart. Never
        yields a dead-letter, ledger or internal stream. New streams that match a pattern join while it runs. Raises
        Disconnected where the connection is gone for good: close, start, call again."""

    def hold(self, lease: Lease) -> None:
        """Deliver no more batches of this partition until `release`. At most one more may come. Survives rebalances of
        other partitions. Other partitions are not slowed."""

    def release(self, lease: Lease) -> None:
        """Undo `hold`. Does nothing where the lease is lost or was not held."""

    async def rewind(self, lease: Lease) -> None:
        """Deliver again from what is settled: the next batch of this lease begins there. No batch comes between the
        rewinding and the return."""

    async def settle(self, batches: Sequence[Batch], outgoing: Sequence[Outgoing]) -> None:
        """Make the outcome of these batches, consecutive ones of one lease, durable as one act: their dead letters
        published and their progress recorded. After return both are safe; after an exception neither is known to be,
        and the same call may be made again. A record is never lettered twice, whoever settles it and however often it
        is tried. Missing streams are made first, with the partition count and replication of the origin's.
        Raises Fenced where the lease is lost: forget the batches; TooLarge (with the index into `outgoing`) and Refused
        where the server will not take them."""

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
        """Committed records in order without settling anything or disturbing `batches`: from timestamp `since`
        (milliseconds) or offset `start` (else from the beginning) to before offset `until` (else what was the end when
        the scan began), then ends. Ends early, without error, where the caller stops iterating."""

    async def status(self) -> list[PartitionStatus]:
        """How far every partition of the watched streams is, ours and other members'."""

    @property
    def ledger(self) -> Ledger:
        """The ledger in this broker."""

    async def retention(self, stream: str) -> Retention:
        """What the stream does with the age of its records. Where we may not ask: (None, False)."""

    async def groups(self) -> list[GroupProgress]:
        """How far every other consumer group of the watched streams is, by name. Left out are sidecars' own groups
        (ours, and those named `tracecar.…`), groups that we may not look at, and those beyond the first 1,000. Changes
        nothing, and waits out no trouble for long."""

    async def inspect(self) -> list[Finding]:
        """Try every connection and permission that running would need, changing nothing. Does not need `start`, never
        raises for what it is there to find."""


# --- registry -------------------------------------------------------------------------------------------------------


class RegisteredSchema(Struct, frozen=True):
    """A schema as a registry has it."""

    ref: SchemaRef
    """As far as the way it was asked for tells."""
    kind: str
    """`AVRO`, `JSON` or `PROTOBUF`."""
    text: str
    references: tuple[RegisteredSchema, ...] = ()
    """What it refers to, dependencies first."""


class Registry(Protocol):
    """A schema registry. None is an answer (it has no such thing) and may be remembered briefly; trouble raises Outage;
    a refusal (401, 403) raises Refused."""

    @property
    def problems(self) -> Sequence[str]:
        """Sentences: what of it cannot be used, as far as it was read. Empty where it is somebody else's to tell."""

    async def by_id(self, id: int) -> RegisteredSchema | None:
        """The schema with this id (Confluent's; for Apicurio the content id as its Confluent API shows it)."""

    async def by_global_id(self, id: int) -> RegisteredSchema | None:
        """The schema with this Apicurio global id; None where the registry knows no such ids."""

    async def by_guid(self, guid: str) -> RegisteredSchema | None:
        """The schema with this GUID."""

    async def by_fingerprint(self, fingerprint: int, subjects: Sequence[str]) -> RegisteredSchema | None:
        """The Avro schema with this CRC-64-AVRO fingerprint, searched among all versions of these subjects."""

    async def by_version(self, subject: str, version: int | None) -> RegisteredSchema | None:
        """A version of a subject, the latest for None."""

    async def subjects_of(self, id: int) -> frozenset[tuple[str, int]]:
        """The (subject, version) pairs under which the schema with this id is registered."""

    async def subjects(self) -> list[str]:
        """All subjects, sorted."""

    async def versions(self, subject: str) -> list[int]:
        """The subject's versions, ascending; empty where there is no such subject."""

    async def compatibility(self, subject: str) -> str | None:
        """The subject's compatibility level (its own, else the registry's); None where there is no such notion."""

    async def close(self) -> None: ...


# --- index ----------------------------------------------------------------------------------------------------------


class Node(Struct, gc=False):
    """An event within its flow. Where it stands in it (`parent`, `depth`) is worked out for flows alone; in other
    answers `parent` is None and `depth` 0."""

    event: Event
    status: str
    """rejected, else duplicate, else replayed, else unchecked, else ok."""
    trace_id: int
    """The event's own, or derived."""
    parent: Position | None
    parent_inferred: bool
    depth: int
    changed: bool = False
    """A duplicate whose content differs from the first's."""


class Flow(Struct):
    """All held events of one connected component, in causal then time order: parents before children, siblings and
    roots by time and position."""

    trace_id: int
    """Of its earliest event by occurred time (appended where it says none), then position."""
    nodes: list[Node]
    broken_keys: list[str] = []
    """Keys (such as `correlation:session-1`) that would have joined more than `correlation.max_flow` events and
    therefore do not join."""


class Coverage(Struct):
    """What an answer can know about."""

    events: int
    evicted: int
    """Events that the bound has pushed out since start."""
    since: int | None
    """Milliseconds: the oldest append time from which everything of the covered partitions is held."""
    partitions: list[Partition]
    filling: bool
    """The look-back window is still being read."""
    note: str | None = None
    """A sentence for a person, where something is known to be missing."""


class Page(Struct):
    """Part of an answer."""

    nodes: list[Node]
    cursor: str | None
    """Give it back to get the next page; None: that was all."""


class Index(Protocol):
    """Positions and metadata of the events seen lately, and the questions people ask of them. Bounded: the oldest
    flows are evicted whole. The order in which events arrive never shows in an answer."""

    def add(self, events: Sequence[Event]) -> None:
        """Take these events in, without waiting. An event at a position that is held replaces it (so a batch seen
        twice changes nothing). Never raises for what an event holds."""

    async def at(self, position: Position) -> Node | None:
        """The event at a position."""

    async def lookup(self, id: str) -> list[Node]:
        """Every event that has `id` as its position, event id, trace id, aggregate id or correlation id, newest first,
        at most 1,000."""

    async def flow(self, id: str) -> Flow | None:
        """The flow of a trace id (hex), event id, position, aggregate id or correlation id, in this order. Of several
        flows (an aggregate's) the latest."""

    async def flows(self, limit: int, cursor: str | None = None) -> tuple[list[Flow], str | None]:
        """Recent flows, by their latest append time, newest first."""

    async def aggregate(self, id: str, limit: int = 1000) -> list[Node]:
        """The held events of an aggregate, by occurred time, then position."""

    def coverage(self) -> Coverage:
        """What this index holds now."""


# --- exporter -------------------------------------------------------------------------------------------------------


class Destination(Protocol):
    """Somewhere telemetry goes."""

    name: str

    @property
    def trouble(self) -> str | None:
        """Why the backend does not take what is sent; None where it does, as far as it was tried."""

    def counts(self) -> tuple[int, int, int]:
        """Sent, dropped and failed so far."""


class Exporter(Destination, Protocol):
    """Makes telemetry of what passes. Never in the way."""

    def offer(self, decoded: Sequence[Decoded]) -> None:
        """Take what fits into a bounded queue, count what does not. Never waits, never raises."""

    async def close(self) -> None:
        """Send what is queued, within a few seconds."""
