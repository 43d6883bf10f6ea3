"""Membership in the consumer group: which partitions are ours, and for how long.

aiokafka's coordinator joins, sends heartbeats and rebalances by Kafka's eager protocol, in which every rebalance
revokes everything. A partition that comes back to the same member in the very next generation belonged to no other
member in between, so its lease continues, with its hold, its buffer and its commits in flight. Any other lease is
lost, and the partition is acquired again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import KafkaError, RebalanceInProgressError
from aiokafka.structs import TopicPartition

from sidecar.adapters.brokers.kafka.cluster_client import CommittedOffset, KafkaCluster
from sidecar.adapters.brokers.kafka.errors import translate
from sidecar.adapters.brokers.kafka.partition_lease import KafkaLease
from sidecar.domain.errors import Disconnected, Fenced

LEAVE_TIMEOUT_S = 3.0
"""Longest wait for the group to confirm that we left."""
NO_POLL_LIMIT_MS = 1 << 40
"""Poll interval that never elapses."""


class _TopicMatcher:
    """Stands in for the compiled pattern that aiokafka expects."""

    def __init__(self, wants: Callable[[str], bool]) -> None:
        self.match = wants


class GroupMembership(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """One member of the group, from construction to `leave`."""

    def __init__(
        self,
        cluster: KafkaCluster,
        group: str,
        wants: Callable[[str], bool],
        on_assigned: Callable[[Collection[KafkaLease]], None],
    ) -> None:
        """Join the group in the background.

        Args:
            cluster: The cluster, connected.
            group: Name of the consumer group.
            wants: Returns whether a topic is to be read.
            on_assigned: Called after each rebalance with all leases, new ones among them.
        """
        self._cluster, self.group, self._on_assigned = cluster, group, on_assigned
        self.leases: dict[TopicPartition, KafkaLease] = {}
        self.committed_here: dict[TopicPartition, CommittedOffset] = {}
        """Offsets that this process committed, for when the group forgets them."""
        self._last_identity: tuple[str, int] = ("", -1)
        self._assignment_valid = asyncio.Event()
        """Set while the assignment is in force; cleared during a rebalance."""
        subscription = SubscriptionState()
        subscription.register_fetch_waiters(set())
        subscription.subscribe_pattern(_TopicMatcher(wants), listener=self)
        self._subscription = subscription
        options = cluster.options
        self._limits_polling = options.max_poll_interval_ms is not None
        if not self._limits_polling:
            # Never idle: that a partition waits is no reason to leave the group.
            self._endless_poll = subscription.fetch_context()
            self._endless_poll.__enter__()
        # A class of our own: aiokafka keeps a member's last assignment on the class.
        self._assignor: Any = type("Sticky", (StickyPartitionAssignor,), {})
        self._coordinator: Any = GroupCoordinator(
            cluster.client,
            subscription,
            group_id=group,
            group_instance_id=options.group_instance_id,
            session_timeout_ms=options.session_timeout_ms,
            heartbeat_interval_ms=min(options.heartbeat_interval_ms, options.session_timeout_ms // 3),
            rebalance_timeout_ms=options.rebalance_timeout_ms or options.session_timeout_ms,
            max_poll_interval_ms=options.max_poll_interval_ms or NO_POLL_LIMIT_MS,
            retry_backoff_ms=options.retry_backoff_ms,
            enable_auto_commit=False,
            assignors=(self._assignor,),
            exclude_internal_topics=True,
        )

    @property
    def identity(self) -> tuple[str, int]:
        """Current member id and generation."""
        return self._coordinator.member_id, self._coordinator.generation

    @property
    def rebalancing(self) -> bool:
        return not self._assignment_valid.is_set()

    @contextlib.contextmanager
    def polling(self) -> Iterator[None]:
        """Count the time in this block as polling: `max_poll_interval_ms` limits the time between two such blocks."""
        if not self._limits_polling:
            yield
            return
        with self._subscription.fetch_context():
            yield

    def check(self) -> None:
        """Raise the error that keeps us out of the group, translated into ours."""
        try:
            self._coordinator.check_errors()
        except KafkaError as error:
            ours = translate(error, f"staying in the group {self.group}")
            if self._coordinator._coordination_task.done():
                raise Disconnected(str(ours)) from error
            raise ours from error

    async def await_assignment(self, lease: KafkaLease, within: float) -> None:
        """Wait until no rebalance is in progress, at most `within` seconds.

        Raises Fenced if the lease is lost then, and TimeoutError.
        """
        async with asyncio.timeout(within):
            await self._assignment_valid.wait()
        if lease.lost:
            raise Fenced(f"{lease.partition}: another member owns this partition now")

    def rejoin(self, code: int) -> None:
        """Join again after the group answered with this error that our generation has ended."""
        self._begin_rebalance()
        if code == RebalanceInProgressError.errno:
            self._coordinator.request_rejoin()
        else:
            self._coordinator.reset_generation()

    def join_as_new_member(self) -> None:
        """Leave, and join under another member id.

        All leases are lost, and requests sent as this member are refused from now on.
        """
        self._begin_rebalance()
        for lease in self.leases.values():
            lease.lose()
        self._coordinator.maybe_leave_group()

    def acquire_again(self, lease: KafkaLease) -> KafkaLease | None:
        """Return a new lease in place of a lost one; None if its partition is no longer assigned to us."""
        if self.leases.get(lease.tp) is not lease:
            return None
        self.leases[lease.tp] = new = KafkaLease(lease.tp)
        self._on_assigned(self.leases.values())
        return new

    async def leave(self, *, tell: bool = True) -> None:
        """Give up all partitions.

        Without `tell`, the group notices only when the session times out, as after a crash.
        """
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
                task.exception()  # `check` has raised it, or it is too late

    # --- as aiokafka's listener

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self._begin_rebalance()

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        member, generation = self.identity
        # The assignor prefers the owner of the latest generation; aiokafka never tells it (aiokafka #1176).
        self._assignor.on_generation_assignment(generation)
        continues = self._last_identity in ((member, generation - 1), (member, generation))
        self._last_identity = (member, generation)
        before, self.leases = self.leases, {}
        for tp in sorted(assigned):
            old = before.get(tp)
            self.leases[tp] = old if old is not None and continues and not old.lost else KafkaLease(tp)
        for tp, old in before.items():
            if self.leases.get(tp) is not old:
                old.lose()
        self._assignment_valid.set()
        self._on_assigned(self.leases.values())

    def _begin_rebalance(self) -> None:
        self._assignment_valid.clear()
