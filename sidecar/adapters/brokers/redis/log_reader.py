"""Reader of streams outside the consumer group: positions, ranges, bounds, names."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from sidecar.adapters.brokers.redis.entry_codec import (
    SYSTEM,
    EntryCodec,
    entry_id,
    offset,
    pairs,
    raw,
    text,
)
from sidecar.adapters.brokers.redis.stream_identity import find_identity, known_since
from sidecar.adapters.brokers.redis.traits import MIN_TIME_MS, SEQUENCE_BITS, is_time
from sidecar.adapters.redis_client.connection_pool import RedisPool
from sidecar.adapters.redis_client.errors import RedisReplyError
from sidecar.domain.model import Record
from sidecar.domain.position import Partition, Position

KEYS_PER_SCAN_STEP = 1000
_MAX_OFFSET = (1 << 128) - 1


def is_pattern(name: str) -> bool:
    """Check whether a configured name is a glob pattern."""
    return any(mark in name for mark in "*?[")


async def read(servers: RedisPool, entries: EntryCodec, position: Position) -> Record | None:
    """Read the record at a position; None if there is none."""
    if position.system != SYSTEM or position.partition != 0 or not 0 <= position.offset <= _MAX_OFFSET:
        return None
    key, wanted = raw(position.stream), entry_id(position.offset)
    try:
        replies = await servers.call(key, "XRANGE", key, wanted, wanted)
    except RedisReplyError as error:
        if error.code == "WRONGTYPE":
            return None
        raise
    if not replies:
        return None
    since = None if is_time(position.offset) else await _known_since(servers, key)
    return entries.records(position.stream, replies, since)[0]


async def _known_since(servers: RedisPool, key: bytes) -> int | None:
    """Return the timestamp of a stream's entries whose ids are not times."""
    async with servers.borrow(key) as connection:
        return known_since(await find_identity(connection, key))


async def exists(servers: RedisPool, stream: str) -> bool:
    """Check whether a stream of this name exists."""
    key = raw(stream)
    return bool(await servers.call(key, "TYPE", key) == b"stream")


async def bounds(servers: RedisPool, partition: Partition) -> tuple[int, int]:
    """Return the first offset that the stream holds, and the one after the newest that it ever held."""
    key = raw(partition.stream)
    try:
        info = pairs(await servers.call(key, "XINFO", "STREAM", key))
    except RedisReplyError as error:
        if error.code in ("ERR", "WRONGTYPE"):
            return 0, 0
        raise
    last, first = info[b"last-generated-id"], info[b"first-entry"]
    assert isinstance(last, bytes)
    end = offset(last) + 1
    return (offset(first[0]), end) if isinstance(first, list) else (end, end)


async def scan(
    servers: RedisPool,
    entries: EntryCodec,
    partition: Partition,
    since: int | None,
    start: int | None,
    until: int | None,
    page: int,
) -> AsyncIterator[Sequence[Record]]:
    """Read the records of a range, in pages. See `Broker.scan`."""
    first, end = await bounds(servers, partition)
    first = max(first, start or 0)
    end = min(end, until if until is not None else end)
    key = raw(partition.stream)
    # Entries with ids below all times were appended at an unknown time, so `since` does not exclude them.
    known = None if is_time(first) and is_time(end - 1) else await _known_since(servers, key)
    times = MIN_TIME_MS << SEQUENCE_BITS
    for low, high in ((first, min(end, times)), (max(first, times, (since or 0) << SEQUENCE_BITS), end)):
        at = low
        while at < high:
            replies = await servers.call(key, "XRANGE", key, entry_id(at), entry_id(high - 1), "COUNT", page)
            if not replies:
                break
            yield entries.records(partition.stream, replies, known)
            at = offset(replies[-1][0]) + 1


async def names(servers: RedisPool, pattern: str | None = None) -> AsyncIterator[str]:
    """Yield the names of all streams, or of those that match a glob pattern. A name may come twice.

    The search is split into steps that do not block the server.
    """
    match = ("MATCH", raw(pattern)) if pattern is not None else ()
    for node in servers.nodes():
        cursor: bytes | None = b"0"
        while cursor is not None:
            async with servers.borrow(None, node) as connection:
                cursor, keys = await connection.call(
                    "SCAN", cursor, *match, "COUNT", KEYS_PER_SCAN_STEP, "TYPE", "stream"
                )
            for key in keys:
                yield text(key)
            if cursor == b"0":
                cursor = None
