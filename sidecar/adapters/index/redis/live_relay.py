"""Relay of live records between members, through a short stream in the shared index.

Entries that no member reads soon are dropped.
"""

from __future__ import annotations

import secrets
from collections import deque

from sidecar.adapters.index.redis.shards import ShardClients
from sidecar.adapters.redis_client.connection_pool import Command

MAX_RELAY_ENTRIES = 200
"""Relay batches that the stream keeps, each of at most some hundred kilobytes."""
EXPIRES_MS = 60_000
BLOCK_MS = 1_000
RELAY_TIMEOUT_S = 5.0
_MAX_REMEMBERED_IDS = 50
_FIELD_COUNT = 6


class RedisRelay:
    """The relay stream of one index."""

    def __init__(self, shards: ShardClients, member: str) -> None:
        self._shards, self._member = shards, member.encode()
        self._key = shards.keys.single(b"v")
        self._last: bytes | None = None
        self._taken: deque[bytes] = deque(maxlen=_MAX_REMEMBERED_IDS)

    async def send(self, parcel: bytes) -> None:
        """Send a batch to the members with live subscribers. Raises Outage, Refused."""
        # If the reply is lost it is sent again: by its random id each receiver takes it once.
        word = secrets.token_bytes(8)
        add: Command = (
            "XADD",
            self._key,
            "MAXLEN",
            "~",
            MAX_RELAY_ENTRIES,
            "*",
            "m",
            self._member,
            "p",
            parcel,
            "n",
            word,
        )
        await self._shards.ask([(0, add), (0, ("PEXPIRE", self._key, EXPIRES_MS))], RELAY_TIMEOUT_S)

    def begin(self) -> None:
        """Start to receive: only batches that are sent from now on."""
        self._last = None

    async def receive(self) -> list[bytes]:
        """Return the batches that others sent since the last call; waits about a second for some.

        Raises Outage, Refused.
        """
        if self._last is None:
            (newest,) = await self._shards.ask([(0, ("XREVRANGE", self._key, "+", "-", "COUNT", 1))], RELAY_TIMEOUT_S)
            self._last = newest[0][0] if newest else b"0-0"
        read: Command = ("XREAD", "COUNT", 50, "BLOCK", BLOCK_MS, "STREAMS", self._key, self._last)
        (reply,) = await self._shards.ask([(0, read)], RELAY_TIMEOUT_S)
        messages: list[bytes] = []
        for _, entries in reply or ():
            for id, fields in entries:
                self._last = id
                if len(fields) == _FIELD_COUNT and fields[1] != self._member and fields[5] not in self._taken:
                    self._taken.append(fields[5])
                    messages.append(fields[3])
        return messages
