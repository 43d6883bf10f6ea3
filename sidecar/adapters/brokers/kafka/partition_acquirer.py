"""Acquisition of assigned partitions: fence each one, read the group's offset, and start there."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial

import structlog
from aiokafka.structs import TopicPartition

from sidecar.adapters.brokers.kafka.cluster_client import (
    EARLIEST_OFFSET,
    LATEST_OFFSET,
    RETRY_TIMEOUT_S,
    UNCOMMITTED_ISOLATION_ID,
    CommittedOffset,
    KafkaCluster,
)
from sidecar.adapters.brokers.kafka.committer import KafkaCommitter
from sidecar.adapters.brokers.kafka.group_membership import GroupMembership
from sidecar.adapters.brokers.kafka.partition_lease import KafkaLease
from sidecar.config.value_types import StartPosition
from sidecar.domain.errors import Fenced, Outage, Refused, TracecarError
from sidecar.domain.ports.broker import Gap

log = structlog.get_logger(__name__)

MAX_CONCURRENT_ACQUISITIONS = 16
REFUSED_RETRY_INTERVAL_S = 15.0
"""Wait before a refused partition is tried again, because an operator may have granted the missing right."""
FIRST_RETRY_INTERVAL_S, RETRY_INTERVAL_MAX_S = 0.05, 2.0


class PartitionAcquirer:
    """Acquires partitions in the background, each as soon as possible."""

    def __init__(
        self,
        cluster: KafkaCluster,
        membership: GroupMembership,
        committer: KafkaCommitter,
        start: StartPosition,
        known: Mapping[TopicPartition, bytes | None],
        on_acquired: Callable[[KafkaLease], None],
    ) -> None:
        """Prepare to acquire leases.

        Args:
            cluster: The cluster, connected.
            membership: Our membership in the group.
            committer: Fences partitions and commits their first offset.
            start: Start of the partitions in `known` if the group has no offset.
            known: Partitions that existed when the sidecar started, with the topic's id. Any other partition is new,
                and is read from its beginning.
            on_acquired: Called with each lease that was acquired, or that cannot be.
        """
        self._cluster, self._membership, self._committer = cluster, membership, committer
        self._start, self._known, self._on_acquired = start, known, on_acquired
        self._started_at_ms = int(time.time() * 1000)
        self._slots = asyncio.Semaphore(MAX_CONCURRENT_ACQUISITIONS)
        self._tasks: dict[KafkaLease, asyncio.Task[None]] = {}
        self._trouble: TracecarError | None = None

    def acquire(self, leases: Collection[KafkaLease]) -> None:
        """Acquire the leases that are not acquired yet; stop acquiring those that are lost."""
        for lease, task in self._tasks.items():
            if lease.lost:
                task.cancel()
        for lease in leases:
            if not lease.acquired and not lease.lost and lease not in self._tasks:
                task = asyncio.create_task(self._acquire(lease), name=f"acquiring {lease.partition}")
                self._tasks[lease] = task
                task.add_done_callback(partial(self._on_done, lease))

    def check(self) -> None:
        """Raise the error of a partition that cannot be acquired until an operator changes something."""
        if self._trouble is not None:
            trouble, self._trouble = self._trouble, None
            raise trouble

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _on_done(self, lease: KafkaLease, task: asyncio.Task[None]) -> None:
        self._tasks.pop(lease, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._trouble = error if isinstance(error, TracecarError) else Outage(f"{lease.partition}: {error!r}")
            self._on_acquired(lease)

    async def _acquire(self, lease: KafkaLease) -> None:
        wait = FIRST_RETRY_INTERVAL_S
        while not lease.lost:
            try:
                async with self._slots:
                    offset = await self._first_offset(lease)
            except Fenced:
                pass  # a rebalance is under way: it decides
            except Outage as error:
                log.warning("cannot acquire a partition yet", partition=str(lease.partition), reason=str(error))
            except Refused as error:
                self._trouble = error
                self._on_acquired(lease)
                wait = REFUSED_RETRY_INTERVAL_S
            else:
                if not lease.lost:
                    lease.acquire(offset)
                    self._on_acquired(lease)
                return
            await asyncio.sleep(wait)
            wait = min(wait * 2, max(wait, RETRY_INTERVAL_MAX_S))

    async def _first_offset(self, lease: KafkaLease) -> int:
        tp, group = lease.tp, self._membership.group
        # The order matters: only behind the fence the committed offset cannot change any more.
        lease.identity = await self._committer.fence(tp)
        lease.topic_id = await self._cluster.retry(
            f"asking for the id of {tp.topic}", lambda: self._cluster.topic_id(tp.topic)
        )
        lease.incarnation = None if lease.topic_id is None else _format_topic_id(lease.topic_id)
        offsets = await self._cluster.retry(
            f"reading the offset of {lease.partition}", lambda: self._cluster.committed_offsets(group, [tp])
        )
        committed = offsets.get(tp) or self._membership.committed_here.get(tp)
        if committed is not None and await self._is_recreated(lease, committed):
            return await self._begin_again(lease, committed)
        lease.history_mark = None if committed is None else committed.history_mark
        if tp in offsets and (offsets[tp].topic_id is not None or lease.topic_id is None):
            return offsets[tp].offset
        # Commit what the group has not: an offset, so that a restart before the first commit does not begin elsewhere,
        # or the topic's id, without which a topic that is created again is not recognized.
        if committed is not None:
            offset = committed.offset
        else:
            offset = await self._cluster.retry(
                f"finding the start of {lease.partition}", lambda: self._configured_start(lease)
            )
        await self._membership.await_assignment(lease, RETRY_TIMEOUT_S)
        await self._committer.move(lease, offset)
        return offset

    async def _is_recreated(self, lease: KafkaLease, committed: CommittedOffset) -> bool:
        """Return whether an offset was committed for another topic of the same name.

        Without the id of the topic that it was committed for, it was if it lies beyond the end.
        """
        if lease.topic_id is None:
            return False
        if committed.topic_id is not None:
            return committed.topic_id != lease.topic_id
        ends = await self._cluster.retry(
            f"finding the end of {lease.partition}",
            lambda: self._cluster.offsets([lease.tp], LATEST_OFFSET, UNCOMMITTED_ISOLATION_ID),
        )
        return committed.offset > ends[lease.tp]

    async def _begin_again(self, lease: KafkaLease, committed: CommittedOffset) -> int:
        """Move the group to the beginning of a topic that was created again."""
        tp = lease.tp
        first = await self._cluster.retry(
            f"finding the beginning of {lease.partition}", lambda: self._cluster.offsets([tp], EARLIEST_OFFSET)
        )
        await self._membership.await_assignment(lease, RETRY_TIMEOUT_S)
        await self._committer.move(lease, first[tp])
        lease.gap = Gap(
            lease.partition,
            committed.offset,
            first[tp],
            f"the topic {tp.topic} was deleted and created again: records of the old one from offset "
            f"{committed.offset} on were not read, the new one is read from its beginning",
            recreated=True,
        )
        return first[tp]

    async def _configured_start(self, lease: KafkaLease) -> int:
        tp, kind = lease.tp, self._start.kind
        is_new = tp not in self._known or self._known[tp] != lease.topic_id
        if kind == "earliest" or is_new:
            return (await self._cluster.offsets([tp], EARLIEST_OFFSET))[tp]
        if kind == "latest":
            return (await self._cluster.offsets([tp], LATEST_OFFSET))[tp]
        since = self._start.value if kind == "at" else self._started_at_ms - self._start.value
        offset = (await self._cluster.offsets([tp], max(0, since)))[tp]
        return offset if offset >= 0 else (await self._cluster.offsets([tp], LATEST_OFFSET))[tp]


def _format_topic_id(topic_id: bytes) -> str:
    """Write a topic's id as Kafka's own tools do."""
    return base64.urlsafe_b64encode(topic_id).decode().rstrip("=")
