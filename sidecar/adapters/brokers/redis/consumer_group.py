"""Consumer group of a stream.

Creates the group at the configured start, repairs it after a deletion, and claims the entries of dead members.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence

from msgspec import Struct

from sidecar.adapters.brokers.redis.consumer_name import RELEASED, SENTINEL_SUFFIX
from sidecar.adapters.brokers.redis.entry_codec import RawEntry, as_bytes, entry_id, offset, pairs, raw
from sidecar.adapters.brokers.redis.lua_scripts import REMOVE_IDLE_CONSUMER
from sidecar.adapters.brokers.redis.stream_lease import StreamLease
from sidecar.adapters.brokers.redis.traits import is_time
from sidecar.adapters.redis_client.connection_pool import RedisConnection
from sidecar.adapters.redis_client.errors import RedisReplyError
from sidecar.config.value_types import StartPosition

PAGE_ENTRIES = 1000
"""Entries that one command lists or claims."""
CONSUMER_MAX_IDLE_MS = 7 * 86_400_000
"""Idle time after which a consumer without pending entries is removed."""
_MAX_SEQUENCE_NUMBER = (1 << 64) - 1


class RedisGroupState(Struct, frozen=True):
    """Progress of a group on a stream, in offsets."""

    delivered: int
    """Newest entry that was delivered to any member; 0 for none."""
    pending: int
    oldest_pending: int | None
    lag: int | None
    """Number of entries that were not delivered to any member yet; None if the server cannot tell."""

    @property
    def committed(self) -> int:
        """Offset below which all entries are committed."""
        return self.oldest_pending if self.oldest_pending is not None else self.delivered + 1


async def find_start_id(connection: RedisConnection, start: StartPosition) -> str:
    """Return the entry id after which a new group starts. Raises as `RedisConnection.call` does."""
    if start.kind in ("latest", "earliest"):
        return "$" if start.kind == "latest" else "0"
    since = start.value
    if start.kind == "ago":
        seconds, micros = await connection.call("TIME")
        since = int(seconds) * 1000 + int(micros) // 1000 - start.value
    return f"{since - 1}-{_MAX_SEQUENCE_NUMBER}" if since > 0 else "0"


async def create_group(connection: RedisConnection, key: bytes, group: str, behind: str) -> bool:
    """Create the group, and the stream if it does not exist. Returns False if the group exists.

    Entry ids that do not encode times count as observed now, so a group that starts at a time starts with the first of
    them.
    """
    try:
        if behind not in ("0", "$") and not await _can_begin_at_time(connection, key):
            behind = "0"
        try:
            gone = await _count_removed(connection, key) if behind == "0" else None
            # Entries that were trimmed before this group was created count as read: only a later trim is a loss.
            read = ("ENTRIESREAD", gone) if gone is not None else ()
            await connection.call("XGROUP", "CREATE", key, group, behind, "MKSTREAM", *read)
        except RedisReplyError as error:
            if error.code != "ERR" or behind != "0":
                raise
            await connection.call("XGROUP", "CREATE", key, group, behind, "MKSTREAM")  # before Redis 7.0
    except RedisReplyError as error:
        if error.code == "BUSYGROUP":
            return False
        raise
    return True


async def _can_begin_at_time(connection: RedisConnection, key: bytes) -> bool:
    """Check that entry ids are times; of a stream without entries this is not known yet."""
    newest = await _find_newest(connection, key)
    return newest is not None and is_time(newest)


async def _count_removed(connection: RedisConnection, key: bytes) -> int | None:
    """Count the entries that a stream had and has no more; None if the server does not count (before Redis 7.0)."""
    try:
        info = pairs(await connection.call("XINFO", "STREAM", key))
    except RedisReplyError as error:
        if error.code == "ERR":
            return 0  # no such stream yet
        raise
    added, length = info.get(b"entries-added"), info[b"length"]
    return added - length if isinstance(added, int) and isinstance(length, int) else None


async def group_state(connection: RedisConnection, key: bytes, group: str) -> RedisGroupState | None:
    """Return the group's progress; None if there is no such stream or group."""
    groups, pending = await connection.calls([("XINFO", "GROUPS", key), ("XPENDING", key, group)])
    for reply in (groups, pending):
        if isinstance(reply, RedisReplyError) and reply.code in ("NOGROUP", "ERR", "WRONGTYPE"):
            return None
        if isinstance(reply, Exception):
            raise reply
    for flat in groups:
        info = pairs(flat)
        if info[b"name"] == raw(group):
            lag = info.get(b"lag")
            return RedisGroupState(
                delivered=offset(as_bytes(info[b"last-delivered-id"])),
                pending=int(pending[0]),
                oldest_pending=offset(pending[1]) if pending[0] else None,
                lag=lag if isinstance(lag, int) else None,
            )
    return None


