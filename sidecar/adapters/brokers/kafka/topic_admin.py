"""Topics to which we write: their partition counts and settings, and the creation of missing ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from aiokafka import errors as kafka
from aiokafka.admin.config_resource import ConfigResourceType
from aiokafka.protocol.admin import CreateTopicsRequest, DescribeConfigsRequest
from aiokafka.structs import TopicPartition

from sidecar.adapters.brokers.kafka.cluster_client import KafkaCluster
from sidecar.adapters.brokers.kafka.errors import check
from sidecar.adapters.brokers.kafka.topic_advice import (
    COMPARED_CONFIGS,
    DEAD_LETTER_HEADER_BYTES,
    dead_letter_findings,
)
from sidecar.domain.errors import Refused
from sidecar.domain.ports.broker import Retention
from sidecar.domain.stream_names import StreamNames

_MAX_AGE_CONFIGS = ("message.timestamp.before.max.ms", "message.timestamp.difference.max.ms")
"""Settings that limit the age of a record (KIP-937; before Kafka 3.6 the second one)."""
_NO_MAX_AGE_MS = (1 << 63) - 1


WARNINGS_TTL_S = 60.0
"""Time for which warnings are reused."""


class TopicAdmin:
    """Partition counts of topics, cached, and creation of topics."""

    def __init__(self, cluster: KafkaCluster) -> None:
        self._cluster = cluster
        self._counts: dict[str, int] = {}
        self._warnings: list[str] = []
        self._warnings_until = 0.0

    def forget(self) -> None:
        """Drop the cached partition counts."""
        self._counts.clear()

    async def partition_counts(self, names: Iterable[str]) -> dict[str, int]:
        """Return the partition counts of topics. Raises Refused if one does not exist."""
        names = list(dict.fromkeys(names))
        missing = [name for name in names if name not in self._counts]
        if missing:
            topics = await self._cluster.retry("asking for topics", lambda: self._cluster.topics(missing))
            self._counts.update((name, len(partitions)) for name, partitions in topics.items())
        for name in names:
            if name not in self._counts:
                raise Refused(f"Kafka: there is no topic {name}: create it, then try again")
        return {name: self._counts[name] for name in names}

    async def counts_or_create(self, names: Iterable[str], like: str) -> dict[str, int]:
        """Return the partition counts of topics; create missing ones with the partitions and settings of `like`."""
        names = list(dict.fromkeys(names))
        if any(name not in self._counts for name in names):
            exists = await self._cluster.retry("asking for topics", lambda: self._cluster.topics([*names, like]))
            for name in names:
                if name not in exists:
                    await self._create_like(name, like, exists.get(like) or {0: 1})
            await self._cluster.retry("waiting for new topics", lambda: self._await_leaders(names))
        return await self.partition_counts(names)

    async def create_compacted(self, name: str) -> None:
        """Create a compacted topic of one partition unless it exists, with as many replicas as any topic has."""
        exists = await self._cluster.retry("asking for topics", self._cluster.topics)
        if name not in exists:
            copies = max((count for partitions in exists.values() for count in partitions.values()), default=1)
            await self._create(name, 1, copies, {"cleanup.policy": "compact"})
        await self._cluster.retry("waiting for a new topic", lambda: self._await_leaders([name]))

    async def _create_like(self, name: str, like: str, partitions: dict[int, int]) -> None:
        # Letters must not replace one another by key, and must be kept as long and as safely as their origin.
        configs = {"cleanup.policy": "delete"}
        try:
            origin = (await self.topic_configs([like], COMPARED_CONFIGS)).get(like, {})
        except (kafka.KafkaError, OSError, TimeoutError):
            origin = {}
        if "max.message.bytes" in origin:
            configs["max.message.bytes"] = str(int(origin["max.message.bytes"]) + DEAD_LETTER_HEADER_BYTES)
        if "delete" in origin.get("cleanup.policy", "") and "retention.ms" in origin:
            configs["retention.ms"] = origin["retention.ms"]
        if "min.insync.replicas" in origin:
            configs["min.insync.replicas"] = origin["min.insync.replicas"]
        await self._create(name, len(partitions), max(partitions.values()), configs)

    async def _create(self, name: str, count: int, copies: int, configs: dict[str, str]) -> None:
        request = CreateTopicsRequest(
            [(name, count, copies, [], list(configs.items()))], self._cluster.options.request_timeout_ms, False
        )

        async def attempt() -> None:
            controller = self._cluster.client.cluster.controller
            node = controller.nodeId if controller is not None else self._cluster.any_node()
            answer: Any = await self._cluster.ask(node, request)
            for topic, code, *_ in answer.topic_errors:
                if code != kafka.TopicAlreadyExistsError.errno:
                    check(code, topic)

        await self._cluster.retry(f"creating the topic {name}", attempt)

    async def retention(self, topic: str) -> Retention:
        """Return the topic's retention; `Retention(None, False)` if we may not read its settings."""
        names = ("retention.ms", "cleanup.policy", "message.timestamp.type", *_MAX_AGE_CONFIGS)
        try:
            configs = (await self.topic_configs([topic], names))[topic]
            keeps = int(configs["retention.ms"]) if "delete" in configs["cleanup.policy"] else -1
            own = configs["message.timestamp.type"] == "CreateTime"
            takes = min(int(configs.get(name, _NO_MAX_AGE_MS)) for name in _MAX_AGE_CONFIGS)
            return Retention(None if keeps < 0 else keeps, own, takes if takes < _NO_MAX_AGE_MS else None)
        except (kafka.KafkaError, OSError, TimeoutError, ValueError, KeyError):
            return Retention(None, False)

    async def topic_configs(self, topics: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, str]]:
        """Return the settings of topics that we may read. Raises aiokafka's errors."""
        request = DescribeConfigsRequest([(ConfigResourceType.TOPIC, topic, list(names)) for topic in topics])
        answer: Any = await self._cluster.ask(self._cluster.any_node(), request)
        return {
            topic: {str(entry[0]): str(entry[1]) for entry in entries}
            for code, _, _, topic, entries in answer.resources
            if not code
        }

    async def dead_letter_problems(self, origins: Mapping[str, str]) -> list[tuple[str, str]]:
        """Return topic and sentence for each setting of a dead-letter topic that can lose dead letters.

        `origins`: the origin by dead-letter topic. Raises aiokafka's errors.
        """
        topics = sorted({*origins, *origins.values()})
        configs = await self.topic_configs(topics, COMPARED_CONFIGS) if topics else {}
        return [
            (topic, sentence)
            for topic, origin in sorted(origins.items())
            for sentence in dead_letter_findings(
                topic, configs.get(topic, {}), origin, configs.get(origin, {}), self._cluster.servers
            )
        ]

    async def warnings(self, wants: Callable[[str], bool], naming: StreamNames) -> Sequence[str]:
        """Return a sentence for each setting of a dead-letter topic that can lose dead letters; read once a minute."""
        if time.monotonic() < self._warnings_until or not naming.written:
            return self._warnings
        self._warnings_until = time.monotonic() + WARNINGS_TTL_S
        try:
            topics = await self._cluster.topics()
            letters = {naming.dead_letter_stream(topic): topic for topic in filter(wants, topics)}
            problems = await self.dead_letter_problems({name: o for name, o in letters.items() if name in topics})
        except (kafka.KafkaError, OSError, TimeoutError):
            return self._warnings
        self._warnings = [f"dead-letter topic {topic}: {sentence}" for topic, sentence in problems]
        return self._warnings

    async def _await_leaders(self, names: Iterable[str]) -> None:
        """Raise until every partition of these topics has a leader that we know."""
        await self._cluster.client.force_metadata_update()
        topics = await self._cluster.topics(list(names))
        for name in names:
            if name not in topics:
                raise kafka.UnknownTopicOrPartitionError(name)
            for number in topics[name]:
                self._cluster.leader(TopicPartition(name, number))
