"""The Kafka adapter: reading, committing and looking back, put together. Which idea lives where:

- `kafka_options`: TLS, SASL and options of the client. `kafka_cluster`: asking the right node. `kafka_errors`: what its
  errors mean for us
- `kafka_membership`, `kafka_taking`, `kafka_tenure`: which partitions are ours, and from where
- `kafka_fetching`, `kafka_records` (`kafka_inflating`, `kafka_plain`): from the broker's bytes to records
- `kafka_settling` (read its head first), `kafka_producing`, `kafka_packing`, `kafka_topics`: letters and progress
- `kafka_ledger` (read its head), `kafka_ledger_view`, `kafka_transactions`: what was done with dead letters
- `kafka_history`: looking back. `kafka_groups`: how far others are. `kafka_inspecting`: `tracecar check`

aiokafka gives the connections, the protocol's messages, the codecs and the group's coordination; its consumer and
producer are not used: they cannot fence a partition before it is read, and cost more for each record."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Sequence

from aiokafka.structs import TopicPartition

from sidecar.adapters.brokers.kafka.client_options import KafkaConnector
from sidecar.adapters.brokers.kafka.cluster_client import LATEST, READ_UNCOMMITTED, KafkaCluster
from sidecar.adapters.brokers.kafka.committer import KafkaCommitter
from sidecar.adapters.brokers.kafka.consumer_group_offsets import KafkaConsumerGroups
from sidecar.adapters.brokers.kafka.fetcher import KafkaFetcher
from sidecar.adapters.brokers.kafka.group_membership import GroupMembership
from sidecar.adapters.brokers.kafka.idempotent_producer import BatchSender, IdempotentProducer
from sidecar.adapters.brokers.kafka.ledger import KafkaLedger, LedgerProxy
from sidecar.adapters.brokers.kafka.log_reader import KafkaLogReader
from sidecar.adapters.brokers.kafka.partition_acquirer import PartitionAcquirer
from sidecar.adapters.brokers.kafka.partition_lease import KafkaLease
from sidecar.adapters.brokers.kafka.preflight import inspect
from sidecar.adapters.brokers.kafka.record_batch import assign_partitions
from sidecar.adapters.brokers.kafka.record_decoder import UnreadableRecords
from sidecar.adapters.brokers.kafka.topic_admin import TopicAdmin
from sidecar.adapters.brokers.kafka.traits import KAFKA_TRAITS
from sidecar.config import schema as config
from sidecar.domain.errors import ConfigError, Disconnected, Fenced, Mistake, Outage
from sidecar.domain.model import Outgoing, Record
from sidecar.domain.ports.broker import Batch, Finding, Gap, Lease, PartitionStatus, Retention
from sidecar.domain.ports.consumer_groups import GroupProgress
from sidecar.domain.position import Partition, Position
from sidecar.domain.stream_names import StreamNames

TROUBLE_CHECK_INTERVAL_S = 1.0
"""Seconds after which reading looks for trouble where nothing comes."""


class KafkaBroker:
    """`sidecar.domain.ports.broker.Broker` on Apache Kafka 0.11 or later, and what speaks its protocol.

    Raises ConfigError where the configuration cannot work."""

    system = KAFKA_TRAITS.scheme
    traits = KAFKA_TRAITS

    def __init__(
        self,
        config: config.KafkaConfig,
        service: str,
        naming: StreamNames,
        *,
        max_records: int = 1000,
        ledger_entries: int = 500_000,
    ) -> None:
        self._config, self._naming, self._max_records = config, naming, max_records
        self._ledger_entries = ledger_entries
        self._ledger = LedgerProxy(lambda: self._running.ledger)
        self.group = config.group_id or f"tracecar.{service}"
        self._connector = KafkaConnector(config)
        self._names = frozenset(name for name in (*config.topics, *config.gate) if not name.startswith("^"))
        self._patterns = _patterns(config.topics)
        self._session: KafkaSession | None = None

    @property
    def named_streams(self) -> Sequence[str]:
        return [topic for topic in self._config.topics if not topic.startswith("^")]

    def wants(self, topic: str) -> bool:
        """Whether a topic is read: named or matched, and neither dead letters nor the ledger."""
        if self._naming.is_dead_letter(topic):
            return False
        return topic in self._names or any(pattern.fullmatch(topic) for pattern in self._patterns)

    # --- life

    async def start(self) -> None:
        if self._session is not None:
            return
        cluster = KafkaCluster(self._connector)
        try:
            await cluster.start()
            await cluster.retry(f"looking for the group {self.group}", lambda: cluster.group_coordinator(self.group))
            topics = await cluster.retry("asking for topics", cluster.topics)
        except BaseException:
            await cluster.close()
            raise
        known = frozenset(TopicPartition(t, n) for t in filter(self.wants, topics) for n in topics[t])
        self._session = KafkaSession(
            cluster,
            self.group,
            self.wants,
            self._config.start,
            known,
            self._max_records,
            self._naming,
            self._ledger_entries,
        )

    async def close(self) -> None:
        await self._end_session(tell=True)

    async def _end_session(self, *, tell: bool) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close(tell=tell)

    @property
    def _running(self) -> KafkaSession:
        if self._session is None:
            raise Disconnected("Kafka: this broker is not started")
        return self._session

    # --- reading

    async def batches(self) -> AsyncIterator[Batch]:
        session = self._running
        while self._session is session:
            batch = session.next_batch()
            if batch is not None:
                yield batch
                await asyncio.sleep(0)
                continue
            session.check()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TROUBLE_CHECK_INTERVAL_S):
                    await session.wakeup.wait()
        raise Disconnected("Kafka: this broker was closed")

    def hold(self, lease: Lease) -> None:
        assert isinstance(lease, KafkaLease)
        lease.held = True
        lease.drop()  # many that are held must not take the room of those that are not

    def release(self, lease: Lease) -> None:
        assert isinstance(lease, KafkaLease)
        lease.held = False
        if self._session is not None:
            self._session.wake()

    async def rewind(self, lease: Lease) -> None:
        assert isinstance(lease, KafkaLease)
        if not lease.lost:
            offset = await self._running.committer.committed(lease)
            lease.jump(offset)
            self._running.wake()

    # --- writing

    async def commit(self, batches: Sequence[Batch], outgoing: Sequence[Outgoing]) -> None:
        if not batches:
            return
        lease = batches[0].lease
        assert isinstance(lease, KafkaLease)
        if lease.lost or self._session is None:
            raise Fenced(f"{lease.partition}: this lease is lost")
        await self._session.committer.commit(lease, batches[-1].next_offset, outgoing)

    async def publish(self, outgoing: Sequence[Outgoing]) -> list[Position]:
        if not outgoing:
            return []
        session = self._running
        partition_counts = await session.topics.partition_counts(one.stream for one in outgoing)
        offsets_by_index = await session.publisher.publish(assign_partitions(outgoing, partition_counts))
        return [
            Position("kafka", offsets_by_index[n][0].topic, offsets_by_index[n][0].partition, offsets_by_index[n][1])
            for n in range(len(outgoing))
        ]

    # --- looking

    async def read(self, position: Position) -> Record | None:
        return await self._running.log_reader.read(position)

    async def partitions(self, stream: str) -> list[Partition]:
        cluster = self._running.cluster
        found = await cluster.retry("asking for a topic", lambda: cluster.topics([stream]))
        return [Partition("kafka", stream, number) for number in sorted(found.get(stream, ()))]

    async def streams(self) -> list[str]:
        cluster = self._running.cluster
        return sorted(await cluster.retry("asking for topics", cluster.topics))

    async def bounds(self, partition: Partition) -> tuple[int, int]:
        return await self._running.log_reader.bounds(partition)

    def scan(
        self, partition: Partition, *, since: int | None = None, start: int | None = None, until: int | None = None
    ) -> AsyncIterator[Sequence[Record]]:
        return self._running.log_reader.scan(partition, since, start, until, self._max_records)

    async def status(self) -> list[PartitionStatus]:
        session = self._running
        cluster = session.cluster

        async def attempt() -> list[PartitionStatus]:
            topics = await cluster.topics()
            tps = [TopicPartition(t, n) for t in sorted(filter(self.wants, topics)) for n in sorted(topics[t])]
            if not tps:
                return []
            ends = await cluster.offsets(tps, LATEST, READ_UNCOMMITTED)
            committed = await cluster.committed(self.group, tps)
            return [self._status(tp, ends[tp], committed.get(tp)) for tp in tps]

        return await cluster.retry("asking how far everything is", attempt)

    def _status(self, tp: TopicPartition, end: int, committed: int | None) -> PartitionStatus:
        lag = max(0, end - committed) if committed is not None else None
        lease = self._running.membership.leases.get(tp)
        ours = lease is not None and not lease.lost
        return PartitionStatus(Partition("kafka", tp.topic, tp.partition), committed, end, lag, ours=ours)

    @property
    def ledger(self) -> LedgerProxy:
        return self._ledger

    async def retention(self, stream: str) -> Retention:
        return await self._running.topics.retention(stream)

    async def groups(self) -> list[GroupProgress]:
        return await self._running.groups.look()

    async def inspect(self) -> list[Finding]:
        return await inspect(self._connector, self._config, self.group, self._naming, self.wants)


class KafkaSession:
    """What a started broker consists of."""

    def __init__(
        self,
        cluster: KafkaCluster,
        group: str,
        wants: Callable[[str], bool],
        start: config.StartPosition,
        known: frozenset[TopicPartition],
        max_records: int,
        naming: StreamNames,
        ledger_entries: int,
    ) -> None:
        self.cluster = cluster
        self.wakeup = asyncio.Event()
        self._max_records = max_records
        self._round_robin: deque[KafkaLease] = deque()
        """The leases, whose turn it is first."""
        self._tasks: set[asyncio.Task[None]] = set()
        self.fetcher = KafkaFetcher(cluster, self.wakeup, self._on_gap)
        self.membership = GroupMembership(cluster, group, wants, self._on_assigned)
        self.topics = TopicAdmin(cluster)
        sender = BatchSender(cluster)
        self.publisher = IdempotentProducer(cluster, sender)
        self.committer = KafkaCommitter(cluster, self.membership, sender, self.topics)
        self.log_reader = KafkaLogReader(cluster)
        self.ledger = KafkaLedger(cluster, self.log_reader, self.topics, naming, ledger_entries)
        self.groups = KafkaConsumerGroups(cluster, group, wants)
        self._acquirer = PartitionAcquirer(cluster, self.membership, self.committer, start, known, self._on_acquired)

    async def close(self, *, tell: bool) -> None:
        await self._acquirer.close()
        await self.membership.leave(tell=tell)
        await self.fetcher.close()
        for move in self._tasks:
            move.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self.cluster.close()
        self.wakeup.set()

    def check(self) -> None:
        """Raises what keeps batches from coming."""
        self.membership.check()
        self._acquirer.check()
        self.fetcher.check()

    def wake(self) -> None:
        self.fetcher.wake()
        self.wakeup.set()

    def next_batch(self) -> Batch | None:
        """The next batch of the partition whose turn it is, if any has one."""
        if self.membership.rebalancing:
            self.wakeup.clear()
            return None
        for _ in range(len(self._round_robin)):
            lease = self._round_robin[0]
            self._round_robin.rotate(-1)
            if lease.lost or not lease.acquired:
                continue
            if not lease.announced:
                lease.announced = True
                return Batch(lease, (), lease.start)
            if not lease.held and (lease.chunks or lease.gap is not None):
                batch = self._batch(lease)
                if batch is not None:
                    return batch
        self.wakeup.clear()
        return None

    def _batch(self, lease: KafkaLease) -> Batch | None:
        gap, lease.gap = lease.gap, None
        records: list[Record] = []
        before = lease.position
        while lease.chunks and not records:
            chunk = lease.chunks[0]
            try:
                records = chunk.take(self._max_records)
            except UnreadableRecords as unreadable:
                lease.position = unreadable.past
                lost = Gap(lease.partition, before, unreadable.past, str(unreadable))
                return Batch(lease, (), unreadable.past, gap or lost)
            lease.position = chunk.next_offset
            if chunk.done:
                lease.chunks.popleft()
                lease.buffered -= chunk.size
                self.fetcher.wake()
        if not records and gap is None and lease.position == before:
            return None
        # Also where no record is left of it: what was aborted or compacted is to be committed past.
        return Batch(lease, records, lease.position, gap)

    # --- what the parts tell

    def _on_assigned(self, leases: Collection[KafkaLease]) -> None:
        self._round_robin = deque(leases)
        self.fetcher.watch(list(leases))
        self._acquirer.acquire(leases)
        self.wakeup.set()

    def _on_acquired(self, lease: KafkaLease) -> None:
        self.wake()

    def _on_gap(self, lease: KafkaLease, gap: Gap) -> None:
        if gap.resumed > gap.wanted:
            lease.jump(gap.resumed)
            lease.gap = gap
            self.wake()
            return
        task = asyncio.create_task(self._move_back(lease, gap), name=f"moving back {lease.partition}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _move_back(self, lease: KafkaLease, gap: Gap) -> None:
        """A topic that was created again: its offsets begin again, and so must what is committed."""
        with contextlib.suppress(Outage, Fenced):  # it is fetched again, and found again
            generation = lease.generation
            await self.committer.move(lease, gap.resumed)
            if not lease.lost and lease.generation == generation:
                lease.jump(gap.resumed)
                lease.gap = gap
                self.wake()


def _patterns(topics: Sequence[str]) -> list[re.Pattern[str]]:
    patterns, mistakes = [], []
    for n, topic in enumerate(topics):
        if topic.startswith("^"):
            try:
                patterns.append(re.compile(topic))
            except re.error as error:
                mistakes.append(Mistake(f"sources.kafka.topics[{n}]", "a regular expression", f"{topic!r}: {error}"))
    if mistakes:
        raise ConfigError(mistakes)
    return patterns
