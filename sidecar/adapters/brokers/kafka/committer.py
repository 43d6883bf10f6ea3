"""Committing: letters and progress as one act, and the fence that makes it happen once.

**Who may commit.** Every partition has a transactional id of its own, `tracecar.shop.orders.0` (group, topic,
partition). Whoever takes the partition sends InitProducerId for it *first*: the transaction coordinator ends what the
last owner has open (commits it where its commit was decided, else aborts it) and refuses that owner from then on.
*Then* the committed offset is read, and reading begins there. So when the offset is read, nothing an earlier owner did
can change it any more.

**With letters**: one transaction of the letters and the offset (KIP-98). Add the partitions and the group to the
transaction; write the letters, and the offset as pending; end it. The letters become visible (read_committed) and the
offset moves at the same moment, the coordinator's decision to commit.

**Without letters**: an ordinary offset commit in the group's generation, one round trip instead of three. Old owners
are refused by their generation, as with letters by their epoch.

**That the two never undo each other.** Within a lease committing is in order, one after the other (its lock), so a
later one overwrites an earlier one only with more. Over owners: a transaction of an old owner ends before the new one
reads (fence); a commit of an old owner is refused after the rebalance that gave the partition to the new one. There
remains the answer that never came: the request may lie in a broker's queue and be carried out later.
 - A transaction's request: before the next attempt the partition is fenced anew, which refuses all that was sent in the
   old epoch, and the committed offset tells whether the transaction was decided. It moved: done. It did not: again.
 - A commit's request: it could move the offset back after a later transaction moved it on, and letters would be
   written again after a restart. Therefore we leave the group and join as a new member; the old commit bears the old
   member's name and generation and is refused. All leases are lost; nothing else is.

**The process dies** between any two lines. Before the transaction's end: the next owner's fence aborts it, the letters
are never visible, the offset has not moved, the records come again. After it: both stand. Before or after a commit
without letters: nothing to double. While making a letter topic: it is there or not, the next one looks.

**Two of it run**, one of them paused (SIGSTOP, a long garbage collection) and waking up with a lease that it takes for
its own: each request it sends is refused by epoch or generation. It could fence the new owner in turn, but it asks the
group first, and does so only while it is a member in this generation; and should it slip through, then it reads the
committed offset under its own fence and finds either what it left (goes on; the other is refused and takes the
partition anew from what was committed) or more (it is not the owner: Fenced). Either way each letter is in one
committed transaction only.

**The broker forgets the group's offset** while we run (expired, deleted): nothing is committed on a guess; what this
process has committed is remembered and committed again (`kafka_taking`)."""

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
from sidecar.adapters.brokers.kafka.cluster_client import RETRY_TIMEOUT_S, KafkaCluster
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

_STALE_GENERATION = (22, 25, 27)
"""ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID, REBALANCE_IN_PROGRESS: the group's answers to a member of another generation:
surely nothing was committed."""


