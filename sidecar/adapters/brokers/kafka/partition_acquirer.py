"""Taking a partition that was assigned: fence it, read where the group is, begin there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from functools import partial

import structlog
from aiokafka.structs import TopicPartition

from sidecar.adapters.brokers.kafka.cluster_client import EARLIEST, LATEST, PATIENCE, KafkaCluster
from sidecar.adapters.brokers.kafka.committer import KafkaCommitter
from sidecar.adapters.brokers.kafka.group_membership import GroupMembership
from sidecar.adapters.brokers.kafka.partition_lease import KafkaLease
from sidecar.config.schema import StartPosition
from sidecar.domain.errors import Fenced, Outage, Refused, TracecarError

log = structlog.get_logger(__name__)

AT_ONCE = 16
"""Partitions taken at the same time."""
REFUSED_AGAIN = 15.0
"""Seconds until a partition that we were refused is tried again: somebody may have granted the right."""


class PartitionAcquirer:
    """Takes partitions in the background, each as soon as it can be."""

    def __init__(
        self,
        cluster: KafkaCluster,
        membership: GroupMembership,
        committing: KafkaCommitter,
        start: StartPosition,
        known: frozenset[TopicPartition],
        taken: Callable[[KafkaLease], None],
    ) -> None:
        """`known` are the partitions there were when the sidecar started: they begin at `start` where the group has no
        offset. What appears later is read from its beginning, for it is all new."""
        self._cluster, self._membership, self._settling = cluster, membership, committing
        self._start, self._known, self._taken = start, known, taken
        self._now = int(time.time() * 1000)
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._tasks: dict[KafkaLease, asyncio.Task[None]] = {}
        self._trouble: TracecarError | None = None

    def take(self, tenures: Collection[KafkaLease]) -> None:
        """Take those of them that are not taken yet; let go of the others that were being taken."""
        for tenure, task in self._tasks.items():
            if tenure.lost:
                task.cancel()
        for tenure in tenures:
            if not tenure.taken and not tenure.lost and tenure not in self._tasks:
                task = asyncio.create_task(self._take(tenure), name=f"taking {tenure.partition}")
                self._tasks[tenure] = task
                task.add_done_callback(partial(self._ended, tenure))

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

    def _ended(self, tenure: KafkaLease, task: asyncio.Task[None]) -> None:
        self._tasks.pop(tenure, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._trouble = error if isinstance(error, TracecarError) else Outage(f"{tenure.partition}: {error!r}")
            self._taken(tenure)

    async def _take(self, tenure: KafkaLease) -> None:
        wait = 0.05
        while not tenure.lost:
            try:
                async with self._slots:
                    offset = await self._begin(tenure)
            except Fenced:
                pass  # a rebalance is under way: it decides
            except Outage as error:
                log.warning("a partition cannot be taken yet", partition=str(tenure.partition), reason=str(error))
            except Refused as error:
                self._trouble = error
                self._taken(tenure)
                wait = REFUSED_AGAIN
            else:
                if not tenure.lost:
                    tenure.take(offset)
                    self._taken(tenure)
                return
            await asyncio.sleep(wait)
            wait = min(wait * 2, max(wait, 2.0))

    async def _begin(self, tenure: KafkaLease) -> int:
        tp = tenure.tp
        # The order matters: only behind the fence does the committed offset stand still.
        tenure.identity = await self._settling.fence(tp)
        group = self._membership.group
        found = await self._cluster.retry(
            f"reading the offset of {tenure.partition}", lambda: self._cluster.committed(group, [tp])
        )
        if tp in found:
            return found[tp]
        offset = self._membership.settled_here.get(tp)
        if offset is None:
            offset = await self._cluster.retry(f"finding the start of {tenure.partition}", lambda: self._first(tp))
        await self._membership.standing(tenure, PATIENCE)
        # At once, so that a restart before the first settlement does not begin somewhere else.
        await self._settling.move(tenure, offset)
        return offset

    async def _first(self, tp: TopicPartition) -> int:
        kind = self._start.kind
        if kind == "earliest" or tp not in self._known:
            return (await self._cluster.offsets([tp], EARLIEST))[tp]
        if kind == "latest":
            return (await self._cluster.offsets([tp], LATEST))[tp]
        since = self._start.value if kind == "at" else self._now - self._start.value
        offset = (await self._cluster.offsets([tp], max(0, since)))[tp]
        return offset if offset >= 0 else (await self._cluster.offsets([tp], LATEST))[tp]