# --- a group that was deleted


async def restore_group(connection: RedisConnection, lease: StreamLease, group: str, consumer: str) -> str:
    """Create a deleted group again in its last state, as far as this member knows it.

    It starts after the entries that were delivered to this member, whose uncommitted entries become pending again. If
    another member has created it already, it is only moved forward. Returns a sentence that tells what was done.

    - Two members do this at the same time: the group ends at the newest entry of both, and the entries of each are
      pending again.
    - A crash in between: entries that were not made pending again are lost to the group, as are those of every member
      that was not running. The returned sentence says so.
    """
    if not await create_group(connection, lease.key, group, entry_id(lease.last).decode()):
        state = await group_state(connection, lease.key, group)
        if state is not None and state.delivered < lease.last:
            await connection.call("XGROUP", "SETID", lease.key, group, entry_id(lease.last))
    ranges, single = lease.list_uncommitted()
    for first, last in ranges:
        async for page in _range(connection, lease.key, first, last):
            await _make_pending(connection, lease.key, group, consumer, page)
    for page in _pages(single):
        await _make_pending(connection, lease.key, group, consumer, page)
    await connection.call("XGROUP", "CREATECONSUMER", lease.key, group, consumer + SENTINEL_SUFFIX)
    some = "some of " if lease.tracking_incomplete else ""
    return (
        f"the consumer group was deleted and created again; {some}the uncommitted entries of this member were kept, "
        "those of other members may be lost"
    )


async def _find_newest(connection: RedisConnection, key: bytes) -> int | None:
    try:
        return offset(as_bytes(pairs(await connection.call("XINFO", "STREAM", key))[b"last-generated-id"]))
    except RedisReplyError as error:
        if error.code == "ERR":
            return None
        raise


async def _range(connection: RedisConnection, key: bytes, first: bytes, last: bytes) -> AsyncIterator[Sequence[bytes]]:
    while True:
        entries = await connection.call("XRANGE", key, first, last, "COUNT", PAGE_ENTRIES)
        if not entries:
            return
        yield [entry[0] for entry in entries]
        if len(entries) < PAGE_ENTRIES:
            return
        first = b"(" + entries[-1][0]


async def _make_pending(
    connection: RedisConnection, key: bytes, group: str, consumer: str, ids: Sequence[bytes]
) -> None:
    if ids:
        await connection.call("XCLAIM", key, group, consumer, 0, *ids, "FORCE", "JUSTID")


# --- pending entries


async def find_dead_consumers(
    connection: RedisConnection, key: bytes, group: str, consumer: str, idle_ms: int
) -> list[bytes]:
    """List other consumers with pending entries that have not read for `idle_ms`, and the consumer of released entries.

    A member that is merely slow keeps reading. Consumers that have been idle for very long are removed.
    """
    consumers: dict[bytes, tuple[int, int]] = {}
    for flat in await connection.call("XINFO", "CONSUMERS", key, group):
        info = pairs(flat)
        pending, idle = info[b"pending"], info[b"idle"]
        assert isinstance(pending, int)
        assert isinstance(idle, int)
        consumers[as_bytes(info[b"name"])] = pending, idle
    dead: list[bytes] = []
    for name, (pending, idle) in consumers.items():
        # A sentinel is as old as the member that created it.
        owner = name.removesuffix(SENTINEL_SUFFIX.encode())
        _, idle = consumers.get(owner, (0, idle))
        if owner == raw(consumer):
            continue
        if pending and (idle >= idle_ms or name == RELEASED.encode()):
            dead.append(name)
        elif not pending and idle >= CONSUMER_MAX_IDLE_MS:
            await REMOVE_IDLE_CONSUMER.call(connection, [key], [group, name])
    return dead


