"""The Kafka adapter: consumes, commits and reads back.

The modules, in the order in which a record passes them:

- `client_options`: TLS, SASL and client options. `cluster_client`: requests to the right node. `errors`: Kafka's
errors as
  ours. `topic_ids`: which topic a name means
- `session`: the parts of a started broker
- `group_membership`, `partition_acquirer`, `partition_lease`: which partitions are ours, and from which offset
- `fetcher`, `record_decoder` (`decompression`, `record_format_v2`): from the broker's bytes to records
- `committer` (read its head first), `idempotent_producer`, `record_batch`, `topic_admin`: dead letters and offsets
- `ledger` (read its head), `ledger_cache`, `transactions`: what was done with dead letters
- `log_reader`: looking back. `consumer_group_offsets`: progress of other groups. `preflight`: `tracecar check`

aiokafka provides the connections, the protocol's messages, the codecs and the group's coordination. Its consumer and
producer are not used: they cannot fence a partition before it is read, and cost more for each record."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Sequence

from aiokafka.structs import TopicPartition

from sidecar.adapters.brokers.kafka.client_options import KafkaConnector
from sidecar.adapters.brokers.kafka.cluster_client import LATEST_OFFSET, UNCOMMITTED_ISOLATION_ID, KafkaCluster
from sidecar.adapters.brokers.kafka.ledger import LedgerProxy
from sidecar.adapters.brokers.kafka.partition_lease import KafkaLease
from sidecar.adapters.brokers.kafka.preflight import inspect
from sidecar.adapters.brokers.kafka.session import KafkaSession
from sidecar.adapters.brokers.kafka.traits import KAFKA_TRAITS
from sidecar.config import schema as config
from sidecar.domain.errors import ConfigError, Disconnected, Fenced, Mistake
from sidecar.domain.model import Outgoing, Record
from sidecar.domain.ports.broker import Batch, Finding, Lease, PartitionStatus, Retention
from sidecar.domain.ports.consumer_groups import GroupProgress
from sidecar.domain.position import Partition, Position
from sidecar.domain.stream_names import StreamNames

TROUBLE_CHECK_INTERVAL_S = 1.0
"""Time without a batch after which the background tasks are checked for errors."""


class KafkaBroker:
    """`sidecar.domain.ports.broker.Broker` for Apache Kafka 0.11 or later, and servers with its protocol.

    Raises ConfigError if the configuration cannot work."""

    system = KAFKA_TRAITS.scheme
    traits = KAFKA_TRAITS

    def __init__(
        self,
        config: config.KafkaConfig,
        service: str,
        naming: StreamNames,
        *,
        max_records: int = 1000,
        ledger_entries: int = 500_000,
    ) -> None:
        self._config, self._naming, self._max_records = config, naming, max_records
        self._ledger_entries = ledger_entries
        self._ledger = LedgerProxy(lambda: self._running.ledger)
        self.group = config.group_id or f"tracecar.{service}"
        self._connector = KafkaConnector(config)
        self._names = frozenset(name for name in (*config.topics, *config.gate) if not name.startswith("^"))
        self._patterns = _compile_patterns(config.topics)
        self._session: KafkaSession | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def named_streams(self) -> Sequence[str]:
        return [topic for topic in self._config.topics if not topic.startswith("^")]

    def wants(self, topic: str) -> bool:
        """Check whether a topic is read: it is named or matched, and is neither a dead-letter topic nor the ledger."""
        if self._naming.is_dead_letter(topic):
            return False
        return topic in self._names or any(pattern.fullmatch(topic) for pattern in self._patterns)

    # --- starting and stopping

    async def start(self) -> None:
        if self._session is not None:
            return
        cluster = KafkaCluster(self._connector)
        try:
            await cluster.start()
            await cluster.retry(f"looking for the group {self.group}", lambda: cluster.group_coordinator(self.group))
            topics = await cluster.retry("asking for topics", cluster.topics)
            wanted = list(filter(self.wants, topics))
            ids = await cluster.retry("asking for the ids of topics", lambda: cluster.topic_ids(wanted))
        except BaseException:
            await cluster.close()
            raise
        known = {TopicPartition(topic, number): ids.get(topic) for topic in wanted for number in topics[topic]}
        self._session = KafkaSession(
            cluster,
            self.group,
            self.wants,
            self._config.start,
            known,
            self._max_records,
            self._naming,
            self._ledger_entries,
        )

    async def close(self) -> None:
        await self._end_session(tell=True)

    async def _end_session(self, *, tell: bool) -> None:
        session, self._session = self._session, None
        if session is not None:
            self._closing = asyncio.create_task(session.close(tell=tell), name="closing the Kafka session")
        if self._closing is not None:
            # To its end even if the caller is canceled: else a member without a reader would keep its partitions.
            await asyncio.shield(self._closing)

    @property
    def _running(self) -> KafkaSession:
        if self._session is None:
            raise Disconnected("Kafka: this broker is not started")
        return self._session

    # --- reading

    async def batches(self) -> AsyncIterator[Batch]:
        session = self._running
        while self._session is session:
            with session.membership.polling():
                batch = session.next_batch()
                if batch is None and session.in_step:
                    await asyncio.sleep(0)
                    continue
                if batch is None:
                    session.check()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(TROUBLE_CHECK_INTERVAL_S):
                            await session.wakeup.wait()
                    continue
            yield batch
            await asyncio.sleep(0)
        raise Disconnected("Kafka: this broker was closed")

    def hold(self, lease: Lease) -> None:
        assert isinstance(lease, KafkaLease)
        lease.held = True
        lease.drop()  # held partitions must not take the buffer space of the others

    def release(self, lease: Lease) -> None:
        assert isinstance(lease, KafkaLease)
        lease.held = False
        if self._session is not None:
            self._session.wake()

    async def rewind(self, lease: Lease) -> None:
        assert isinstance(lease, KafkaLease)
        if not lease.lost:
            offset = await self._running.committer.committed_offset(lease)
            lease.jump(offset)
            self._running.wake()

    # --- writing

    async def commit(self, batches: Sequence[Batch], outgoing: Sequence[Outgoing]) -> None:
        if not batches:
            return
        lease = batches[0].lease
        assert isinstance(lease, KafkaLease)
        if lease.lost or self._session is None:
            raise Fenced(f"{lease.partition}: this lease is lost")
        await self._session.committer.commit(lease, batches[-1].next_offset, outgoing)

    async def publish(self, outgoing: Sequence[Outgoing]) -> list[Position]:
        if not outgoing:
            return []
        session = self._running
        counts = await session.topics.partition_counts(out.stream for out in outgoing)
        offsets = await session.publisher.publish(outgoing, counts)
        places = [offsets[index] for index in range(len(outgoing))]
        return [Position(self.system, tp.topic, tp.partition, offset) for tp, offset in places]

    # --- looking

    async def read(self, position: Position) -> Record | None:
        return await self._running.log_reader.read(position)

    async def partitions(self, stream: str) -> list[Partition]:
        cluster = self._running.cluster
        topics = await cluster.retry("asking for a topic", lambda: cluster.topics([stream]))
        return [Partition(self.system, stream, number) for number in sorted(topics.get(stream, ()))]

    async def streams(self) -> list[str]:
        cluster = self._running.cluster
        return sorted(await cluster.retry("asking for topics", cluster.topics))

    async def bounds(self, partition: Partition) -> tuple[int, int]:
        return await self._running.log_reader.bounds(partition)

    def scan(
        self, partition: Partition, *, since: int | None = None, start: int | None = None, until: int | None = None
    ) -> AsyncIterator[Sequence[Record]]:
        return self._running.log_reader.scan(partition, since, start, until, self._max_records)

    async def status(self) -> list[PartitionStatus]:
        cluster = self._running.cluster

        async def attempt() -> list[PartitionStatus]:
            topics = await cluster.topics()
            tps = [TopicPartition(t, n) for t in sorted(filter(self.wants, topics)) for n in sorted(topics[t])]
            if not tps:
                return []
            ends = await cluster.offsets(tps, LATEST_OFFSET, UNCOMMITTED_ISOLATION_ID)
            committed = await cluster.committed_offsets(self.group, tps)
            ids = await cluster.topic_ids(sorted({tp.topic for tp in tps}))
            return [
                self._status(tp, ends[tp], committed[tp].offset if tp in committed else None, ids.get(tp.topic))
                for tp in tps
            ]

        return await cluster.retry("asking for offsets", attempt)

    def _status(self, tp: TopicPartition, end: int, committed: int | None, topic_id: bytes | None) -> PartitionStatus:
        lag = max(0, end - committed) if committed is not None else None
        lease = self._running.membership.leases.get(tp)
        ours = lease is not None and not lease.lost
        incarnation = None if topic_id is None else topic_id.hex()
        return PartitionStatus(
            Partition(self.system, tp.topic, tp.partition), committed, end, lag, ours=ours, incarnation=incarnation
        )

    @property
    def ledger(self) -> LedgerProxy:
        return self._ledger

    async def retention(self, stream: str) -> Retention:
        return await self._running.topics.retention(stream)

    async def warnings(self) -> Sequence[str]:
        return await self._running.topics.warnings(self.wants, self._naming)

    async def groups(self) -> list[GroupProgress]:
        return await self._running.groups.look()

    async def inspect(self) -> list[Finding]:
        return await inspect(self._connector, self._config, self.group, self._naming, self.wants)


def _compile_patterns(topics: Sequence[str]) -> list[re.Pattern[str]]:
    patterns, mistakes = [], []
    for index, topic in enumerate(topics):
        if topic.startswith("^"):
            try:
                patterns.append(re.compile(topic))
            except re.error as error:
                path = f"sources.kafka.topics[{index}]"
                mistakes.append(Mistake(path, "a regular expression", f"{topic!r}: {error}"))
    if mistakes:
        raise ConfigError(mistakes)
    return patterns
