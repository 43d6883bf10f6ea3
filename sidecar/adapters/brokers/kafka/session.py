"""Session of a started broker: its parts, and the order in which partitions deliver."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Collection, Mapping

from aiokafka.structs import TopicPartition

from sidecar.adapters.brokers.kafka.cluster_client import KafkaCluster
from sidecar.adapters.brokers.kafka.committer import KafkaCommitter
from sidecar.adapters.brokers.kafka.consumer_group_offsets import KafkaConsumerGroups
from sidecar.adapters.brokers.kafka.fetcher import KafkaFetcher
from sidecar.adapters.brokers.kafka.group_membership import GroupMembership
from sidecar.adapters.brokers.kafka.idempotent_producer import BatchSender, IdempotentProducer
from sidecar.adapters.brokers.kafka.ledger import KafkaLedger
from sidecar.adapters.brokers.kafka.log_reader import KafkaLogReader
from sidecar.adapters.brokers.kafka.partition_acquirer import PartitionAcquirer
from sidecar.adapters.brokers.kafka.partition_lease import KafkaLease
from sidecar.adapters.brokers.kafka.topic_admin import TopicAdmin
from sidecar.config.value_types import StartPosition
from sidecar.domain.errors import Fenced, Outage
from sidecar.domain.model import Record
from sidecar.domain.ports.broker import Batch, Gap
from sidecar.domain.stream_names import StreamNames


class KafkaSession:
    """The parts of a started broker."""

    def __init__(
        self,
        cluster: KafkaCluster,
        group: str,
        wants: Callable[[str], bool],
        start: StartPosition,
        known: Mapping[TopicPartition, bytes | None],
        max_records: int,
        naming: StreamNames,
        ledger_entries: int,
    ) -> None:
        """Join the group and start to fetch.

        Args:
            cluster: The cluster, connected.
            group: Name of the consumer group.
            wants: Returns whether a topic is to be read.
            start: Start of the partitions in `known` if the group has no offset.
            known: Partitions that exist now, with the topic's id.
            max_records: Maximum number of records in a batch.
            naming: Names of dead-letter topics.
            ledger_entries: Maximum number of ledger entries in memory.
        """
        self.cluster = cluster
        self.wakeup = asyncio.Event()
        """Set when there may be something to deliver."""
        self.in_step = False
        """True while a large batch is read in steps: pause, then ask for the next batch again."""
        self._max_records = max_records
        self._round_robin: deque[KafkaLease] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self.fetcher = KafkaFetcher(cluster, self.wakeup, self._on_gap, self._on_recreated)
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
        """Close all parts. Without `tell`, the group notices only when the session times out, as after a crash."""
        await self._acquirer.close()
        await self.membership.leave(tell=tell)
        await self.fetcher.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self.cluster.close()
        self.wakeup.set()

    def check(self) -> None:
        """Raise the error of a part that prevents further batches."""
        self.membership.check()
        self._acquirer.check()
        self.fetcher.check()

    def wake(self) -> None:
        self.fetcher.wake()
        self.wakeup.set()

    def next_batch(self) -> Batch | None:
        """Return the next batch of the next partition that has one; None if no partition has."""
        self.in_step = False
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
                gap, lease.gap = lease.gap, None
                return Batch(lease, (), lease.start, gap)
            if not lease.held and (lease.chunks or lease.gap is not None):
                batch = self._batch(lease)
                if batch is not None:
                    return batch
        if not self.in_step:
            self.wakeup.clear()
        return None

    def _batch(self, lease: KafkaLease) -> Batch | None:
        records: list[Record] = []
        before = lease.position
        while lease.chunks and not records:
            chunk = lease.chunks[0]
            records = chunk.take(self._max_records)
            lease.position = chunk.next_offset
            lease.codec = chunk.codec or lease.codec
            if chunk.done:
                lease.chunks.popleft()
                lease.buffered -= chunk.size
                self.fetcher.wake()
            elif not records:
                self.in_step = True
                break
        gap, lease.gap = lease.gap, None
        if not records and gap is None and lease.position == before:
            return None
        # Also without records: offsets of aborted and compacted ones must be committed past.
        return Batch(lease, records, lease.position, gap)

    # --- called by the parts

    def _on_assigned(self, leases: Collection[KafkaLease]) -> None:
        self._round_robin = deque(leases)
        self.fetcher.watch(list(leases))
        self._acquirer.acquire(leases)
        self.wakeup.set()

    def _on_acquired(self, lease: KafkaLease) -> None:
        self.wake()

    def _on_recreated(self, lease: KafkaLease) -> None:
        """End a lease whose topic was deleted and created again.

        Acquiring the partition again finds the new beginning, and tells of it.
        """
        lease.lose()
        self.membership.acquire_again(lease)

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
        """Move the committed offset back, to where the log's offsets begin or end now."""
        with contextlib.suppress(Outage, Fenced):  # it is fetched again, and found again
            generation = lease.generation
            await self.committer.move(lease, gap.resumed)
            if not lease.lost and lease.generation == generation:
                lease.jump(gap.resumed)
                lease.gap = gap
                self.wake()
