"""Asking the right node of a cluster: leaders, coordinators, retries. All that the adapter sends goes through here."""

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

from sidecar.adapters.brokers.kafka.client_options import KafkaConnector
from sidecar.adapters.brokers.kafka.errors import (
    ELSEWHERE,
    UNREACHABLE,
    check,
    is_transient,
    translate,
    translate_errors,
)
from sidecar.domain.errors import Outage

T = TypeVar("T")
RETRY_TIMEOUT_S = 10.0
"""Seconds for which a passing trouble is waited out before the caller hears of it."""
READ_UNCOMMITTED, READ_COMMITTED = 0, 1
EARLIEST, LATEST = -2, -1
"""As timestamps of a ListOffsets request."""
_LEGAL = re.compile(r"[a-zA-Z0-9._-]{1,249}")
"""What a topic can be called."""


class KafkaCluster:
    """One client for all of an adapter's traffic. Each kind of traffic (`lane`) has connections of its own, because a
    broker answers the requests of one connection one after the other: a long poll would hold up a settlement.

    Where a docstring here says nothing else, methods raise aiokafka's errors; `retry` turns them into ours."""

    def __init__(self, connector: KafkaConnector) -> None:
        self._connector = connector
        self.options = connector.options
        self.client: Any = connector.client()
        self._coordinators: dict[tuple[object, str], int] = {}

    async def start(self) -> None:
        """Raises Outage where no server can be reached, Refused where they do not let us in."""
        with translate_errors(f"connecting to {', '.join(self._connector.servers)}"):
            try:
                await self.client.bootstrap()
            except kafka.KafkaConnectionError as error:
                raise await self._reason() or error from error
            # All topics: naming those that are missing would let a broker with auto-creation make them.
            await self.client.set_topics([])

    async def close(self) -> None:
        await self.client.close()

    async def _reason(self) -> BaseException | None:
        """Why nothing could be reached: what the first server says that says anything."""
        reasons: list[BaseException] = []
        for host, port, _ in self.client.hosts:
            try:
                await self._connector.probe(host, port)
            except (kafka.KafkaError, OSError, TimeoutError) as error:
                reasons.append(error)
        return min(reasons, key=is_transient, default=None)

    async def retry(self, what: str, attempt: Callable[[], Awaitable[T]], patience: float | None = None) -> T:
        """The result of `attempt`, tried again while what it raises may pass, for `patience` seconds (PATIENCE).
        Raises our exceptions only."""
        until = time.monotonic() + (RETRY_TIMEOUT_S if patience is None else patience)
        wait = 0.01
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
            wait = min(wait * 1.6, self.options.retry_backoff_ms / 1000)

    async def ask(self, node: int, request: object, lane: object = ConnectionGroup.DEFAULT) -> Any:
        """The node's answer."""
        return await self.client.send(node, request, group=lane)

    def leader(self, tp: TopicPartition) -> int:
        """The node that leads a partition, as far as we know."""
        node = self.client.cluster.leader_for_partition(tp)
        if node is None:
            raise kafka.UnknownTopicOrPartitionError(str(tp))
        if node == -1:
            raise kafka.LeaderNotAvailableError(str(tp))
        return int(node)

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
        """These topics (None: all, without internal ones) as the cluster knows them now: for each partition how many
        replicas it has. Missing ones are left out, and never made."""
        if names is not None:
            # A name that no topic can have is missing too; an empty list would ask old brokers for all topics.
            names = [name for name in names if _LEGAL.fullmatch(name)]
            if not names:
                return {}
        answer = await self.ask(self.any_node(), MetadataRequest(names, allow_auto_topic_creation=False))
        found: dict[str, dict[int, int]] = {}
        for code, name, internal, partitions in answer.topics:
            if code == kafka.UnknownTopicOrPartitionError.errno or (internal and names is None):
                continue
            if names is not None:
                check(code, name)
            found[name] = {number: len(replicas) for _, number, _, replicas, *_ in partitions}
        return found

    async def committed(self, group: str, tps: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The group's committed offsets of these partitions, where it has any."""
        asked = list(_by_topic((tp, tp.partition) for tp in tps))
        node = await self.group_coordinator(group)
        answer = await self.ask(node, OffsetFetchRequest(group, asked))
        check(getattr(answer, "error_code", 0), group)
        found = {}
        for topic, partitions in answer.topics:
            for number, offset, _, code in partitions:
                if code != kafka.UnknownTopicOrPartitionError.errno:
                    check(code, f"{topic}/{number}")
                    if offset >= 0:
                        found[TopicPartition(topic, number)] = int(offset)
        return found

    async def offsets(
        self, tps: Iterable[TopicPartition], timestamp: int, isolation: int = READ_COMMITTED
    ) -> dict[TopicPartition, int]:
        """For each partition the first offset whose record is at or after `timestamp` (milliseconds; EARLIEST, LATEST),
        -1 where there is none."""
        nodes: dict[int, list[TopicPartition]] = defaultdict(list)
        for tp in tps:
            nodes[self.leader(tp)].append(tp)
        found = {}
        for node, theirs in nodes.items():
            topics = list(_by_topic((tp, (tp.partition, timestamp)) for tp in theirs))
            answer = await self.ask(node, OffsetRequest(-1, isolation, topics))
            for topic, partitions in answer.topics:
                for number, code, _, offset in partitions:
                    check(code, f"{topic}/{number}")
                    found[TopicPartition(topic, number)] = int(offset)
        return found


def _by_topic(items: Iterable[tuple[TopicPartition, T]]) -> Iterable[tuple[str, list[T]]]:
    """Together by topic, as requests want it."""
    topics: dict[str, list[T]] = defaultdict(list)
    for tp, item in items:
        topics[tp.topic].append(item)
    return topics.items()
