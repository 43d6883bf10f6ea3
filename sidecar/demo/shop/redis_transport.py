"""Transport of the shop over Redis Streams, with redis-py."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from sidecar.demo.shop.messages import WireRecord
from sidecar.demo.shop.transport import MIN_STREAM_ENTRIES

BODY = b"payload"
"""Name of the field with the body; the other fields are headers."""


class RedisTransport:
    """The Redis connection of a service, which reads in its own consumer group."""

    def __init__(self, url: str, service: str) -> None:
        self._service = service
        # No socket timeout: with one, redis-py sends inside `asyncio.wait_for`, which on Python 3.11 can swallow a
        # cancellation that arrives as it completes.
        self._redis: Any = Redis.from_url(url, protocol=2, socket_timeout=None)

    async def publish(self, stream: str, wire: WireRecord) -> None:
        """Publish a record."""
        fields = {name.encode(): value for name, value in wire.headers}
        if wire.value is not None:
            fields[BODY] = wire.value
        await self._redis.xadd(stream, fields, maxlen=MIN_STREAM_ENTRIES, approximate=True)

    async def read(self, streams: Sequence[str]) -> AsyncGenerator[tuple[str, WireRecord], None]:
        """Yield the records of these streams from their beginning, each with its stream."""
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
        """Close the connection."""
        await self._redis.aclose()

    async def _join(self, stream: str) -> None:
        """Create the consumer group, and the stream, if they are missing."""
        try:
            await self._redis.xgroup_create(stream, self._service, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # the server's error code, first word of its reply
                raise


async def connect(url: str, service: str) -> RedisTransport:
    """Connect a service."""
    return RedisTransport(url, service)


def _wire(fields: dict[bytes, bytes]) -> WireRecord:
    headers = tuple((name.decode(), value) for name, value in fields.items() if name != BODY)
    return WireRecord(None, fields.get(BODY), headers)
