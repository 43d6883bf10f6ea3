"""Topics that we write to: how many partitions they have, and making those that are missing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiokafka import errors as kafka
from aiokafka.admin.config_resource import ConfigResourceType
from aiokafka.protocol.admin import CreateTopicsRequest, DescribeConfigsRequest
from aiokafka.structs import TopicPartition

from sidecar.adapters.brokers.kafka.cluster_client import KafkaCluster
from sidecar.adapters.brokers.kafka.errors import check
from sidecar.domain.errors import Refused
from sidecar.domain.ports.broker import Retention

_MAX_AGE_CONFIGS = ("message.timestamp.before.max.ms", "message.timestamp.difference.max.ms")
"""How old a record's time may be (KIP-937; before Kafka 3.6 the second)."""
_ALL = (1 << 63) - 1
DEAD_LETTER_HEADER_BYTES = 64 << 10
"""A letter is its record and some headers more: a record that just fits its topic must fit its letters' topic too."""


class TopicAdmin:
    """Partition counts of the topics that are written to, asked once each."""

    def __init__(self, cluster: KafkaCluster) -> None:
        self._cluster = cluster
        self._counts: dict[str, int] = {}

    def forget(self) -> None:
        self._counts.clear()

    async def partition_counts(self, names: Iterable[str]) -> dict[str, int]:
        """Their partition counts. Raises Refused where one does not exist."""
        names = list(dict.fromkeys(names))
        missing = [name for name in names if name not in self._counts]
        if missing:
            found = await self._cluster.retry("asking for topics", lambda: self._cluster.topics(missing))
            self._counts.update((name, len(partitions)) for name, partitions in found.items())
        for name in names:
            if name not in self._counts:
                raise Refused(f"Kafka: there is no topic {name}: create it, then try again")
        return {name: self._counts[name] for name in names}

    async def counts_or_create(self, names: Iterable[str], like: str) -> dict[str, int]:
        """As `counts`, but those that are missing are made first.

        With the partitions and replicas of the topic `like`.
        """
        names = list(dict.fromkeys(names))
        if any(name not in self._counts for name in names):
            exists = await self._cluster.retry("asking for topics", lambda: self._cluster.topics([*names, like]))
            for name in names:
                if name not in exists:
                    await self._create_like(name, like, exists.get(like) or {0: 1})
            await self._cluster.retry("waiting for new topics", lambda: self._await_leaders(names))
        return await self.partition_counts(names)

    async def create_compacted(self, name: str) -> None:
        """Make a compacted topic of one partition, with as many replicas as the best replicated topic has.

        Nothing where it is there.
        """
        exists = await self._cluster.retry("asking for topics", self._cluster.topics)
        if name not in exists:
            copies = max((count for partitions in exists.values() for count in partitions.values()), default=1)
            await self._create(name, 1, copies, {"cleanup.policy": "compact"})
        await self._cluster.retry("waiting for a new topic", lambda: self._await_leaders([name]))

    async def _create_like(self, name: str, like: str, partitions: dict[int, int]) -> None:
        # Letters must not replace one another by key, whatever the broker's default is.
        configs = {"cleanup.policy": "delete"}
        largest = await self._largest_message(like)
        if largest is not None:
            configs["max.message.bytes"] = str(largest + DEAD_LETTER_HEADER_BYTES)
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

    async def _largest_message(self, topic: str) -> int | None:
        """What the topic takes; None where we may not ask."""
        try:
            return int((await self._topic_configs(topic, "max.message.bytes"))["max.message.bytes"])
        except (kafka.KafkaError, OSError, TimeoutError, ValueError, KeyError):
            return None

    async def retention(self, topic: str) -> Retention:
        """What it does with the age of its records; (None, False) where we may not ask."""
        names = ("retention.ms", "cleanup.policy", "message.timestamp.type", *_MAX_AGE_CONFIGS)
        try:
            found = await self._topic_configs(topic, *names)
            keeps = int(found["retention.ms"]) if "delete" in found["cleanup.policy"] else -1
            own = found["message.timestamp.type"] == "CreateTime"
            takes = min(int(found.get(name, _ALL)) for name in _MAX_AGE_CONFIGS)
            return Retention(None if keeps < 0 else keeps, own, takes if takes < _ALL else None)
        except (kafka.KafkaError, OSError, TimeoutError, ValueError, KeyError):
            return Retention(None, False)

    async def _topic_configs(self, topic: str, *names: str) -> dict[str, str]:
        """Settings of a topic, those that we may see. Raises aiokafka's errors."""
        request = DescribeConfigsRequest([(ConfigResourceType.TOPIC, topic, list(names))])
        answer: Any = await self._cluster.ask(self._cluster.any_node(), request)
        return {
            str(entry[0]): str(entry[1]) for code, _, _, _, entries in answer.resources if not code for entry in entries
        }

    async def _await_leaders(self, names: Iterable[str]) -> None:
        """Raises until every partition of these topics has a leader that we know."""
        await self._cluster.client.force_metadata_update()
        found = await self._cluster.topics(list(names))
        for name in names:
            if name not in found:
                raise kafka.UnknownTopicOrPartitionError(name)
            for number in found[name]:
                self._cluster.leader(TopicPartition(name, number))
