"""Entries that other groups were given and cannot process: found in their pending lists, and taken from them.

Taking one is one Lua function: its letter is added and it is acknowledged for that group, or neither.

- Dies before or after it: the entry is still pending, or it is committed and dead-lettered.
- Two of it run, or the group's own consumer acknowledges meanwhile, or is given it again: whoever comes second finds it
  not pending, or given once more, and does nothing.
- The answer is lost: the next look does not find it pending any more."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping, Sequence

from msgspec import Struct

from sidecar.adapters.brokers.redis.committer import letter_stream
from sidecar.adapters.brokers.redis.entry_codec import SYSTEM, EntryCodec, entry_id, offset, raw, text
from sidecar.adapters.brokers.redis.lua_scripts import DEAD_LETTER_AND_ACK, MAX_FIELDS_PER_ENTRY
from sidecar.adapters.redis_client.connection_pool import RedisPool
from sidecar.adapters.redis_client.errors import RedisReplyError
from sidecar.domain.errors import TooLarge
from sidecar.domain.model import Outgoing
from sidecar.domain.position import Position
from sidecar.domain.stream_names import StreamNames

PAGE, PAGES = 100, 10
"""Pending entries that one look asks for, and how many times, for each stream and group."""


class StuckEntry(Struct, frozen=True):
    """An entry that a group was given and has not acknowledged."""

    group: str
    position: Position
    consumer: str
    deliveries: int
    idle_ms: int
    """Since it was given last."""


Cursors = MutableMapping[tuple[str, str], bytes]
"""For a stream and a group: where the next look goes on, where the last one did not come to the end."""


async def stuck(
    servers: RedisPool, streams: Iterable[str], group: str, idle_ms: int, cursors: Cursors
) -> list[StuckEntry]:
    """Entries of a group that were left alone for so long, in the streams where there is such a group: as many as one
    look takes, and the next ones at the next. Raises Outage, Refused."""
    found: list[StuckEntry] = []
    for stream in streams:
        key, start = raw(stream), cursors.pop((stream, group), b"-")
        for page in range(PAGES):
            try:
                reply = await servers.call(key, "XPENDING", key, raw(group), "IDLE", idle_ms, start, "+", PAGE)
            except RedisReplyError as error:
                if error.code in ("NOGROUP", "WRONGTYPE"):
                    break
                raise
            found += [
                StuckEntry(group, Position(SYSTEM, stream, 0, offset(id)), text(consumer), int(times), int(idle))
                for id, consumer, idle, times in reply
            ]
            if len(reply) < PAGE:
                break
            start = b"(" + reply[-1][0]
            if page == PAGES - 1:
                cursors[stream, group] = start
    return found


async def dead_letter_and_ack(
    servers: RedisPool, entries: EntryCodec, naming: StreamNames, entry: StuckEntry, letter: Outgoing
) -> bool:
    """Letter and acknowledge it; False where the group has moved on since. Raises Outage, Refused, TooLarge."""
    key, target = raw(entry.position.stream), raw(letter_stream(letter, servers, naming))
    fields = entries.fields(letter)
    if len(fields) > 2 * MAX_FIELDS_PER_ENTRY:
        raise TooLarge(
            f"{entry.position}: a letter of {len(fields) // 2} fields; at most {MAX_FIELDS_PER_ENTRY} can be added", 0
        )
    arguments: Sequence[bytes | int] = [
        raw(entry.group),
        entry_id(entry.position.offset),
        raw(entry.consumer),
        entry.deliveries,
        entry.idle_ms,
        *fields,
    ]
    async with servers.borrow(key) as link:
        return bool(await DEAD_LETTER_AND_ACK.call(link, [key, target], arguments))
