"""Transactions without consumer offsets (KIP-98): acquire a transactional id, and write records in one transaction."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterable

from aiokafka import errors as kafka
from aiokafka.protocol.transaction import AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest
from aiokafka.structs import TopicPartition

from sidecar.adapters.brokers.kafka.cluster_client import KafkaCluster
from sidecar.adapters.brokers.kafka.errors import check
from sidecar.adapters.brokers.kafka.idempotent_producer import (
    BatchSender,
    PlacedRecords,
    ProducerIdentity,
    WrittenOffsets,
)
from sidecar.domain.errors import Fenced, Outage, Refused


async def claim(cluster: KafkaCluster, transactional_id: str) -> ProducerIdentity:
    """Acquire a transactional id.

    Before this returns, the broker fences the previous owner and ends its open transaction. Raises aiokafka's errors:
    call it through `KafkaCluster.retry`.
    """
    node = await cluster.transaction_coordinator(transactional_id)
    request = InitProducerIdRequest(transactional_id, cluster.options.transaction_timeout_ms)
    answer = await cluster.ask(node, request)
    check(answer.error_code, transactional_id)
    return ProducerIdentity(answer.producer_id, answer.producer_epoch, transactional_id)


async def end(cluster: KafkaCluster, identity: ProducerIdentity, *, commit: bool) -> None:
    """End the transaction. Raises our exceptions.

    It can be repeated after a lost reply: the coordinator repeats its decision.
    """
    who = (identity.transactional_id or "", identity.producer, identity.epoch)

    async def attempt() -> None:
        node = await cluster.transaction_coordinator(who[0])
        check((await cluster.ask(node, EndTxnRequest(*who, commit))).error_code, who[0])

    await cluster.retry(f"ending a transaction of {who[0]}", attempt)


async def add(cluster: KafkaCluster, identity: ProducerIdentity, tps: Iterable[TopicPartition]) -> None:
    """Add these partitions to the transaction. Raises our exceptions."""
    topics: dict[str, list[int]] = {}
    for tp in tps:
        topics.setdefault(tp.topic, []).append(tp.partition)
    who = (identity.transactional_id or "", identity.producer, identity.epoch)
    request = AddPartitionsToTxnRequest(*who, list(topics.items()))

    async def attempt() -> None:
        node = await cluster.transaction_coordinator(who[0])
        answer = await cluster.ask(node, request)
        # A partition that is refused makes the others "not attempted": the reason is what counts.
        codes = [(code, f"{topic}/{number}") for topic, errors in answer.errors for number, code in errors if code]
        for code, where in sorted(codes, key=lambda problem: problem[0] == _NOT_ATTEMPTED_CODE):
            if code == kafka.TopicAuthorizationFailedError.errno:
                topic = where.rpartition("/")[0]
                raise Refused(
                    f"Kafka: this principal may not write to {topic}: it needs an ACL for WRITE and DESCRIBE on the "
                    f"topic {topic}"
                )
            check(code, where)

    await cluster.retry(f"beginning a transaction of {who[0]}", attempt)


_NOT_ATTEMPTED_CODE = 55


async def write(
    cluster: KafkaCluster,
    sender: BatchSender,
    identity: ProducerIdentity,
    placed: PlacedRecords,
    right: Callable[[WrittenOffsets], Awaitable[bool]] | None = None,
) -> WrittenOffsets:
    """Write records in one transaction, and return the offset of each.

    Before the commit, `right` checks the offsets. Raises Fenced (another member owns the id now, or `right` returned
    False: nothing was committed), Outage (the outcome is unknown: claim the id again, then read the log), TooLarge
    and Refused (nothing was committed). After any of these errors the identity must not be used again.
    """
    try:
        await add(cluster, identity, placed)
        offsets_by_index = await sender.send(identity, placed)
        commit = right is None or await right(offsets_by_index)
    except Refused:
        with contextlib.suppress(Outage, Refused, Fenced):
            await end(cluster, identity, commit=False)
        raise
    await end(cluster, identity, commit=commit)
    if not commit:
        raise Fenced("the ledger's topic was created again meanwhile: its records were not committed")
    return offsets_by_index