async def claim_page(
    connection: RedisConnection, key: bytes, group: str, consumer: str, owner: bytes, idle_ms: int
) -> tuple[list[RawEntry], list[bytes], bool]:
    """Claim a page of the entries that have been pending for `owner` and idle for `idle_ms`.

    Returns the entries, the ids of those that the stream no longer holds, and whether there may be more. If two members
    claim at once, each entry goes to one of them.
    """
    rows = await connection.call("XPENDING", key, group, "IDLE", idle_ms, "-", "+", PAGE_ENTRIES, owner)
    ids = [row[0] for row in rows]
    entries, gone = await claim_entries(connection, key, group, consumer, ids, idle_ms)
    return entries, gone, len(ids) == PAGE_ENTRIES


async def claim_entries(
    connection: RedisConnection, key: bytes, group: str, consumer: str, ids: Sequence[bytes], idle_ms: int
) -> tuple[list[RawEntry], list[bytes]]:
    """Claim pending entries; those that are no longer pending, or idle for less than `idle_ms`, are left out.

    Returns the entries, and the ids of those that the stream no longer holds, which are acknowledged.
    """
    if not ids:
        return [], []
    claimed = await connection.call("XCLAIM", key, group, consumer, idle_ms, *ids)
    entries = [entry for entry in claimed if entry is not None and entry[1] is not None]
    received = {entry[0] for entry in entries}
    missing = [pending for pending in ids if pending not in received]
    gone: list[bytes] = []
    if missing:
        replies = await connection.calls([("XRANGE", key, pending, pending) for pending in missing])
        gone = [
            pending for pending, reply in zip(missing, replies, strict=True) if isinstance(reply, list) and not reply
        ]
        if gone:
            await connection.call("XACK", key, group, *gone)
    return entries, gone


async def find_forgotten(
    connection: RedisConnection, lease: StreamLease, group: str, consumer: str
) -> AsyncIterator[list[bytes]]:
    """Yield pages of our pending entries that belong to no tracked batch.

    There should be none: each entry that we read is tracked until it is committed or the stream is rewound. A reply
    that was discarded by a canceled call or a moved slot leaves such entries behind. No other member claims them,
    because their consumer is alive.
    """
    after = "-"
    while True:
        rows = await connection.call("XPENDING", lease.key, group, after, "+", PAGE_ENTRIES, consumer)
        is_in_work = lease.work_filter()
        forgotten = [row[0] for row in rows if not is_in_work(row[0])]
        if forgotten:
            # Entries that were committed since they were listed are no longer pending when they are listed again.
            again = await connection.call(
                "XPENDING", lease.key, group, forgotten[0], forgotten[-1], PAGE_ENTRIES, consumer
            )
            still_pending = {row[0] for row in again}
            yield [pending for pending in forgotten if pending in still_pending]
        if len(rows) < PAGE_ENTRIES:
            return
        after = f"({rows[-1][0].decode()}"


async def release_entries(
    connection: RedisConnection, lease: StreamLease, group: str, consumer: str, idle_ms: int
) -> None:
    """Give our pending entries to the consumer RELEASED, and leave the group: the next reader gets them at once."""
    after = "-"
    while True:
        rows = await connection.call("XPENDING", lease.key, group, after, "+", PAGE_ENTRIES, consumer)
        if not rows:
            break
        ids = [row[0] for row in rows]
        await connection.call("XCLAIM", lease.key, group, RELEASED, 0, *ids, "IDLE", idle_ms + 1000, "JUSTID")
        after = f"({ids[-1].decode()}"
    for name in (consumer, consumer + SENTINEL_SUFFIX):
        await REMOVE_IDLE_CONSUMER.call(connection, [lease.key], [group, name])


def _pages(ids: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for at in range(0, len(ids), PAGE_ENTRIES):
        yield ids[at : at + PAGE_ENTRIES]
