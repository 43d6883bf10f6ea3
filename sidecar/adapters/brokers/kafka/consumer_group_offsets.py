"""Progress of other consumer groups.

ListGroups of every node (each lists the groups that it coordinates), OffsetFetch of each group, and now and then
DescribeGroups for the number of members.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any

from aiokafka import errors as kafka
from aiokafka.protocol.admin import (
    DescribeGroupsRequest_v0,
    DescribeGroupsRequest_v1,
    DescribeGroupsRequest_v2,
    ListGroupsRequest,
)
from aiokafka.protocol.api import Request
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.structs import TopicPartition

from sidecar.adapters.brokers.kafka.cluster_client import COMMITTED_ISOLATION_ID, LATEST_OFFSET, KafkaCluster
from sidecar.adapters.brokers.kafka.errors import check
from sidecar.domain.ports.consumer_groups import SIDECAR_GROUPS, GroupPartition, GroupProgress
from sidecar.domain.position import Partition

MAX_GROUPS = 1_000
RETRY_TIMEOUT_S = 2.0
"""Time for which a transient error is retried. It is short because the groups are polled again soon."""
MEMBERS_TTL_S = 30.0
"""Time for which a number of members is reused: the reply is large, because it carries every member's subscription."""
LANE = "groups"
"""Separate connections, so that a large reply about members delays no other request."""
NOT_CONSUMERS = frozenset({"share", "connect"})
"""Protocol types of groups that commit no offsets."""


_DESCRIBE_GROUPS_ID = 15


class DescribeGroups(Request[DescribeGroupsRequest_v0 | DescribeGroupsRequest_v1 | DescribeGroupsRequest_v2]):  # type: ignore[misc]  # aiokafka is untyped
    """DescribeGroups request whose replies parse for several groups.

    aiokafka's own parses version 3 as version 2, which fails for more than one group.
    """

    API_KEY = _DESCRIBE_GROUPS_ID

    def __init__(self, groups: list[str]) -> None:
        self._groups = groups

    def build(self, version: Callable[[list[str]], Any]) -> Any:
        return version(self._groups)


class KafkaConsumerGroups:
    """Reads the progress of the groups of one cluster, without those of sidecars."""

    def __init__(self, cluster: KafkaCluster, own: str, wants: Callable[[str], bool]) -> None:
        self._cluster, self._own, self._wants = cluster, own, wants
        self._members: dict[str, tuple[float, int | None]] = {}

    async def look(self) -> list[GroupProgress]:
        """Return the progress of the groups. See `Broker.groups`. Raises our exceptions only."""
        return await self._cluster.retry("reading the offsets of other groups", self._look, RETRY_TIMEOUT_S)

    async def _look(self) -> list[GroupProgress]:
        topics = await self._cluster.topics()
        watched = {TopicPartition(topic, number) for topic in filter(self._wants, topics) for number in topics[topic]}
        committed: dict[str, dict[TopicPartition, int]] = {}
        coordinated: list[tuple[int, str]] = []
        for node in sorted(broker.nodeId for broker in self._cluster.client.cluster.brokers()):
            coordinated += [(node, group) for group in await self._list_coordinated(node)]
        nodes: dict[int, list[str]] = {}
        for node, group in sorted(coordinated, key=lambda pair: pair[1])[:MAX_GROUPS]:
            offsets = await self._fetch_committed(node, group, watched)
            if offsets:
                committed[group] = offsets
                nodes.setdefault(node, []).append(group)
        if not committed:
            return []
        for node, groups in nodes.items():
            await self._count_members(node, groups)
        self._members = {group: self._members[group] for group in committed if group in self._members}
        tps = {tp for offsets in committed.values() for tp in offsets}
        # A transaction that hangs blocks all readers: a group at the last stable offset is not behind.
        ends = await self._cluster.offsets(tps, LATEST_OFFSET, COMMITTED_ISOLATION_ID)
        return [self._progress(group, committed[group], ends) for group in sorted(committed)]

    def _progress(
        self, group: str, offsets: dict[TopicPartition, int], ends: dict[TopicPartition, int]
    ) -> GroupProgress:
        _, members = self._members.get(group, (0.0, None))
        partitions = tuple(
            GroupPartition(
                Partition("kafka", tp.topic, tp.partition),
                offset,
                max(ends[tp], offset),
                max(0, ends[tp] - offset),
                read=offset,
            )
            for tp, offset in sorted(offsets.items())
        )
        return GroupProgress(group, members, partitions)

    async def _list_coordinated(self, node: int) -> list[str]:
        """Return the consumer groups that this node coordinates."""
        answer = await self._cluster.ask(node, ListGroupsRequest(), LANE)
        check(answer.error_code, "listing groups")
        return [
            group
            for group, kind in answer.groups
            if kind not in NOT_CONSUMERS and group != self._own and not group.startswith(SIDECAR_GROUPS)
        ]

    async def _fetch_committed(
        self, node: int, group: str, watched: Collection[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Return the offsets that a group committed on watched partitions; none if we may not ask."""
        answer = await self._cluster.ask(node, OffsetFetchRequest(group, None), LANE)
        offsets: dict[TopicPartition, int] = {}
        try:
            check(answer.error_code, group)
            for topic, partitions in answer.topics:
                for number, offset, _, code in partitions:
                    tp = TopicPartition(topic, number)
                    if offset >= 0 and tp in watched:
                        check(code, f"{topic}/{number}")
                        offsets[tp] = int(offset)
        except (kafka.GroupAuthorizationFailedError, kafka.TopicAuthorizationFailedError, kafka.GroupIdNotFound):
            return {}
        return offsets

    async def _count_members(self, node: int, groups: list[str]) -> None:
        """Count the members of these groups, unless their count is younger than MEMBERS_TTL_S.

        The broker describes a group of the newer protocol (KIP-848) as dead; the number of its members stays unknown.
        """
        now = time.monotonic()
        due = [group for group in groups if now - self._members.get(group, (-MEMBERS_TTL_S, 0))[0] >= MEMBERS_TTL_S]
        if not due:
            return
        answer = await self._cluster.ask(node, DescribeGroups(due), LANE)
        for described in answer.groups:
            code, group, state, members = _unpack_description(described)
            self._members[group] = now, None if code or state == "Dead" else members


def _unpack_description(group: Any) -> tuple[int, str, str, int]:
    code, name, state, _, _, members, *_ = group
    return code, name, state, len(members)
