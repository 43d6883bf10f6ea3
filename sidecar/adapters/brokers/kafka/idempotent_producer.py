"""Sending record batches with sequence numbers, so that a batch that is sent twice is kept once (KIP-98)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from aiokafka import errors as kafka
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import InitProducerIdRequest
from aiokafka.structs import TopicPartition

from sidecar.adapters.brokers.kafka.client_options import CODECS
from sidecar.adapters.brokers.kafka.cluster_client import KafkaCluster
from sidecar.adapters.brokers.kafka.errors import TOO_LARGE, check
from sidecar.adapters.brokers.kafka.record_batch import Numbered, batch
from sidecar.domain.errors import Fenced, Outage, TooLarge
from sidecar.domain.model import Outgoing

Placed = Mapping[TopicPartition, Sequence[Numbered]]


class ProducerIdentity:
    """A producer id and epoch as the broker gave it, with the next sequence number of each partition."""

    __slots__ = ("epoch", "producer", "sequences", "transactional_id")

    def __init__(self, producer: int, epoch: int, transactional_id: str | None = None) -> None:
        self.producer, self.epoch, self.transactional_id = producer, epoch, transactional_id
        self.sequences: dict[TopicPartition, int] = {}


class BatchSender:
    """Sends what is placed.

    Raises our exceptions; after one of them the identity must not be used again, because what of its last batches was
    kept is not known.
    """

    def __init__(self, cluster: KafkaCluster) -> None:
        self._cluster = cluster
        self._most = cluster.options.max_batch_size
        self._codec = CODECS.get(cluster.options.compression_type or "", 0)

    async def send(self, identity: ProducerIdentity, placed: Placed) -> dict[int, tuple[TopicPartition, int]]:
        """Publish in order within each partition.

        Returns for the index of each record where it lies. Raises TooLarge with the index of the record that is.
        """
        offsets_by_index: dict[int, tuple[TopicPartition, int]] = {}
        sends = [self._send_all(identity, tp, records, offsets_by_index) for tp, records in placed.items()]
        if len(sends) == 1:
            await sends[0]
        else:
            done = await asyncio.gather(*sends, return_exceptions=True)
            for one in done:
                if isinstance(one, BaseException):
                    raise one
        return offsets_by_index

    async def _send_all(
        self,
        identity: ProducerIdentity,
        tp: TopicPartition,
        records: Sequence[Numbered],
        offsets_by_index: dict[int, Any],
    ) -> None:
        at, most = 0, self._most
        while at < len(records):
            sequence = identity.sequences.get(tp, 0)
            transactional = identity.transactional_id is not None
            raw, count = batch(
                records[at:], most, self._codec, identity.producer, identity.epoch, sequence, transactional
            )
            try:
                first = await self._cluster.retry(
                    f"writing to {tp.topic}/{tp.partition}", partial(self._attempt, identity, tp, raw)
                )
            except _LargeBatchError as error:
                # Refused before it was written, so the sequence number is still free.
                if count == 1:
                    index, one = records[at]
                    raise TooLarge(f"{tp.topic} does not take a record of {_fetch_bytes(one)} bytes", index) from error
                most = max(1, len(raw) // 2)
                continue
            identity.sequences[tp] = (sequence + count) & 0x7FFFFFFF
            for offset, (index, _) in enumerate(records[at : at + count], first):
                offsets_by_index[index] = (tp, offset)
            at += count

    async def _attempt(self, identity: ProducerIdentity, tp: TopicPartition, raw: bytes) -> int:
        timeout = min(self._cluster.options.request_timeout_ms, 30_000)
        request = ProduceRequest(identity.transactional_id, -1, timeout, [(tp.topic, [(tp.partition, raw)])])
        answer = await self._cluster.ask(self._cluster.leader(tp), request)
        ((_, ((_, code, offset, *_),)),) = answer.topics
        if code in (one.errno for one in TOO_LARGE):
            raise _LargeBatchError
        if code == kafka.DuplicateSequenceNumber.errno:
            return int(offset)
        check(code, f"{tp.topic}/{tp.partition}")
        return int(offset)


class _LargeBatchError(Exception):
    """The broker does not take a batch of this size."""


class IdempotentProducer:
    """Idempotent writing outside transactions, one call after the other."""

    def __init__(self, cluster: KafkaCluster, sender: BatchSender) -> None:
        self._cluster, self._sender = cluster, sender
        self._identity: ProducerIdentity | None = None
        self._lock = asyncio.Lock()

    async def publish(self, placed: Placed) -> dict[int, tuple[TopicPartition, int]]:
        """Publish; returns where each record lies, by index."""
        async with self._lock:
            identity, self._identity = self._identity, None
            if identity is None:
                identity = await self._cluster.retry("getting a producer id", self._new_identity)
            try:
                offsets_by_index = await self._sender.send(identity, placed)
            except Fenced as error:
                raise Outage(f"{error}; a new producer id is taken for the next attempt") from error
            self._identity = identity
            return offsets_by_index

    async def _new_identity(self) -> ProducerIdentity:
        answer = await self._cluster.ask(self._cluster.any_node(), InitProducerIdRequest(None, 0))
        check(answer.error_code)
        return ProducerIdentity(answer.producer_id, answer.producer_epoch)


def _fetch_bytes(outgoing: Outgoing) -> int:
    headers = sum(len(name.encode("utf-8", "surrogateescape")) + len(value or b"") for name, value in outgoing.headers)
    return len(outgoing.key or b"") + len(outgoing.value or b"") + headers