class KafkaCommitter:
    """Commits for the leases of one membership."""

    def __init__(
        self, cluster: KafkaCluster, membership: GroupMembership, sender: BatchSender, topics: TopicAdmin
    ) -> None:
        self._cluster, self._membership, self._sender, self._topics = cluster, membership, sender, topics
        self._group = membership.group

    async def commit(self, lease: KafkaLease, end: int, outgoing: Sequence[Outgoing]) -> None:
        """Publish what of `outgoing` stands for records that are not committed yet, and commit `end`, as one act.
        Raises Fenced, Outage, Refused, TooLarge; after an Outage the outcome may be either, and the same call finds
        out."""
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
            lease.committed = self._membership.committed_here[lease.tp] = end

    async def move(self, lease: KafkaLease, offset: int) -> None:
        """Commit an offset that may lie before the committed one, of a topic that was created again."""
        async with lease.lock:
            await self.commit_offset(lease, offset)
            lease.committed = self._membership.committed_here[lease.tp] = offset

    async def committed(self, lease: KafkaLease) -> int:
        """Where the lease's next settlement begins, once none is under way."""
        async with lease.lock:
            if lease.outcome_unknown:
                await self._resolve_outcome(lease)
            return lease.committed

    # --- the fence

    async def fence(self, tp: TopicPartition) -> ProducerIdentity | None:
        """Refuse every earlier owner from now on, and end what it has open. None where we may not write transactions:
        then neither may the other members, and there is nothing to fence."""
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
        """After a transaction whose end is not known: fence it, and see whether the offset moved."""
        await self._cluster.retry(f"asking the group {self._group}", lambda: self._confirm_membership(lease))
        lease.identity = await self.fence(lease.tp)
        found = await self._cluster.retry(
            f"reading the offset of {lease.partition}", lambda: self._cluster.committed(self._group, [lease.tp])
        )
        committed = found.get(lease.tp)
        if committed is None or committed < lease.committed:
            self._lose_lease(lease)
            raise Fenced(
                f"{lease.partition}: its committed offset is gone or went back, from {lease.committed}: {committed}"
            )
        lease.committed = self._membership.committed_here[lease.tp] = committed
        lease.outcome_unknown = False

    async def _confirm_membership(self, lease: KafkaLease) -> None:
        await self._membership.await_assignment(lease, RETRY_TIMEOUT_S)
        member, generation = self._membership.identity
        node = await self._cluster.group_coordinator(self._group)
        answer = await self._cluster.ask(node, HeartbeatRequest(self._group, generation, member))
        if answer.error_code == kafka.RebalanceInProgressError.errno:
            return
        if answer.error_code in _STALE_GENERATION:
            self._membership.rejoin(answer.error_code)
            raise Outage(f"{lease.partition}: the group {self._group} does not know this member at the moment")
        check(answer.error_code, self._group)

    def _lose_lease(self, lease: KafkaLease) -> None:
        """Another owner was there: what we did under this lease is void. Still assigned, the partition is taken
        anew."""
        lease.lose()
        self._membership.acquire_again(lease)

    # --- with letters

    async def _write(self, lease: KafkaLease, end: int, due: Sequence[tuple[int, Outgoing]]) -> None:
        if lease.identity is None:
            lease.identity = await self.fence(lease.tp)
        if lease.identity is None:
            denied = kafka.TransactionalIdAuthorizationFailed(self.transactional_id(lease.tp))
            raise translate(denied, f"committing {lease.partition}")
        partition_counts = await self._topics.counts_or_create((one.stream for _, one in due), like=lease.tp.topic)
        by_partition = {
            tp: [(due[n][0], one) for n, one in records]
            for tp, records in assign_partitions([one for _, one in due], partition_counts).items()
        }
        lease.outcome_unknown = True
        try:
            await self._begin_transaction(lease, lease.identity, list(by_partition))
            await _await_both(
                self._sender.send(lease.identity, by_partition),
                self._add_offsets(lease, lease.identity, end),
            )
            await transactions.end(self._cluster, lease.identity, commit=True)
        except Fenced:
            self._lose_lease(lease)
            raise
        except Outage:
            self._topics.forget()  # one of them may have been deleted
            raise
        except Refused:
            # Surely not committed: leave nothing open that would hold up readers of the letters.
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
        who = (identity.transactional_id, identity.producer, identity.epoch)
        partitions = AddPartitionsToTxnRequest(*who, list(topics.items()))
        offsets = AddOffsetsToTxnRequest(*who, self._group)

        async def attempt() -> None:
            # One connection, so that the broker answers the second after the first; both are sent at once.
            node = await self._cluster.transaction_coordinator(identity.transactional_id or "")
            first, second = await _await_both(self._cluster.ask(node, partitions), self._cluster.ask(node, offsets))
            for topic, errors in first.errors:
                for number, code in errors:
                    check(code, f"{topic}/{number}")
            check(second.error_code, self._group)

        await self._cluster.retry(f"committing {lease.partition}", attempt)

    async def _add_offsets(self, lease: KafkaLease, identity: ProducerIdentity, end: int) -> None:
        request = TxnOffsetCommitRequest(
            identity.transactional_id or "",
            self._group,
            identity.producer,
            identity.epoch,
            [(lease.tp.topic, [(lease.tp.partition, end, "")])],
        )

        async def attempt() -> None:
            node = await self._cluster.group_coordinator(self._group)
            answer = await self._cluster.ask(node, request)
            for _, errors in answer.errors:
                for _, code in errors:
                    check(code, self._group)

        await self._cluster.retry(f"committing {lease.partition}", attempt)

    # --- without letters

    async def commit_offset(self, lease: KafkaLease, end: int) -> None:
        """Commit an offset in the group's generation."""
        while True:
            try:
                await self._cluster.retry(f"committing {lease.partition}", lambda: self._commit_once(lease, end))
            except Fenced as fenced:
                if lease.lost:
                    raise
                # Of another generation: what comes of the rebalance decides whether we may still commit.
                try:
                    await self._membership.await_assignment(lease, RETRY_TIMEOUT_S)
                except TimeoutError:
                    raise Outage(f"{lease.partition}: the group is rebalancing") from fenced
                continue
            return

    async def _commit_once(self, lease: KafkaLease, end: int) -> None:
        node = await self._cluster.group_coordinator(self._group)
        await self._membership.await_assignment(lease, RETRY_TIMEOUT_S)
        member, generation = self._membership.identity
        topics = [(lease.tp.topic, [(lease.tp.partition, end, "")])]
        request = OffsetCommitRequest(self._group, generation, member, -1, topics)
        try:
            answer = await self._cluster.ask(node, request)
        except kafka.NodeNotReadyError:
            raise  # it was never sent
        except BaseException as error:
            log.warning("a commit was not answered; joining anew", partition=str(lease.partition), reason=repr(error))
            self._membership.join_as_new_member()
            if isinstance(error, Exception) and is_transient(error):
                raise Fenced(f"{lease.partition}: whether its offset was committed is not known") from error
            raise
        for _, errors in answer.topics:
            for _, code in errors:
                if code in _STALE_GENERATION:
                    self._membership.rejoin(code)
                check(code, self._group)


async def _await_both(first: Awaitable[A], second: Awaitable[B]) -> tuple[A, B]:
    """Both at once. Where one raises, the other is waited for all the same, so that nothing goes on behind our back."""
    one, two = await asyncio.gather(first, second, return_exceptions=True)
    if isinstance(one, BaseException):
        raise one
    if isinstance(two, BaseException):
        raise two
    return one, two
