"""How far other consumer groups are with the watched streams."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from sidecar.adapters.brokers.redis.entry_codec import SYSTEM, offset, pairs, raw, text
from sidecar.adapters.redis_client.connection_pool import RedisConnection, RedisPool
from sidecar.adapters.redis_client.errors import RedisReplyError
from sidecar.domain.ports.consumer_groups import (
    SIDECAR_GROUPS,
    GroupPartition,
    GroupProgress,
    Unacknowledged,
)
from sidecar.domain.position import Partition

MOST_GROUPS = 1_000
LISTED = 100
"""Pending entries of a group that are looked at, oldest first."""


async def progress(servers: RedisPool, streams: Iterable[str], own: str) -> list[GroupProgress]:
    """See `Broker.groups`. A stream that is gone, or that we may not look at, is left out."""
    members: dict[str, int] = defaultdict(int)
    found: dict[str, list[GroupPartition]] = defaultdict(list)
    for stream in streams:
        key = raw(stream)
        async with servers.borrow(key) as link:
            for name, consumers, partition in await _of_stream(link, stream, key, raw(own)):
                if name in found or len(found) < MOST_GROUPS:
                    found[name].append(partition)
                    members[name] = max(members[name], consumers)
    return [GroupProgress(name, members[name], tuple(found[name])) for name in sorted(found)]


async def _of_stream(
    link: RedisConnection, stream: str, key: bytes, own: bytes
) -> list[tuple[str, int, GroupPartition]]:
    info, listed = await link.calls([("XINFO", "STREAM", key), ("XINFO", "GROUPS", key)])
    for reply in (info, listed):
        if isinstance(reply, RedisReplyError):
            return []
        if isinstance(reply, Exception):
            raise reply
    end = offset(_bytes(pairs(info)[b"last-generated-id"])) + 1
    groups = [pairs(flat) for flat in listed]
    groups = [
        group
        for group in groups
        if group[b"name"] != own and not _bytes(group[b"name"]).startswith(raw(SIDECAR_GROUPS))
    ]
    waiting = [group for group in groups[:MOST_GROUPS] if group[b"pending"]]
    replies = (
        await link.calls([("XPENDING", key, _bytes(one[b"name"]), "-", "+", LISTED) for one in waiting])
        if waiting
        else []
    )
    pending = {_bytes(one[b"name"]): reply for one, reply in zip(waiting, replies, strict=True)}
    found = []
    for group in groups[:MOST_GROUPS]:
        name = _bytes(group[b"name"])
        entries = pending.get(name, [])
        if isinstance(entries, Exception):
            if isinstance(entries, RedisReplyError):
                continue  # gone since, or not ours to see
            raise entries
        found.append((text(name), _count(group[b"consumers"]) or 0, _partition(stream, end, group, entries)))
    return found


def _partition(stream: str, end: int, group: dict[bytes, object], entries: list[list[Any]]) -> GroupPartition:
    delivered = offset(_bytes(group[b"last-delivered-id"])) + 1
    unacknowledged = tuple(Unacknowledged(offset(id), int(idle), int(times)) for id, _, idle, times in entries)
    lag, pending = _count(group.get(b"lag")), _count(group[b"pending"]) or 0
    committed = min(unacknowledged[0].offset, delivered) if unacknowledged else delivered
    return GroupPartition(
        Partition(SYSTEM, stream, 0),
        committed,
        max(end, delivered),
        None if lag is None else lag + pending,
        delivered=delivered,
        read=_count(group.get(b"entries-read")),
        unacknowledged=unacknowledged,
        more_unacknowledged=len(unacknowledged) == LISTED,
    )


def _count(value: object) -> int | None:
    """A number; None where the server has none (nil, or before Redis 7.0)."""
    return value if isinstance(value, int) else None


def _bytes(value: object) -> bytes:
    assert isinstance(value, bytes)
    return value
