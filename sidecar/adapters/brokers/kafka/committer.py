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

**That the two never undo each other.** Within a tenure committing is in order, one after the other (its lock), so a
later one overwrites an earlier one only with more. Over owners: a transaction of an old owner ends before the new one
reads (fence); a commit of an old owner is refused after the rebalance that gave the partition to the new one. There
remains the answer that never came: the request may lie in a broker's queue and be carried out later.
 - A transaction's request: before the next attempt the partition is fenced anew, which refuses all that was sent in the
   old epoch, and the committed offset tells whether the transaction was decided. It moved: done. It did not: again.
 - A commit's request: it could move the offset back after a later transaction moved it on, and letters would be
   written again after a restart. Therefore we leave the group and join as a new member; the old commit bears the old
   member's name and generation and is refused. All tenures are lost; nothing else is.

**The process dies** between any two lines. Before the transaction's end: the next owner's fence aborts it, the letters
are never visible, the offset has not moved, the records come again. After it: both stand. Before or after a commit
without letters: nothing to double. While making a letter topic: it is there or not, the next one looks.

**Two of it run**, one of them paused (SIGSTOP, a long garbage collection) and waking up with a tenure that it takes for
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
from sidecar.adapters.brokers.kafka.cluster_client import PATIENCE, KafkaCluster
from sidecar.adapters.brokers.kafka.errors import check, passes, translated
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

_NOT_NOW = (22, 25, 27)
"""ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID, REBALANCE_IN_PROGRESS: the group's answers to a member of another generation:
surely nothing was committed."""


