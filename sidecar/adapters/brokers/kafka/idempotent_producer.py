"""Producer that sends record batches with sequence numbers (KIP-98): the broker keeps a repeated batch only once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

from aiokafka import errors as kafka
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import InitProducerIdRequest
from aiokafka.structs import TopicPartition

from sidecar.adapters.brokers.kafka.client_options import CODECS
from sidecar.adapters.brokers.kafka.cluster_client import KafkaCluster
from sidecar.adapters.brokers.kafka.errors import TOO_LARGE, InvalidRecord, check, for_code
from sidecar.adapters.brokers.kafka.record_batch import Numbered, assign_partitions, build_batch, record_size
from sidecar.adapters.brokers.kafka.topic_advice import refusal_advice
from sidecar.domain.errors import Fenced, Outage, RecordRefused, TooLarge
from sidecar.domain.model import Outgoing

PlacedRecords = Mapping[TopicPartition, Sequence[Numbered]]
WrittenOffsets = dict[int, tuple[TopicPartition, int]]
"""Partition and offset of each record, by its index."""
THREAD_MIN_BYTES = 256 << 10
"""Size from which a batch is compressed in a thread, because that takes more than some milliseconds."""
PRODUCE_TIMEOUT_MAX_MS = 30_000
_RECORD_ERRORS = (*TOO_LARGE, InvalidRecord, kafka.InvalidTimestampError)
"""Errors that one record of a batch causes: it is sent again in smaller batches, until the record is known."""


class ProducerIdentity:
    """A producer id and epoch as the broker gave it, with the next sequence number of each partition."""

    __slots__ = ("epoch", "producer", "sequences", "transactional_id")

    def __init__(self, producer: int, epoch: int, transactional_id: str | None = None) -> None:
        self.producer, self.epoch, self.transactional_id = producer, epoch, transactional_id
        self.sequences: dict[TopicPartition, int] = {}


class BatchSender:
    """Sends records in batches.

    Raises our exceptions. After one of them the identity must not be used again, because it is unknown which of the
    last batches the broker kept.
    """

    def __init__(self, cluster: KafkaCluster) -> None:
        self._cluster = cluster
        options = cluster.options
        self._max_batch_bytes = min(options.max_batch_size, options.max_request_size)
        self._max_request_bytes = options.max_request_size
        self._codec = CODECS.get(options.compression_type or "", 0)

    async def send(self, identity: ProducerIdentity, placed: PlacedRecords, codec: int = 0) -> WrittenOffsets:
        """Publish records in order within each partition, compressed as configured, else with `codec`.

        Raises TooLarge and RecordRefused with the index of a record that is not accepted.
        """
        written: WrittenOffsets = {}
        codec = self._codec or codec
        sends = [self._send_all(identity, tp, records, codec, written) for tp, records in placed.items()]
        try:
            if len(sends) == 1:
                await sends[0]
            else:
                for result in await asyncio.gather(*sends, return_exceptions=True):
                    if isinstance(result, BaseException):
                        raise result
        except RecordRefused as error:
            error.written = written
            raise
        return written

    async def _send_all(
        self,
        identity: ProducerIdentity,
        tp: TopicPartition,
        records: Sequence[Numbered],
        codec: int,
        written: WrittenOffsets,
    ) -> None:
        at, most = 0, self._max_batch_bytes
        while at < len(records):
            sequence = identity.sequences.get(tp, 0)
            raw, count = await self._build(identity, records[at:], most, codec, sequence)
            try:
                if len(raw) > self._max_request_bytes:
                    raise _RefusedBatchError(kafka.MessageSizeTooLargeError)
                first = await self._cluster.retry(
                    f"writing to {tp.topic}/{tp.partition}", partial(self._attempt, identity, tp, raw)
                )
            except _RefusedBatchError as error:
                # Refused before it was written, so the sequence number is still free.
                if count == 1:
                    raise self._refusal(tp, records[at], len(raw), error.kind) from error
                most = max(1, min(most, sum(record_size(out) for _, out in records[at : at + count])) // 2)
                continue
            identity.sequences[tp] = (sequence + count) & 0x7FFFFFFF
            for offset, (index, _) in enumerate(records[at : at + count], first):
                written[index] = (tp, offset)
            at += count

    async def _build(
        self, identity: ProducerIdentity, records: Sequence[Numbered], most: int, codec: int, sequence: int
    ) -> tuple[bytes, int]:
        transactional = identity.transactional_id is not None
        build = partial(build_batch, records, most, codec, identity.producer, identity.epoch, sequence, transactional)
        if codec and record_size(records[0][1]) > THREAD_MIN_BYTES:
            return await asyncio.to_thread(build)
        return build()

    def _refusal(self, tp: TopicPartition, record: Numbered, size: int, kind: type[Exception]) -> RecordRefused:
        index, out = record
        advice = refusal_advice(kind, tp.topic, self._cluster.servers, size)
        if kind in TOO_LARGE:
            return TooLarge(f"{tp.topic} does not accept a record of {record_size(out)} bytes; {advice}", index)
        return RecordRefused(f"Kafka: writing to {tp.topic}/{tp.partition}: {kind.__name__}; {advice}", index)

    async def _attempt(self, identity: ProducerIdentity, tp: TopicPartition, raw: bytes) -> int:
        timeout = min(self._cluster.options.request_timeout_ms, PRODUCE_TIMEOUT_MAX_MS)
        request = ProduceRequest(identity.transactional_id, -1, timeout, [(tp.topic, [(tp.partition, raw)])])
        answer = await self._cluster.ask(self._cluster.leader(tp), request)
        ((_, ((_, code, offset, *_),)),) = answer.topics
        if code and for_code(code) in _RECORD_ERRORS:
            raise _RefusedBatchError(for_code(code))
        if code == kafka.DuplicateSequenceNumber.errno:
            return int(offset)
        check(code, f"{tp.topic}/{tp.partition}")
        return int(offset)


class _RefusedBatchError(Exception):
    """A batch that the broker does not accept because of a record in it."""

    def __init__(self, kind: type[Exception]) -> None:
        self.kind = kind
        super().__init__(kind.__name__)


_Call = tuple[Sequence[Outgoing], "asyncio.Future[WrittenOffsets]"]
"""The records of one call of `publish`, and its result."""


class IdempotentProducer:
    """Publishes outside transactions. Calls that arrive within `linger_ms` are written together."""

    def __init__(self, cluster: KafkaCluster, sender: BatchSender) -> None:
        self._cluster, self._sender = cluster, sender
        self._identity: ProducerIdentity | None = None
        self._lock = asyncio.Lock()
        self._linger_s = cluster.options.linger_ms / 1000
        self._waiting: list[_Call] = []
        self._counts: dict[str, int] = {}
        self._flush: asyncio.Task[None] | None = None

    async def publish(self, outgoing: Sequence[Outgoing], counts: Mapping[str, int]) -> WrittenOffsets:
        """Publish records in order, and return where each was written. `counts` has the partition counts by topic."""
        if not self._linger_s:
            return await self._publish(assign_partitions(outgoing, counts))
        done: asyncio.Future[WrittenOffsets] = asyncio.get_running_loop().create_future()
        self._waiting.append((outgoing, done))
        self._counts.update(counts)
        if self._flush is None:
            self._flush = asyncio.create_task(self._flush_soon(), name="kafka linger")
        return await asyncio.shield(done)

    async def _flush_soon(self) -> None:
        await asyncio.sleep(self._linger_s)
        waiting, self._waiting, self._flush = self._waiting, [], None
        counts, self._counts = self._counts, {}
        try:
            written = await self._publish_merged(waiting, counts)
        except Exception as error:
            for _, done in waiting:
                if not done.done():
                    done.set_exception(error)
            return
        start = 0
        for outgoing, done in waiting:
            if not done.done():
                done.set_result({n: written[start + n] for n in range(len(outgoing))})
            start += len(outgoing)

    async def _publish_merged(self, waiting: Sequence[_Call], counts: Mapping[str, int]) -> WrittenOffsets:
        """Publish the records of several calls. A call whose record is refused fails; it does not fail the others."""
        numbered = [(call, out) for call in waiting for out in call[0]]
        written: WrittenOffsets = {}
        while True:
            due = [n for n, (call, _) in enumerate(numbered) if n not in written and not call[1].done()]
            try:
                new = await self._publish(assign_partitions([numbered[n][1] for n in due], counts))
            except RecordRefused as error:
                written.update((due[n], place) for n, place in error.written.items())
                if error.index is None:
                    raise
                call = numbered[due[error.index]][0]
                if not call[1].done():
                    call[1].set_exception(error)
                continue
            written.update((due[n], place) for n, place in new.items())
            return written

    async def _publish(self, placed: PlacedRecords) -> WrittenOffsets:
        async with self._lock:
            identity, self._identity = self._identity, None
            if identity is None:
                identity = await self._cluster.retry("requesting a producer id", self._new_identity)
            try:
                written = await self._sender.send(identity, placed)
            except Fenced as error:
                raise Outage(f"{error}; the next attempt uses a new producer id") from error
            self._identity = identity
            return written

    async def _new_identity(self) -> ProducerIdentity:
        answer = await self._cluster.ask(self._cluster.any_node(), InitProducerIdRequest(None, 0))
        check(answer.error_code)
        return ProducerIdentity(answer.producer_id, answer.producer_epoch)
