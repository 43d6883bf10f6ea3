"""Finds exhausted entries, which a group of another service received too often, and dead-letters them for that group.

A Lua script takes an entry atomically: it adds the dead letter and acknowledges the entry for that group, or does
neither.

- A crash before or after the script: the entry is still pending, or it is dead-lettered and acknowledged.
- Two members take an entry at once, or the group's own consumer acknowledges it or receives it again meanwhile: the
  second finds that the entry is not pending, or was delivered once more, and does nothing.
- The reply is lost: the next search does not find the entry pending.
"""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping, Sequence

from msgspec import Struct

from sidecar.adapters.brokers.redis.committer import dead_letter_target
from sidecar.adapters.brokers.redis.entry_codec import SYSTEM, EntryCodec, entry_id, offset, raw, text
from sidecar.adapters.brokers.redis.lua_scripts import DEAD_LETTER_AND_ACK, MAX_FIELDS_PER_ENTRY
from sidecar.adapters.redis_client.connection_pool import RedisPool
from sidecar.adapters.redis_client.errors import RedisReplyError
from sidecar.domain.errors import TooLarge
from sidecar.domain.model import Outgoing
from sidecar.domain.position import Position
from sidecar.domain.stream_names import StreamNames

PAGE_ENTRIES, MAX_PAGES = 100, 10
"""Size and number of the pages of pending entries that one search reads, for each stream and group."""


class StuckEntry(Struct, frozen=True):
    """An entry that was delivered to a consumer of a group and is not acknowledged."""

    group: str
    position: Position
    consumer: str
    deliveries: int
    idle_ms: int
    """Time since its last delivery."""


Cursors = MutableMapping[tuple[str, str], bytes]
"""Entry id at which the next search continues, by stream and group, if the last search did not reach the end."""


async def find_stuck_entries(
    servers: RedisPool, streams: Iterable[str], group: str, idle_ms: int, cursors: Cursors
) -> list[StuckEntry]:
    """List entries of a group that have been pending and idle for `idle_ms`, in the streams that have such a group.

    One search reads a bounded number of entries; the next search continues there. Raises Outage, Refused.
    """
    entries: list[StuckEntry] = []
    for stream in streams:
        key, start = raw(stream), cursors.pop((stream, group), b"-")
        for page in range(MAX_PAGES):
            try:
                reply = await servers.call(key, "XPENDING", key, raw(group), "IDLE", idle_ms, start, "+", PAGE_ENTRIES)
            except RedisReplyError as error:
                if error.code in ("NOGROUP", "WRONGTYPE"):
                    break
                raise
            entries += [
                StuckEntry(group, Position(SYSTEM, stream, 0, offset(id)), text(consumer), int(times), int(idle))
                for id, consumer, idle, times in reply
            ]
            if len(reply) < PAGE_ENTRIES:
                break
            start = b"(" + reply[-1][0]
            if page == MAX_PAGES - 1:
                cursors[stream, group] = start
    return entries


async def dead_letter_and_ack(
    servers: RedisPool, entries: EntryCodec, naming: StreamNames, entry: StuckEntry, letter: Outgoing
) -> bool:
    """Dead-letter and acknowledge an entry.

    Returns False if the group has processed the entry since, or received it again. Raises Outage, Refused, TooLarge.
    """
    key, target = raw(entry.position.stream), raw(dead_letter_target(letter, servers, naming))
    fields = entries.fields(letter)
    if len(fields) > 2 * MAX_FIELDS_PER_ENTRY:
        raise TooLarge(
            f"{entry.position}: a dead letter of {len(fields) // 2} fields; at most {MAX_FIELDS_PER_ENTRY} fit",
            0,
        )
    arguments: Sequence[bytes | int] = [
        raw(entry.group),
        entry_id(entry.position.offset),
        raw(entry.consumer),
        entry.deliveries,
        entry.idle_ms,
        *fields,
    ]
    async with servers.borrow(key) as connection:
        return bool(await DEAD_LETTER_AND_ACK.call(connection, [key, target], arguments))
