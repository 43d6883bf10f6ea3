"""The shop on Redis Streams, by redis-py."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from sidecar.demo.shop.messages import WireRecord
from sidecar.demo.shop.transport import HISTORY

BODY = b"payload"
"""The field with the body; the others are headers."""


class RedisTransport:
    """One service on Redis: it adds entries, and reads in its own consumer group."""

    def __init__(self, url: str, service: str) -> None:
        self._service = service
        # Without a socket timeout: with one, redis-py sends inside `asyncio.wait_for`, which on Python 3.11 may swallow
        # a cancellation that comes just as it is done.
        self._redis: Any = Redis.from_url(url, protocol=2, socket_timeout=None)

    async def publish(self, stream: str, wire: WireRecord) -> None:
        fields = {name.encode(): value for name, value in wire.headers}
        if wire.value is not None:
            fields[BODY] = wire.value
        await self._redis.xadd(stream, fields, maxlen=HISTORY, approximate=True)

    async def read(self, streams: Sequence[str]) -> AsyncGenerator[tuple[str, WireRecord], None]:
        for stream in streams:
            await self._join(stream)
        since = dict.fromkeys(streams, ">")
        while True:
            read = await self._redis.xreadgroup(self._service, f"{self._service}-1", since, count=100, block=1000)
            for name, entries in read or ():
                for entry_id, fields in entries:
                    yield name.decode(), _wire(fields)
                    await self._redis.xack(name, self._service, entry_id)

    async def close(self) -> None:
        await self._redis.aclose()

    async def _join(self, stream: str) -> None:
        """Make the group where it is missing, and the stream with it."""
        try:
            await self._redis.xgroup_create(stream, self._service, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # the server's error code, first word of its reply
                raise


async def connect(url: str, service: str) -> RedisTransport:
    """The connection of one service."""
    return RedisTransport(url, service)


def _wire(fields: dict[bytes, bytes]) -> WireRecord:
    headers = tuple((name.decode(), value) for name, value in fields.items() if name != BODY)
    return WireRecord(None, fields.get(BODY), headers)
