"""Client of a Kafka cluster: sends each request to the right node (leader, coordinator) and retries it.

All traffic of the adapter passes through it.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from aiokafka import errors as kafka
from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.structs import TopicPartition
from msgspec import Struct

from sidecar.adapters.brokers.kafka.client_options import KafkaConnector
from sidecar.adapters.brokers.kafka.errors import (
    ELSEWHERE,
    UNREACHABLE,
    check,
    is_transient,
    translate,
    translate_errors,
)
from sidecar.adapters.brokers.kafka.topic_ids import NO_TOPIC_ID, TopicIdsRequest
from sidecar.domain.errors import Outage

T = TypeVar("T")
BOOTSTRAP_END_TIMEOUT_S = 2.0
"""Time that a first connection may still take when the client is closed."""
RETRY_TIMEOUT_S = 10.0
"""Time for which a transient error is retried before the caller receives it."""
FIRST_RETRY_WAIT_S = 0.01
RETRY_WAIT_FACTOR = 1.6
UNCOMMITTED_ISOLATION_ID, COMMITTED_ISOLATION_ID = 0, 1
EARLIEST_OFFSET, LATEST_OFFSET = -2, -1
"""Timestamps of a ListOffsets request that mean the ends of the log."""
_LEGAL_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")
"""Names that a topic can have."""
_OFFSET_METADATA = re.compile(r"(?:topic-id=([0-9a-f]{32}))?(?:(?:^| )history=([0-9]{1,19}))?")


class CommittedOffset(Struct, frozen=True):
    """An offset that the group committed, with the topic's id at that time (None: unknown)."""

    offset: int
    topic_id: bytes | None
    history_mark: int | None = None
    """First offset that may be in no file of the history (`Lease.history_mark`)."""


def format_offset_metadata(topic_id: bytes | None, history_mark: int | None) -> str:
    """Return the metadata to commit with an offset.

    By the topic's id a topic that is created again is recognized; by the mark the next owner knows what the history
    lacks.
    """
    parts = [] if topic_id is None else [f"topic-id={topic_id.hex()}"]
    if history_mark is not None:
        parts.append(f"history={history_mark}")
    return " ".join(parts)


def parse_offset_metadata(offset: int, metadata: str | None) -> CommittedOffset:
    """Return a committed offset with what its metadata says; metadata of other programs says nothing."""
    match = _OFFSET_METADATA.fullmatch(metadata or "")
    topic_id, mark = (None, None) if match is None else match.groups()
    return CommittedOffset(offset, bytes.fromhex(topic_id) if topic_id else None, int(mark) if mark else None)


