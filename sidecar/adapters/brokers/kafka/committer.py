"""Committing: dead letters and offsets as one act, and the fence that makes it happen once.

**Who may commit.** Each partition has a transactional id of its own, `tracecar.shop.orders.0` (group, topic,
partition). A member that acquires the partition sends InitProducerId for that id *first*: the transaction coordinator
ends what the previous owner has open (commits it if its commit was decided, else aborts it) and refuses that owner
from then on. *Then* the member reads the committed offset, and begins there. So when the offset is read, nothing that
an earlier owner did can change it any more.

**With dead letters**: one transaction of the letters and the offset (KIP-98). Add the partitions and the group to the
transaction; write the letters, and the offset as pending; end the transaction. The letters become visible
(read_committed) and the offset moves at the same moment: the coordinator's decision to commit.

**Without dead letters**: an ordinary offset commit in the group's generation, one round trip instead of three. Previous
owners are refused by their generation, as their transactions are by their epoch.

**Why the two never undo each other.** Within a lease, commits run in order, one after the other (`KafkaLease.lock`),
so a later commit only ever overwrites an earlier one with a higher offset. Across owners: a transaction of a previous
owner ends before the new owner reads (the fence); an offset commit of a previous owner is refused after the rebalance
that gave the partition to the new one. What remains is the answer that never came: the request may be queued in a
broker and be carried out later.

- The request of a transaction: before the next attempt the partition is fenced again, which refuses everything that was
  sent in the old epoch, and the committed offset tells whether the transaction was committed. If the offset moved, it
  is done; if not, it is tried again.
- The request of an offset commit: it could move the offset back after a later transaction moved it forward, and dead
  letters would be written again after a restart. Therefore the member leaves the group and joins as a new member; the
  old request carries the old member id and generation and is refused. All leases are lost; nothing else is.

**If the process dies** between any two lines. Before the transaction ends: the next owner's fence aborts it, the
letters never become visible, the offset has not moved, the records are delivered again. After it: both are durable.
Before or after a commit without letters: there is nothing to duplicate. While creating a dead-letter topic: it exists
or not, the next member looks.

**If two members believe that they own a partition**, because one of them was paused (SIGSTOP, a long garbage
collection) and wakes up with an old lease: each request that it sends is refused by epoch or generation. It could
fence the new owner in turn, but it asks the group first, and fences only while it is a member of the current
generation. Should it slip through, it reads the committed offset under its own fence and finds either the offset that
it left (it continues; the other member is refused and acquires the partition again, from the committed offset) or a
higher one (it is not the owner: Fenced). Either way each dead letter is in one committed transaction only.

**If the broker forgets the group's offset** while we run (expired, deleted): nothing is committed on a guess. The
offset that this process committed last is remembered and committed again (`partition_acquirer`).

**If the topic is deleted and created again**: each commit carries the topic's id as its metadata. A commit of the old
topic that reaches the new one, late, is recognized by it when the partition is acquired, and the new topic is read from
its beginning (`partition_acquirer`).

**What the history lacks**: the metadata also has the lease's `history_mark`, so that it is as durable as the offset. It
never lies above an offset that is committed and in no file, whichever request of an owner is carried out last."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Sequence
from typing import TypeVar

import structlog
from aiokafka import errors as kafka
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.transaction import (
    AddOffsetsToTxnRequest,
    AddPartitionsToTxnRequest,
    TxnOffsetCommitRequest,
)
from aiokafka.structs import TopicPartition

from sidecar.adapters.brokers.kafka import transactions
from sidecar.adapters.brokers.kafka.cluster_client import (
    RETRY_TIMEOUT_S,
    CommittedOffset,
    KafkaCluster,
    format_offset_metadata,
)
from sidecar.adapters.brokers.kafka.errors import check, is_transient, translate
from sidecar.adapters.brokers.kafka.group_membership import GroupMembership
from sidecar.adapters.brokers.kafka.idempotent_producer import BatchSender, ProducerIdentity
from sidecar.adapters.brokers.kafka.partition_lease import KafkaLease
from sidecar.adapters.brokers.kafka.record_batch import assign_partitions
from sidecar.adapters.brokers.kafka.topic_admin import TopicAdmin
from sidecar.domain.errors import Fenced, Outage, Refused
from sidecar.domain.model import Outgoing

log = structlog.get_logger(__name__)
A = TypeVar("A")
B = TypeVar("B")

_STALE_GENERATION_CODES = (22, 25, 27)
"""ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID, REBALANCE_IN_PROGRESS: answers to a member of another generation. Certainly
nothing was committed."""


class KafkaCommitter:
    """Commits for the leases of one membership."""

    def __init__(
        self, cluster: KafkaCluster, membership: GroupMembership, sender: BatchSender, topics: TopicAdmin
    ) -> None:
        self._cluster, self._membership, self._sender, self._topics = cluster, membership, sender, topics
        self._group = membership.group

    async def commit(self, lease: KafkaLease, end: int, outgoing: Sequence[Outgoing]) -> None:
        """Publish those of `outgoing` whose origin is not committed yet, and commit the offset `end`, as one act.

        Raises Fenced, Outage, Refused, TooLarge. After an Outage the outcome is unknown, and the same call finds out.
        """
        async with lease.lock:
            if lease.lost:
                raise Fenced(f"{lease.partition}: another member owns this partition now")
            if lease.outcome_unknown:
                await self._resolve_outcome(lease)
            if lease.committed >= end:
                return
            due = [(i, o) for i, o in enumerate(outgoing) if o.origin is None or o.origin.offset >= lease.committed]
            if due:
                await self._write(lease, end, due)
            else:
                await self.commit_offset(lease, end)
            self._note(lease, end)

    async def move(self, lease: KafkaLease, offset: int) -> None:
        """Commit an offset that may be lower than the committed one, because the topic was created again."""
        async with lease.lock:
            await self.commit_offset(lease, offset)
            self._note(lease, offset)

    async def committed_offset(self, lease: KafkaLease) -> int:
        """Return the committed offset, once no commit is in progress."""
        async with lease.lock:
            if lease.outcome_unknown:
                await self._resolve_outcome(lease)
            return lease.committed

    def _note(self, lease: KafkaLease, offset: int) -> None:
        lease.committed = offset
        self._membership.committed_here[lease.tp] = CommittedOffset(offset, lease.topic_id, lease.history_mark)

    # --- the fence

    async def fence(self, tp: TopicPartition) -> ProducerIdentity | None:
        """Fence every earlier owner, and end its open transaction.

        Returns None if we may not write transactions: then other members may not either, and there is nothing to fence.
        """
        transactional_id = self.transactional_id(tp)

        async def attempt() -> ProducerIdentity | None:
            try:
                return await transactions.claim(self._cluster, transactional_id)
            except kafka.TransactionalIdAuthorizationFailed:
                return None

        return await self._cluster.retry(f"fencing {tp.topic}/{tp.partition}", attempt)

    def transactional_id(self, tp: TopicPartition) -> str:
        return f"{self._group}.{tp.topic}.{tp.partition}"

    async def _resolve_outcome(self, lease: KafkaLease) -> None:
        """Fence the partition after a transaction with an unknown outcome, and see whether the offset moved."""
        await self._cluster.retry(f"asking the group {self._group}", lambda: self._confirm_membership(lease))
        lease.identity = await self.fence(lease.tp)
        offsets = await self._cluster.retry(
            f"reading the offset of {lease.partition}",
            lambda: self._cluster.committed_offsets(self._group, [lease.tp]),
        )
        committed = offsets[lease.tp].offset if lease.tp in offsets else None
        if committed is None or committed < lease.committed:
            self._lose_lease(lease)
            raise Fenced(
                f"{lease.partition}: expected a committed offset of the group {self._group} from {lease.committed} on, "
                f"found {'none' if committed is None else committed}: it was reset or deleted"
            )
        self._note(lease, committed)
        lease.outcome_unknown = False

    async def _confirm_membership(self, lease: KafkaLease) -> None:
        await self._membership.await_assignment(lease, RETRY_TIMEOUT_S)
        member, generation = self._membership.identity
        node = await self._cluster.group_coordinator(self._group)
        answer = await self._cluster.ask(node, HeartbeatRequest(self._group, generation, member))
        if answer.error_code == kafka.RebalanceInProgressError.errno:
            return
        if answer.error_code in _STALE_GENERATION_CODES:
            self._membership.rejoin(answer.error_code)
            raise Outage(f"{lease.partition}: the group {self._group} does not know this member now; it joins again")
        check(answer.error_code, self._group)

    def _lose_lease(self, lease: KafkaLease) -> None:
        """End a lease during which another owner committed.

        If the partition is still assigned to us, acquire it again.
        """
        lease.lose()
        self._membership.acquire_again(lease)

    # --- with dead letters

    async def _write(self, lease: KafkaLease, end: int, due: Sequence[tuple[int, Outgoing]]) -> None:
        if lease.identity is None:
            lease.identity = await self.fence(lease.tp)
        if lease.identity is None:
            denied = kafka.TransactionalIdAuthorizationFailed(self.transactional_id(lease.tp))
            raise translate(denied, f"committing {lease.partition}")
        counts = await self._topics.counts_or_create((out.stream for _, out in due), like=lease.tp.topic)
        by_partition = {
            tp: [(due[n][0], out) for n, out in records]
            for tp, records in assign_partitions([out for _, out in due], counts).items()
        }
        lease.outcome_unknown = True
        try:
            await self._begin_transaction(lease, lease.identity, list(by_partition))
            await _await_both(
                self._sender.send(lease.identity, by_partition, lease.codec),
                self._add_offset(lease, lease.identity, end),
            )
            await transactions.end(self._cluster, lease.identity, commit=True)
        except Fenced:
            self._lose_lease(lease)
            raise
        except Outage:
            self._topics.forget()  # one of them may have been deleted
            raise
        except Refused:
            # Certainly not committed: leave nothing open that would hold up readers of the dead letters.
            with contextlib.suppress(Outage, Refused, Fenced):
                await transactions.end(self._cluster, lease.identity, commit=False)
            self._topics.forget()
            raise
        lease.outcome_unknown = False

    async def _begin_transaction(
        self, lease: KafkaLease, identity: ProducerIdentity, tps: Sequence[TopicPartition]
    ) -> None:
        topics: dict[str, list[int]] = {}
        for tp in tps:
            topics.setdefault(tp.topic, []).append(tp.partition)
        producer = (identity.transactional_id, identity.producer, identity.epoch)
        partitions = AddPartitionsToTxnRequest(*producer, list(topics.items()))
        offsets = AddOffsetsToTxnRequest(*producer, self._group)

        async def attempt() -> None:
            # One connection, so that the broker answers the second after the first; both are sent at once.
            node = await self._cluster.transaction_coordinator(identity.transactional_id or "")
            first, second = await _await_both(self._cluster.ask(node, partitions), self._cluster.ask(node, offsets))
            for topic, errors in first.errors:
                for number, code in errors:
                    check(code, f"{topic}/{number}")
            check(second.error_code, self._group)

        await self._cluster.retry(f"committing {lease.partition}", attempt)

    async def _add_offset(self, lease: KafkaLease, identity: ProducerIdentity, end: int) -> None:
        """Make the offset part of the transaction."""
        request = TxnOffsetCommitRequest(
            identity.transactional_id or "",
            self._group,
            identity.producer,
            identity.epoch,
            [(lease.tp.topic, [(lease.tp.partition, end, _metadata(lease))])],
        )

        async def attempt() -> None:
            node = await self._cluster.group_coordinator(self._group)
            answer = await self._cluster.ask(node, request)
            for _, errors in answer.errors:
                for _, code in errors:
                    check(code, self._group)

        await self._cluster.retry(f"committing {lease.partition}", attempt)

    # --- without dead letters

    async def commit_offset(self, lease: KafkaLease, end: int) -> None:
        """Commit an offset in the group's generation."""
        while True:
            try:
                await self._cluster.retry(f"committing {lease.partition}", lambda: self._commit_once(lease, end))
            except Fenced as fenced:
                if lease.lost:
                    raise
                # In another generation: the result of the rebalance decides whether we may still commit.
                try:
                    await self._membership.await_assignment(lease, RETRY_TIMEOUT_S)
                except TimeoutError:
                    raise Outage(
                        f"cannot commit {lease.partition}: the group {self._group} is rebalancing; retrying"
                    ) from fenced
                continue
            return

    async def _commit_once(self, lease: KafkaLease, end: int) -> None:
        node = await self._cluster.group_coordinator(self._group)
        await self._membership.await_assignment(lease, RETRY_TIMEOUT_S)
        member, generation = self._membership.identity
        topics = [(lease.tp.topic, [(lease.tp.partition, end, _metadata(lease))])]
        request = OffsetCommitRequest(self._group, generation, member, -1, topics)
        try:
            answer = await self._cluster.ask(node, request)
        except kafka.NodeNotReadyError:
            raise  # it was never sent
        except BaseException as error:
            log.warning(
                "a commit was not answered; joining as a new member",
                partition=str(lease.partition),
                reason=repr(error),
            )
            self._membership.join_as_new_member()
            if isinstance(error, Exception) and is_transient(error):
                raise Fenced(f"{lease.partition}: it is unknown whether offset {end} was committed") from error
            raise
        for _, errors in answer.topics:
            for _, code in errors:
                if code in _STALE_GENERATION_CODES:
                    self._membership.rejoin(code)
                check(code, self._group)


def _metadata(lease: KafkaLease) -> str:
    return format_offset_metadata(lease.topic_id, lease.history_mark)


async def _await_both(first: Awaitable[A], second: Awaitable[B]) -> tuple[A, B]:
    """Await both at once. If one raises, the other is awaited all the same, so that nothing continues unobserved."""
    first_result, second_result = await asyncio.gather(first, second, return_exceptions=True)
    if isinstance(first_result, BaseException):
        raise first_result
    if isinstance(second_result, BaseException):
        raise second_result
    return first_result, second_result
