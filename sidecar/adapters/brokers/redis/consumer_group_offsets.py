"""Progress of other consumer groups on the watched streams."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from sidecar.adapters.brokers.redis.entry_codec import SYSTEM, as_bytes, offset, pairs, raw, text
from sidecar.adapters.redis_client.connection_pool import RedisConnection, RedisPool
from sidecar.adapters.redis_client.errors import RedisReplyError
from sidecar.domain.ports.consumer_groups import (
    SIDECAR_GROUPS,
    GroupPartition,
    GroupProgress,
    Unacknowledged,
)
from sidecar.domain.position import Partition

MAX_GROUPS = 1_000
MAX_LISTED_ENTRIES = 100
"""Pending entries of a group that are listed at most, oldest first."""


async def read_group_progress(servers: RedisPool, streams: Iterable[str], own: str) -> list[GroupProgress]:
    """Return the progress of the groups. See `Broker.groups`.

    A stream that is gone, or that we may not inspect, is left out.
    """
    members: dict[str, int] = defaultdict(int)
    partitions: dict[str, list[GroupPartition]] = defaultdict(list)
    for stream in streams:
        key = raw(stream)
        async with servers.borrow(key) as connection:
            for name, consumers, partition in await _read_stream(connection, stream, key, raw(own)):
                if name in partitions or len(partitions) < MAX_GROUPS:
                    partitions[name].append(partition)
                    members[name] = max(members[name], consumers)
    return [GroupProgress(name, members[name], tuple(partitions[name])) for name in sorted(partitions)]


async def _read_stream(
    connection: RedisConnection, stream: str, key: bytes, own: bytes
) -> list[tuple[str, int, GroupPartition]]:
    info, listed = await connection.calls([("XINFO", "STREAM", key), ("XINFO", "GROUPS", key)])
    for reply in (info, listed):
        if isinstance(reply, RedisReplyError):
            return []
        if isinstance(reply, Exception):
            raise reply
    end = offset(as_bytes(pairs(info)[b"last-generated-id"])) + 1
    groups = [pairs(flat) for flat in listed]
    groups = [
        group
        for group in groups
        if group[b"name"] != own and not as_bytes(group[b"name"]).startswith(raw(SIDECAR_GROUPS))
    ]
    waiting = [group for group in groups[:MAX_GROUPS] if group[b"pending"]]
    replies = (
        await connection.calls(
            [("XPENDING", key, as_bytes(group[b"name"]), "-", "+", MAX_LISTED_ENTRIES) for group in waiting]
        )
        if waiting
        else []
    )
    pending = {as_bytes(group[b"name"]): reply for group, reply in zip(waiting, replies, strict=True)}
    found_groups = []
    for group in groups[:MAX_GROUPS]:
        name = as_bytes(group[b"name"])
        entries = pending.get(name, [])
        if isinstance(entries, Exception):
            if isinstance(entries, RedisReplyError):
                continue  # deleted since, or not permitted
            raise entries
        found_groups.append((text(name), _number(group[b"consumers"]) or 0, _partition(stream, end, group, entries)))
    return found_groups


def _partition(stream: str, end: int, group: dict[bytes, object], entries: list[list[Any]]) -> GroupPartition:
    delivered = offset(as_bytes(group[b"last-delivered-id"])) + 1
    unacknowledged = tuple(Unacknowledged(offset(id), int(idle), int(times)) for id, _, idle, times in entries)
    lag, pending = _number(group.get(b"lag")), _number(group[b"pending"]) or 0
    committed = min(unacknowledged[0].offset, delivered) if unacknowledged else delivered
    return GroupPartition(
        Partition(SYSTEM, stream, 0),
        committed,
        max(end, delivered),
        None if lag is None else lag + pending,
        delivered=delivered,
        read=_number(group.get(b"entries-read")),
        unacknowledged=unacknowledged,
        more_unacknowledged=len(unacknowledged) == MAX_LISTED_ENTRIES,
    )


def _number(value: object) -> int | None:
    """Return a number, or None if the server has none (nil, or before Redis 7.0)."""
    return value if isinstance(value, int) else None
