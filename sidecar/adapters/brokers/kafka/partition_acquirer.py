"""Taking a partition that was assigned: fence it, read where the group is, begin there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from functools import partial

import structlog
from aiokafka.structs import TopicPartition

from sidecar.adapters.brokers.kafka.cluster_client import EARLIEST, LATEST, RETRY_TIMEOUT_S, KafkaCluster
from sidecar.adapters.brokers.kafka.committer import KafkaCommitter
from sidecar.adapters.brokers.kafka.group_membership import GroupMembership
from sidecar.adapters.brokers.kafka.partition_lease import KafkaLease
from sidecar.config.schema import StartPosition
from sidecar.domain.errors import Fenced, Outage, Refused, TracecarError

log = structlog.get_logger(__name__)

MAX_CONCURRENCY = 16
"""Partitions taken at the same time."""
REFUSED_RETRY_INTERVAL_S = 15.0
"""Seconds until a partition that we were refused is tried again: somebody may have granted the right."""


class PartitionAcquirer:
    """Takes partitions in the background, each as soon as it can be."""

    def __init__(
        self,
        cluster: KafkaCluster,
        membership: GroupMembership,
        committer: KafkaCommitter,
        start: StartPosition,
        known: frozenset[TopicPartition],
        acquired: Callable[[KafkaLease], None],
    ) -> None:
        """`known` are the partitions there were when the sidecar started: they begin at `start` where the group has no
        offset. What appears later is read from its beginning, for it is all new."""
        self._cluster, self._membership, self._committer = cluster, membership, committer
        self._start, self._await_leaders, self._on_acquired = start, known, acquired
        self._started_at_ms = int(time.time() * 1000)
        self._slots = asyncio.Semaphore(MAX_CONCURRENCY)
        self._tasks: dict[KafkaLease, asyncio.Task[None]] = {}
        self._trouble: TracecarError | None = None

    def acquire(self, leases: Collection[KafkaLease]) -> None:
        """Take those of them that are not taken yet; let go of the others that were being taken."""
        for lease, task in self._tasks.items():
            if lease.lost:
                task.cancel()
        for lease in leases:
            if not lease.acquired and not lease.lost and lease not in self._tasks:
                task = asyncio.create_task(self._acquire(lease), name=f"taking {lease.partition}")
                self._tasks[lease] = task
                task.add_done_callback(partial(self._ended, lease))

    def check(self) -> None:
        """Raises what a person must be told about: a partition that cannot be taken until something is changed."""
        if self._trouble is not None:
            trouble, self._trouble = self._trouble, None
            raise trouble

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _ended(self, lease: KafkaLease, task: asyncio.Task[None]) -> None:
        self._tasks.pop(lease, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._trouble = error if isinstance(error, TracecarError) else Outage(f"{lease.partition}: {error!r}")
            self._on_acquired(lease)

    async def _acquire(self, lease: KafkaLease) -> None:
        wait = 0.05
        while not lease.lost:
            try:
                async with self._slots:
                    offset = await self._first_offset_of(lease)
            except Fenced:
                pass  # a rebalance is under way: it decides
            except Outage as error:
                log.warning("a partition cannot be taken yet", partition=str(lease.partition), reason=str(error))
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
            wait = min(wait * 2, max(wait, 2.0))

    async def _first_offset_of(self, lease: KafkaLease) -> int:
        tp = lease.tp
        # The order matters: only behind the fence does the committed offset stand still.
        lease.identity = await self._committer.fence(tp)
        group = self._membership.group
        found = await self._cluster.retry(
            f"reading the offset of {lease.partition}", lambda: self._cluster.committed(group, [tp])
        )
        if tp in found:
            return found[tp]
        offset = self._membership.committed_here.get(tp)
        if offset is None:
            offset = await self._cluster.retry(
                f"finding the start of {lease.partition}", lambda: self._configured_start(tp)
            )
        await self._membership.await_assignment(lease, RETRY_TIMEOUT_S)
        # At once, so that a restart before the first settlement does not begin somewhere else.
        await self._committer.move(lease, offset)
        return offset

    async def _configured_start(self, tp: TopicPartition) -> int:
        kind = self._start.kind
        if kind == "earliest" or tp not in self._await_leaders:
            return (await self._cluster.offsets([tp], EARLIEST))[tp]
        if kind == "latest":
            return (await self._cluster.offsets([tp], LATEST))[tp]
        since = self._start.value if kind == "at" else self._started_at_ms - self._start.value
        offset = (await self._cluster.offsets([tp], max(0, since)))[tp]
        return offset if offset >= 0 else (await self._cluster.offsets([tp], LATEST))[tp]
