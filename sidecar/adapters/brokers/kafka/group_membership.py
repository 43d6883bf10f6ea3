"""The group: which partitions are ours, and for how long.

aiokafka's coordinator joins, heartbeats and rebalances by Kafka's eager protocol, in which every rebalance revokes
everything. A partition that comes back in the very next generation to the same member was nobody else's in between, so
its lease goes on, with what is held, buffered and under way; any other is lost and taken anew."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterable
from typing import Any

from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import KafkaError, RebalanceInProgressError
from aiokafka.structs import TopicPartition

from sidecar.adapters.brokers.kafka.cluster_client import KafkaCluster
from sidecar.adapters.brokers.kafka.errors import translate
from sidecar.adapters.brokers.kafka.partition_lease import KafkaLease
from sidecar.domain.errors import Disconnected, Fenced

LEAVE_TIMEOUT_S = 3.0
"""Seconds for leaving the group in good order."""


class _TopicMatcher:
    """What aiokafka takes for a compiled pattern."""

    def __init__(self, wants: Callable[[str], bool]) -> None:
        self.match = wants


class GroupMembership(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """Our place in the group from `join` to `leave`."""

    def __init__(
        self,
        cluster: KafkaCluster,
        group: str,
        wants: Callable[[str], bool],
        assigned: Callable[[Collection[KafkaLease]], None],
    ) -> None:
        """`wants` says which topics are read; `assigned` is told all leases after each rebalance, some of them new."""
        self._cluster, self.group, self._on_assigned = cluster, group, assigned
        self.leases: dict[TopicPartition, KafkaLease] = {}
        self.committed_here: dict[TopicPartition, int] = {}
        """What this process has committed, for when the group forgets it."""
        self._last_identity: tuple[str, int] = ("", -1)
        self._assignment_valid = asyncio.Event()
        """Set while the assignment stands; not set during a rebalance."""
        subscription = SubscriptionState()
        subscription.register_fetch_waiters(set())
        subscription.subscribe_pattern(_TopicMatcher(wants), listener=self)
        self._reading = subscription.fetch_context()
        self._reading.__enter__()  # never idle: that a partition waits is no reason to leave the group
        options = cluster.options
        # A class of our own: aiokafka keeps a member's last assignment on the class.
        sticky = type("Sticky", (StickyPartitionAssignor,), {})
        self._coordinator: Any = GroupCoordinator(
            cluster.client,
            subscription,
            group_id=group,
            group_instance_id=options.group_instance_id,
            session_timeout_ms=options.session_timeout_ms,
            heartbeat_interval_ms=min(options.heartbeat_interval_ms, options.session_timeout_ms // 3),
            rebalance_timeout_ms=options.rebalance_timeout_ms or options.session_timeout_ms,
            retry_backoff_ms=options.retry_backoff_ms,
            enable_auto_commit=False,
            assignors=(sticky,),
            exclude_internal_topics=True,
        )

    @property
    def identity(self) -> tuple[str, int]:
        """Member id and generation as of now."""
        return self._coordinator.member_id, self._coordinator.generation

    @property
    def rebalancing(self) -> bool:
        return not self._assignment_valid.is_set()

    def check(self) -> None:
        """Raises our exception for what keeps us out of the group."""
        try:
            self._coordinator.check_errors()
        except KafkaError as error:
            ours = translate(error, f"being a member of the group {self.group}")
            if self._coordinator._coordination_task.done():
                raise Disconnected(str(ours)) from error
            raise ours from error

    async def await_assignment(self, lease: KafkaLease, within: float) -> None:
        """Wait until no rebalance is under way. Raises Fenced where the lease is lost then, TimeoutError after
        `within` seconds."""
        async with asyncio.timeout(within):
            await self._assignment_valid.wait()
        if lease.lost:
            raise Fenced(f"{lease.partition}: another member owns this partition now")

    def rejoin(self, code: int) -> None:
        """The group answered with this error that our generation is over: join again, and wait for what comes of it."""
        self._begin_rebalance()
        if code == RebalanceInProgressError.errno:
            self._coordinator.request_rejoin()
        else:
            self._coordinator.reset_generation()

    def join_as_new_member(self) -> None:
        """Become another member: all leases are lost, and nothing that was sent as this member counts any more."""
        self._begin_rebalance()
        for lease in self.leases.values():
            lease.lose()
        self._coordinator.maybe_leave_group()

    def acquire_again(self, lease: KafkaLease) -> KafkaLease | None:
        """A new lease for a partition that is assigned to us and whose lease is lost."""
        if self.leases.get(lease.tp) is not lease:
            return None
        self.leases[lease.tp] = new = KafkaLease(lease.tp)
        self._on_assigned(self.leases.values())
        return new

    async def leave(self, *, tell: bool = True) -> None:
        """Give everything up. Without `tell` the group notices when the session ends, as after a crash."""
        self._cluster.client.cluster.remove_listener(self._coordinator._handle_metadata_update)
        for lease in self.leases.values():
            lease.lose()
        self.leases.clear()
        if not tell:
            self._coordinator._closing.set_result(None)
            self._coordinator.generation = -1
            self._coordinator._coordination_task.cancel()
        with contextlib.suppress(TimeoutError, KafkaError):
            async with asyncio.timeout(LEAVE_TIMEOUT_S):
                await self._coordinator.close()
        tasks = [self._coordinator._coordination_task, self._coordinator._heartbeat_task]
        tasks = [task for task in (*tasks, self._coordinator._commit_refresh_task) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.exception()  # it was told by `check`, or is too late

    # --- as aiokafka's listener

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self._begin_rebalance()

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        member, generation = self.identity
        same = self._last_identity in ((member, generation - 1), (member, generation))
        self._last_identity = (member, generation)
        before, self.leases = self.leases, {}
        for tp in sorted(assigned):
            old = before.get(tp)
            self.leases[tp] = old if old is not None and same and not old.lost else KafkaLease(tp)
        for tp, old in before.items():
            if self.leases.get(tp) is not old:
                old.lose()
        self._assignment_valid.set()
        self._on_assigned(self.leases.values())

    def _begin_rebalance(self) -> None:
        self._assignment_valid.clear()
