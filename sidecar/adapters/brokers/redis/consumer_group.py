"""The consumer group of a stream: made at the configured start, mended when somebody deleted it, and the entries of
members that died claimed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct

from sidecar.adapters.brokers.redis.consumer_name import MARK, RELEASED
from sidecar.adapters.brokers.redis.entry_codec import RawEntry, entry_id, offset, pairs, raw
from sidecar.adapters.brokers.redis.lua_scripts import REMOVE_IDLE_CONSUMER
from sidecar.adapters.brokers.redis.stream_lease import StreamLease
from sidecar.adapters.redis_client.connection_pool import RedisConnection
from sidecar.adapters.redis_client.errors import RedisReplyError
from sidecar.config.schema import StartPosition

PAGE = 1000
FORGET_AFTER = 7 * 86_400_000
"""Milliseconds after which a consumer that did nothing and has nothing pending is removed."""
_LAST_SEQUENCE = (1 << 64) - 1


class RedisGroupState(Struct, frozen=True):
    """How far a group is with a stream, in offsets."""

    delivered: int
    """The newest entry that any member was given; 0 for none."""
    pending: int
    oldest_pending: int | None
    lag: int | None
    """Entries that no member was given yet; None where the server cannot say."""

    @property
    def committed(self) -> int:
        """Everything below this offset is committed."""
        return self.oldest_pending if self.oldest_pending is not None else self.delivered + 1


async def start_id(link: RedisConnection, start: StartPosition) -> str:
    """The entry id behind which a new group begins. Raises as `RedisConnection.call` does."""
    if start.kind in ("latest", "earliest"):
        return "$" if start.kind == "latest" else "0"
    since = start.value
    if start.kind == "ago":
        seconds, micros = await link.call("TIME")
        since = int(seconds) * 1000 + int(micros) // 1000 - start.value
    return f"{since - 1}-{_LAST_SEQUENCE}" if since > 0 else "0"


async def create(link: RedisConnection, key: bytes, group: str, behind: str) -> bool:
    """Make the group, and the stream where there is none; False where the group is there already."""
    try:
        try:
            gone = await _gone(link, key) if behind == "0" else None
            # What was trimmed before this group came counts as read: only what is trimmed later is a loss.
            counted = ("ENTRIESREAD", gone) if gone is not None else ()
            await link.call("XGROUP", "CREATE", key, group, behind, "MKSTREAM", *counted)
        except RedisReplyError as error:
            if error.code != "ERR" or behind != "0":
                raise
            await link.call("XGROUP", "CREATE", key, group, behind, "MKSTREAM")  # before Redis 7.0
    except RedisReplyError as error:
        if error.code == "BUSYGROUP":
            return False
        raise
    return True


async def _gone(link: RedisConnection, key: bytes) -> int | None:
    """How many of the entries that a stream ever had are there no more; None where the server does not count (before
    Redis 7.0)."""
    try:
        info = pairs(await link.call("XINFO", "STREAM", key))
    except RedisReplyError as error:
        if error.code == "ERR":
            return 0  # no such stream yet
        raise
    added, length = info.get(b"entries-added"), info[b"length"]
    return added - length if isinstance(added, int) and isinstance(length, int) else None


async def state(link: RedisConnection, key: bytes, group: str) -> RedisGroupState | None:
    """How far the group is; None where there is no such stream or group."""
    groups, pending = await link.calls([("XINFO", "GROUPS", key), ("XPENDING", key, group)])
    for reply in (groups, pending):
        if isinstance(reply, RedisReplyError) and reply.code in ("NOGROUP", "ERR", "WRONGTYPE"):
            return None
        if isinstance(reply, Exception):
            raise reply
    for flat in groups:
        found = pairs(flat)
        if found[b"name"] == raw(group):
            lag = found.get(b"lag")
            return RedisGroupState(
                delivered=offset(_bytes(found[b"last-delivered-id"])),
                pending=int(pending[0]),
                oldest_pending=offset(pending[1]) if pending[0] else None,
                lag=lag if isinstance(lag, int) else None,
            )
    return None


# --- mending


async def mend(link: RedisConnection, feed: StreamLease, group: str, consumer: str) -> str:
    """Make a group that was deleted as it was, as far as we know it: behind what we were given, and with what we did
    not commit pending again. Where another member has made it already, it is only moved forward. Returns what
    happened, as a sentence for a person.

    Two members do this at the same time: the group stands behind the newest entry of both, and each has its own entries
    pending again. Dies in between: what was not made pending again is lost to the group, as it is to every member that
    was not running; that is what the returned sentence says."""
    newest = await _newest(link, feed.key)
    if newest is None or newest < feed.last:
        await create(link, feed.key, group, "0")
        await link.call("XGROUP", "CREATECONSUMER", feed.key, group, consumer + MARK)
        feed.last = 0
        feed.rewind()
        return "the stream was deleted, and is read from its beginning"
    if not await create(link, feed.key, group, entry_id(feed.last).decode()):
        now = await state(link, feed.key, group)
        if now is not None and now.delivered < feed.last:
            await link.call("XGROUP", "SETID", feed.key, group, entry_id(feed.last))
    ranges, single = feed.uncommitted()
    for first, last in ranges:
        async for page in _range(link, feed.key, first, last):
            await _force(link, feed.key, group, consumer, page)
    for page in _pages(single):
        await _force(link, feed.key, group, consumer, page)
    await link.call("XGROUP", "CREATECONSUMER", feed.key, group, consumer + MARK)
    kept = "what this member was given and had not committed was kept"
    return (
        f"the consumer group was deleted; {'some of ' if feed.unsure else ''}{kept}, what other members had may not be"
    )


async def _newest(link: RedisConnection, key: bytes) -> int | None:
    try:
        return offset(_bytes(pairs(await link.call("XINFO", "STREAM", key))[b"last-generated-id"]))
    except RedisReplyError as error:
        if error.code == "ERR":
            return None
        raise


async def _range(link: RedisConnection, key: bytes, first: bytes, last: bytes) -> Any:
    while True:
        entries = await link.call("XRANGE", key, first, last, "COUNT", PAGE)
        if not entries:
            return
        yield [entry[0] for entry in entries]
        if len(entries) < PAGE:
            return
        first = b"(" + entries[-1][0]


async def _force(link: RedisConnection, key: bytes, group: str, consumer: str, ids: Sequence[bytes]) -> None:
    if ids:
        await link.call("XCLAIM", key, group, consumer, 0, *ids, "FORCE", "JUSTID")


# --- members that died


async def dead(link: RedisConnection, key: bytes, group: str, consumer: str, idle: int) -> list[bytes]:
    """Other consumers with pending entries that have not asked for anything for `idle` milliseconds, and whoever gave
    theirs back. A member that is merely slow goes on asking."""
    consumers: dict[bytes, tuple[int, int]] = {}
    for flat in await link.call("XINFO", "CONSUMERS", key, group):
        one = pairs(flat)
        pending, rest = one[b"pending"], one[b"idle"]
        assert isinstance(pending, int)
        assert isinstance(rest, int)
        consumers[_bytes(one[b"name"])] = pending, rest
    found: list[bytes] = []
    for name, (pending, rest) in consumers.items():
        # A mark is as old as who made it.
        _, rest = consumers.get(name.removesuffix(MARK.encode()), (0, rest))
        if name.removesuffix(MARK.encode()) == raw(consumer):
            continue
        if pending and (rest >= idle or name == RELEASED.encode()):
            found.append(name)
        elif not pending and rest >= FORGET_AFTER:
            await REMOVE_IDLE_CONSUMER.call(link, [key], [group, name])
    return found


async def claim(
    link: RedisConnection, key: bytes, group: str, consumer: str, of: bytes, idle: int
) -> tuple[list[RawEntry], list[bytes], bool]:
    """Take over a page of the entries that `of` has pending: those that are there, the ids of those that are gone from
    the stream, and whether there may be more. Of two who claim at once one gets each entry."""
    rows = await link.call("XPENDING", key, group, "IDLE", idle, "-", "+", PAGE, of)
    ids = [row[0] for row in rows]
    if not ids:
        return [], [], False
    claimed = await link.call("XCLAIM", key, group, consumer, idle, *ids)
    entries = [entry for entry in claimed if entry is not None and entry[1] is not None]
    had = {entry[0] for entry in entries}
    missing = [one for one in ids if one not in had]
    gone: list[bytes] = []
    if missing:
        looks = await link.calls([("XRANGE", key, one, one) for one in missing])
        gone = [one for one, look in zip(missing, looks, strict=True) if isinstance(look, list) and not look]
        if gone:
            await link.call("XACK", key, group, *gone)
    return entries, gone, len(ids) == PAGE


async def give_back(link: RedisConnection, feed: StreamLease, group: str, consumer: str, idle: int) -> None:
    """Give what we have pending to nobody in particular, so that whoever reads next gets it at once, and leave."""
    after = "-"
    while True:
        rows = await link.call("XPENDING", feed.key, group, after, "+", PAGE, consumer)
        if not rows:
            break
        ids = [row[0] for row in rows]
        await link.call("XCLAIM", feed.key, group, RELEASED, 0, *ids, "IDLE", idle + 1000, "JUSTID")
        after = f"({ids[-1].decode()}"
    for name in (consumer, consumer + MARK):
        await REMOVE_IDLE_CONSUMER.call(link, [feed.key], [group, name])


def _pages(ids: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for at in range(0, len(ids), PAGE):
        yield ids[at : at + PAGE]


def _bytes(value: object) -> bytes:
    assert isinstance(value, bytes)
    return value
