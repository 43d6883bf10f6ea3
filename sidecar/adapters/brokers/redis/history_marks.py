"""Marks of the history on Redis: for each member that writes events of a stream, a consumer group without consumers.

The position of the group says up to which entry everything that the member was given is in files of the history. It
ends with the stream, and survives the member: the next one that starts reads again what may be in no file
(`sidecar.pipeline.history_filler`).

A mark is stored before the entries are acknowledged, one command earlier on the same connection. Dies in between: the
mark is as low as it has to be, and the entries are delivered again. A mark that cannot be stored (a missing permission)
stops no commit.
"""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from sidecar.adapters.brokers.redis.consumer_name import SENTINEL_SUFFIX
from sidecar.adapters.brokers.redis.entry_codec import as_bytes, entry_id, offset, pairs, raw
from sidecar.adapters.brokers.redis.lua_scripts import FORWARD_HISTORY_MARKS
from sidecar.adapters.redis_client.connection_pool import RedisConnection
from sidecar.adapters.redis_client.errors import RedisReplyError

log = structlog.get_logger()


class HistoryMarks:
    """The marks of one stream, as a member sees them."""

    def __init__(self, key: bytes, group: str, consumer: str) -> None:
        self._key, self._group = key, group
        self._prefix = raw(f"tracecar.history:{len(group)}:{group}:")
        self._name = self._prefix + raw(consumer)
        self._others: dict[bytes, bytes] = {}
        """Marks of other members, by the name of their group, that everything above is to be read again for."""
        self._stored: int | None = None

    async def load(self, connection: RedisConnection) -> int | None:
        """Return the lowest mark of all members; None if there is none. Raises as `RedisConnection.call` does."""
        groups = [pairs(flat) for flat in await connection.call("XINFO", "GROUPS", self._key)]
        marks = {
            name: as_bytes(group[b"last-delivered-id"])
            for group in groups
            if (name := as_bytes(group[b"name"])).startswith(self._prefix)
        }
        self._others = {name: mark for name, mark in marks.items() if name != self._name}
        return min((offset(mark) + 1 for mark in marks.values()), default=None)

    async def store(self, connection: RedisConnection, mark: int, delivered: int) -> None:
        """Store this member's mark if it has changed.

        Once it has reached what was delivered before this member's lease, everything below that is in files, and the
        marks of members that are gone follow.
        """
        if mark == self._stored:
            return
        behind = entry_id(max(0, mark - 1))
        try:
            try:
                await connection.call("XGROUP", "SETID", self._key, self._name, behind)
            except RedisReplyError as error:
                if error.code != "NOGROUP":
                    raise
                await connection.call("XGROUP", "CREATE", self._key, self._name, behind)
            if self._others and mark >= delivered:
                await self._forward(connection, self._others, entry_id(max(0, delivered - 1)))
                self._others = {}
            self._stored = mark
        except RedisReplyError as error:
            log.debug("cannot store the mark of the history", stream=self._key, reason=str(error))

    async def _forward(self, connection: RedisConnection, marks: Mapping[bytes, bytes], behind: bytes) -> None:
        known = [part for each in marks.items() for part in each]
        await FORWARD_HISTORY_MARKS.call(
            connection, [self._key], [self._group, SENTINEL_SUFFIX, self._prefix, behind, *known]
        )
