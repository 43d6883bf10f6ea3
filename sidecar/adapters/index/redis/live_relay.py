"""What passes at one member, handed to the others while somebody listens there: a short stream of its own in the shared
index, which forgets what nobody took soon."""

from __future__ import annotations

import secrets
from collections import deque

from sidecar.adapters.index.redis.shards import ShardClients
from sidecar.adapters.redis_client.connection_pool import Command

MOST_ENTRIES = 200
"""Parcels that are kept, each of at most some hundred kilobytes."""
EXPIRES_MS = 60_000
BLOCK_MS = 1_000
SECONDS = 5.0
_REMEMBERED = 50
_FIELDS = 6


class RedisRelay:
    """The stream of one index."""

    def __init__(self, shards: ShardClients, member: str) -> None:
        self._shards, self._member = shards, member.encode()
        self._key = shards.keys.single(b"v")
        self._last: bytes | None = None
        self._taken: deque[bytes] = deque(maxlen=_REMEMBERED)

    async def send(self, parcel: bytes) -> None:
        """Hand something to whoever listens. Raises Outage, Refused."""
        # Where the answer is lost it is sent again: by the word in it whoever listens takes it once.
        word = secrets.token_bytes(8)
        add: Command = ("XADD", self._key, "MAXLEN", "~", MOST_ENTRIES, "*", "m", self._member, "p", parcel, "n", word)
        await self._shards.ask([(0, add), (0, ("PEXPIRE", self._key, EXPIRES_MS))], SECONDS)

    def begin(self) -> None:
        """What is received from now on begins now."""
        self._last = None

    async def receive(self) -> list[bytes]:
        """What others sent since the last call, after a second at most. Raises Outage, Refused."""
        if self._last is None:
            (newest,) = await self._shards.ask([(0, ("XREVRANGE", self._key, "+", "-", "COUNT", 1))], SECONDS)
            self._last = newest[0][0] if newest else b"0-0"
        read: Command = ("XREAD", "COUNT", 50, "BLOCK", BLOCK_MS, "STREAMS", self._key, self._last)
        (reply,) = await self._shards.ask([(0, read)], SECONDS)
        found: list[bytes] = []
        for _, entries in reply or ():
            for id, fields in entries:
                self._last = id
                if len(fields) == _FIELDS and fields[1] != self._member and fields[5] not in self._taken:
                    self._taken.append(fields[5])
                    found.append(fields[3])
        return found