class KafkaCommitter:
    """Commits for the tenures of one membership."""

    def __init__(
        self, cluster: KafkaCluster, membership: GroupMembership, producing: BatchSender, topics: TopicAdmin
    ) -> None:
        self._cluster, self._membership, self._producing, self._topics = cluster, membership, producing, topics
        self._group = membership.group

    async def commit(self, tenure: KafkaLease, end: int, outgoing: Sequence[Outgoing]) -> None:
        """Publish what of `outgoing` stands for records that are not committed yet, and commit `end`, as one act.
        Raises Fenced, Outage, Refused, TooLarge; after an Outage the outcome may be either, and the same call finds
        out."""
        async with tenure.lock:
            if tenure.lost:
                raise Fenced(f"{tenure.partition}: another member owns this partition now")
            if tenure.unsure:
                await self._find_out(tenure)
            if tenure.committed >= end:
                return
            due = [(i, o) for i, o in enumerate(outgoing) if o.origin is None or o.origin.offset >= tenure.committed]
            if due:
                await self._write(tenure, end, due)
            else:
                await self.commit_offset(tenure, end)
            tenure.committed = self._membership.settled_here[tenure.tp] = end

    async def move(self, tenure: KafkaLease, offset: int) -> None:
        """Commit an offset that may lie before the committed one, of a topic that was created again."""
        async with tenure.lock:
            await self.commit_offset(tenure, offset)
            tenure.committed = self._membership.settled_here[tenure.tp] = offset

    async def committed(self, tenure: KafkaLease) -> int:
        """Where the tenure's next settlement begins, once none is under way."""
        async with tenure.lock:
            if tenure.unsure:
                await self._find_out(tenure)
            return tenure.committed

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

    async def _find_out(self, tenure: KafkaLease) -> None:
        """After a transaction whose end is not known: fence it, and see whether the offset moved."""
        await self._cluster.retry(f"asking the group {self._group}", lambda: self._still_member(tenure))
        tenure.identity = await self.fence(tenure.tp)
        found = await self._cluster.retry(
            f"reading the offset of {tenure.partition}", lambda: self._cluster.committed(self._group, [tenure.tp])
        )
        committed = found.get(tenure.tp)
        if committed is None or committed < tenure.committed:
            self._give_up(tenure)
            raise Fenced(
                f"{tenure.partition}: its committed offset is gone or went back, from {tenure.committed}: {committed}"
            )
        tenure.committed = self._membership.settled_here[tenure.tp] = committed
        tenure.unsure = False

    async def _still_member(self, tenure: KafkaLease) -> None:
        await self._membership.standing(tenure, PATIENCE)
        member, generation = self._membership.identity
        node = await self._cluster.group_coordinator(self._group)
        answer = await self._cluster.ask(node, HeartbeatRequest(self._group, generation, member))
        if answer.error_code == kafka.RebalanceInProgressError.errno:
            return
        if answer.error_code in _NOT_NOW:
            self._membership.distrust(answer.error_code)
            raise Outage(f"{tenure.partition}: the group {self._group} does not know this member at the moment")
        check(answer.error_code, self._group)

    def _give_up(self, tenure: KafkaLease) -> None:
        """Another owner was there: what we did under this tenure is void. Still assigned, the partition is taken
        anew."""
        tenure.lose()
        self._membership.again(tenure)

    # --- with letters

    async def _write(self, tenure: KafkaLease, end: int, due: Sequence[tuple[int, Outgoing]]) -> None:
        if tenure.identity is None:
            tenure.identity = await self.fence(tenure.tp)
        if tenure.identity is None:
            denied = kafka.TransactionalIdAuthorizationFailed(self.transactional_id(tenure.tp))
            raise translated(denied, f"committing {tenure.partition}")
        counts = await self._topics.counts_or_make((one.stream for _, one in due), like=tenure.tp.topic)
        by_partition = {
            tp: [(due[n][0], one) for n, one in records]
            for tp, records in assign_partitions([one for _, one in due], counts).items()
        }
        tenure.unsure = True
        try:
            await self._begin(tenure, tenure.identity, list(by_partition))
            await _both(
                self._producing.send(tenure.identity, by_partition),
                self._pend(tenure, tenure.identity, end),
            )
            await transactions.end(self._cluster, tenure.identity, commit=True)
        except Fenced:
            self._give_up(tenure)
            raise
        except Outage:
            self._topics.forget()  # one of them may have been deleted
            raise
        except Refused:
            # Surely not committed: leave nothing open that would hold up readers of the letters.
            with contextlib.suppress(Outage, Refused, Fenced):
                await transactions.end(self._cluster, tenure.identity, commit=False)
            self._topics.forget()
            raise
        tenure.unsure = False

    async def _begin(self, tenure: KafkaLease, identity: ProducerIdentity, tps: Sequence[TopicPartition]) -> None:
        topics: dict[str, list[int]] = {}
        for tp in tps:
            topics.setdefault(tp.topic, []).append(tp.partition)
        who = (identity.transactional_id, identity.producer, identity.epoch)
        partitions = AddPartitionsToTxnRequest(*who, list(topics.items()))
        offsets = AddOffsetsToTxnRequest(*who, self._group)

        async def attempt() -> None:
            # One connection, so that the broker answers the second after the first; both are sent at once.
            node = await self._cluster.transaction_coordinator(identity.transactional_id or "")
            first, second = await _both(self._cluster.ask(node, partitions), self._cluster.ask(node, offsets))
            for topic, errors in first.errors:
                for number, code in errors:
                    check(code, f"{topic}/{number}")
            check(second.error_code, self._group)

        await self._cluster.retry(f"committing {tenure.partition}", attempt)

    async def _pend(self, tenure: KafkaLease, identity: ProducerIdentity, end: int) -> None:
        request = TxnOffsetCommitRequest(
            identity.transactional_id or "",
            self._group,
            identity.producer,
            identity.epoch,
            [(tenure.tp.topic, [(tenure.tp.partition, end, "")])],
        )

        async def attempt() -> None:
            node = await self._cluster.group_coordinator(self._group)
            answer = await self._cluster.ask(node, request)
            for _, errors in answer.errors:
                for _, code in errors:
                    check(code, self._group)

        await self._cluster.retry(f"committing {tenure.partition}", attempt)

    # --- without letters

    async def commit_offset(self, tenure: KafkaLease, end: int) -> None:
        """Commit an offset in the group's generation."""
        while True:
            try:
                await self._cluster.retry(f"committing {tenure.partition}", lambda: self._commit_once(tenure, end))
            except Fenced as fenced:
                if tenure.lost:
                    raise
                # Of another generation: what comes of the rebalance decides whether we may still commit.
                try:
                    await self._membership.standing(tenure, PATIENCE)
                except TimeoutError:
                    raise Outage(f"{tenure.partition}: the group is rebalancing") from fenced
                continue
            return

    async def _commit_once(self, tenure: KafkaLease, end: int) -> None:
        node = await self._cluster.group_coordinator(self._group)
        await self._membership.standing(tenure, PATIENCE)
        member, generation = self._membership.identity
        topics = [(tenure.tp.topic, [(tenure.tp.partition, end, "")])]
        request = OffsetCommitRequest(self._group, generation, member, -1, topics)
        try:
            answer = await self._cluster.ask(node, request)
        except kafka.NodeNotReadyError:
            raise  # it was never sent
        except BaseException as error:
            log.warning("a commit was not answered; joining anew", partition=str(tenure.partition), reason=repr(error))
            self._membership.renew()
            if isinstance(error, Exception) and passes(error):
                raise Fenced(f"{tenure.partition}: whether its offset was committed is not known") from error
            raise
        for _, errors in answer.topics:
            for _, code in errors:
                if code in _NOT_NOW:
                    self._membership.distrust(code)
                check(code, self._group)


async def _both(first: Awaitable[A], second: Awaitable[B]) -> tuple[A, B]:
    """Both at once. Where one raises, the other is waited for all the same, so that nothing goes on behind our back."""
    one, two = await asyncio.gather(first, second, return_exceptions=True)
    if isinstance(one, BaseException):
        raise one
    if isinstance(two, BaseException):
        raise two
    return one, two