class KafkaCluster:
    """One client for all traffic of an adapter.

    Each kind of traffic (`lane`) has connections of its own, because a broker answers the requests of one connection
    in order: a long poll would delay a commit.

    Methods raise aiokafka's errors unless their docstring says otherwise; `retry` turns them into ours.
    """

    def __init__(self, connector: KafkaConnector) -> None:
        self._connector = connector
        self.options = connector.options
        self.servers = connector.servers
        self.client: Any = connector.client()
        self._bootstrap: asyncio.Task[None] | None = None
        self._coordinators: dict[tuple[object, str], int] = {}
        self._has_topic_ids = True
        self._id_lookups: dict[str, asyncio.Task[bytes | None]] = {}
        self._id_lock = asyncio.Lock()

    async def start(self) -> None:
        """Connect. Raises Outage if no server can be reached, Refused if the cluster does not let us in."""
        with translate_errors(f"connecting to {', '.join(self._connector.servers)}"):
            try:
                # aiokafka never closes the connection of a bootstrap that is canceled.
                self._bootstrap = asyncio.ensure_future(self.client.bootstrap())
                await asyncio.shield(self._bootstrap)
            except kafka.KafkaConnectionError as error:
                raise await self._reason() or error from error
            # All topics: naming those that are missing would let a broker with auto-creation create them.
            await self.client.set_topics([])

    async def close(self) -> None:
        if self._bootstrap is not None:
            await asyncio.wait({self._bootstrap}, timeout=BOOTSTRAP_END_TIMEOUT_S)
            self._bootstrap.cancel()
            await asyncio.gather(self._bootstrap, return_exceptions=True)
        await self.client.close()

    async def _reason(self) -> BaseException | None:
        """Return the most telling error of connecting to each server."""
        reasons: list[BaseException] = []
        for host, port, _ in self.client.hosts:
            try:
                await self._connector.probe(host, port)
            except (kafka.KafkaError, OSError, TimeoutError) as error:
                reasons.append(error)
        return min(reasons, key=is_transient, default=None)

    async def retry(self, what: str, attempt: Callable[[], Awaitable[T]], timeout_s: float | None = None) -> T:
        """Return the result of `attempt`, retrying transient errors for `timeout_s` seconds (RETRY_TIMEOUT_S).

        `what` names the work in messages: "committing kafka://orders/0". Raises our exceptions only.
        """
        until = time.monotonic() + (RETRY_TIMEOUT_S if timeout_s is None else timeout_s)
        wait = FIRST_RETRY_WAIT_S
        while True:
            try:
                return await attempt()
            except (kafka.KafkaError, OSError, TimeoutError, Outage) as error:
                if not (isinstance(error, Outage) or is_transient(error)) or time.monotonic() + wait > until:
                    raise translate(error, what) from error
                if getattr(error, "invalid_metadata", False):
                    self.client.force_metadata_update()
                if isinstance(error, (*ELSEWHERE, *UNREACHABLE)):
                    self._coordinators.clear()
            await asyncio.sleep(wait)
            wait = min(wait * RETRY_WAIT_FACTOR, self.options.retry_backoff_ms / 1000)

    async def ask(self, node: int, request: object, lane: object = ConnectionGroup.DEFAULT) -> Any:
        """Send a request to a node and return its answer."""
        return await self.client.send(node, request, group=lane)

    def leader(self, tp: TopicPartition) -> int:
        """Return the node that leads a partition, as far as we know."""
        node = self.client.cluster.leader_for_partition(tp)
        if node is None:
            raise kafka.UnknownTopicOrPartitionError(str(tp))
        if node == -1:
            raise kafka.LeaderNotAvailableError(str(tp))
        return int(node)

    def has_node(self, node: int) -> bool:
        """Check whether a node is part of the cluster, as far as we know."""
        return self.client.cluster.broker_metadata(node) is not None

    def any_node(self) -> int:
        node = self.client.get_random_node()
        if node is None:
            raise kafka.NoBrokersAvailable
        return int(node)

    async def group_coordinator(self, group: str) -> int:
        return await self._coordinator(CoordinationType.GROUP, group)

    async def transaction_coordinator(self, transactional_id: str) -> int:
        return await self._coordinator(CoordinationType.TRANSACTION, transactional_id)

    async def _coordinator(self, kind: object, key: str) -> int:
        node = self._coordinators.get((kind, key))
        if node is None:
            if self.client.get_random_node() is None:
                raise kafka.NoBrokersAvailable
            node = int(await self.client.coordinator_lookup(kind, key))
            self._coordinators[kind, key] = node
        return node

    async def topics(self, names: list[str] | None = None) -> dict[str, dict[int, int]]:
        """Return the partitions of these topics (None: all but internal ones), with their number of replicas.

        Asks the cluster each time. Missing topics are left out, and never created.
        """
        if names is not None:
            # A name that no topic can have is missing too; an empty list would ask old brokers for all topics.
            names = [name for name in names if _LEGAL_NAME.fullmatch(name)]
            if not names:
                return {}
        answer = await self.ask(self.any_node(), MetadataRequest(names, allow_auto_topic_creation=False))
        topics: dict[str, dict[int, int]] = {}
        for code, name, internal, partitions in answer.topics:
            if code == kafka.UnknownTopicOrPartitionError.errno or (internal and names is None):
                continue
            if names is not None:
                check(code, name)
            topics[name] = {number: len(replicas) for _, number, _, replicas, *_ in partitions}
        return topics

    async def topic_ids(self, names: list[str]) -> dict[str, bytes]:
        """Return the ids of those topics that exist; nothing if the broker has no topic ids (before Kafka 2.8)."""
        names = [name for name in names if _LEGAL_NAME.fullmatch(name)]
        if not names or not self._has_topic_ids:
            return {}
        try:
            answer = await self.ask(self.any_node(), TopicIdsRequest(names))
        except (NotImplementedError, kafka.IncompatibleBrokerVersion):
            self._has_topic_ids = False
            return {}
        return {name: id for _, name, id, *_ in answer.topics if id != NO_TOPIC_ID}

    async def topic_id(self, name: str) -> bytes | None:
        """Return a topic's id; None if the broker has no topic ids.

        One request that was not sent yet serves all callers, because the partitions of a topic are acquired together.
        Raises UnknownTopicOrPartitionError if there is no such topic.
        """
        lookup = self._id_lookups.get(name)
        if lookup is None:
            lookup = self._id_lookups[name] = asyncio.create_task(self._look_up_id(name), name=f"id of {name}")
            lookup.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(lookup)

    async def _look_up_id(self, name: str) -> bytes | None:
        async with self._id_lock:
            del self._id_lookups[name]
            topic_id = (await self.topic_ids([name])).get(name)
        if topic_id is None and self._has_topic_ids and name not in await self.topics([name]):
            raise kafka.UnknownTopicOrPartitionError(name)
        return topic_id

    async def committed_offsets(
        self, group: str, tps: Iterable[TopicPartition]
    ) -> dict[TopicPartition, CommittedOffset]:
        """Return the group's committed offsets of these partitions, where it has any."""
        wanted = list(_by_topic((tp, tp.partition) for tp in tps))
        node = await self.group_coordinator(group)
        answer = await self.ask(node, OffsetFetchRequest(group, wanted))
        check(getattr(answer, "error_code", 0), group)
        offsets = {}
        for topic, partitions in answer.topics:
            for number, offset, metadata, code in partitions:
                if code != kafka.UnknownTopicOrPartitionError.errno:
                    check(code, f"{topic}/{number}")
                    if offset >= 0:
                        offsets[TopicPartition(topic, number)] = parse_offset_metadata(int(offset), metadata)
        return offsets

    async def offsets(
        self, tps: Iterable[TopicPartition], timestamp: int, isolation: int = COMMITTED_ISOLATION_ID
    ) -> dict[TopicPartition, int]:
        """Return for each partition the first offset whose record is at or after `timestamp`; -1 if there is none.

        `timestamp` is in milliseconds, or EARLIEST_OFFSET, or LATEST_OFFSET.
        """
        nodes: dict[int, list[TopicPartition]] = defaultdict(list)
        for tp in tps:
            nodes[self.leader(tp)].append(tp)
        offsets = {}
        for node, node_tps in nodes.items():
            topics = list(_by_topic((tp, (tp.partition, timestamp)) for tp in node_tps))
            answer = await self.ask(node, OffsetRequest(-1, isolation, topics))
            for topic, partitions in answer.topics:
                for number, code, _, offset in partitions:
                    check(code, f"{topic}/{number}")
                    offsets[TopicPartition(topic, number)] = int(offset)
        return offsets


def _by_topic(items: Iterable[tuple[TopicPartition, T]]) -> Iterable[tuple[str, list[T]]]:
    """Group items by topic, as requests want them."""
    topics: dict[str, list[T]] = defaultdict(list)
    for tp, item in items:
        topics[tp.topic].append(item)
    return topics.items()
