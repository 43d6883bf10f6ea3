"""Removal of a partition's former events from the shared index, after its stream was deleted and created again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import structlog

from sidecar.adapters.index.redis.fetcher import STEP_TIMEOUT_S
from sidecar.adapters.index.redis.key_layout import PartitionKey, log_of, unpack_event
from sidecar.adapters.index.redis.lua_scripts import DISCARD_EVENTS
from sidecar.adapters.index.redis.shards import ShardClients
from sidecar.adapters.index.redis.writer import IndexWriter
from sidecar.adapters.redis_client.connection_pool import Argument
from sidecar.domain.errors import Outage, Refused
from sidecar.domain.position import Partition

log = structlog.get_logger()

KEYS_PER_SCAN_STEP = 1_000
SCAN_STEP_PAUSE_S = 0.005
"""Pause between two steps, in which the server does other work."""
EVENTS_PER_CALL_COUNT = 200
RETRY_MIN_S, RETRY_MAX_S = 0.5, 15.0


class FormerEvents:
    """Removes events by the time of their observation.

    Events of the new stream may be at the same positions, and other members may write them at the same time. An event
    is deleted only if it is still the one that was read. Sets with hints to deleted events expire.
    """

    def __init__(self, shards: ShardClients, writer: IndexWriter, ttl_ms: int) -> None:
        self._shards, self._writer, self._ttl_ms = shards, writer, ttl_ms
        self._tasks: set[asyncio.Task[None]] = set()

    def discard(self, partition: Partition, before: int) -> None:
        """Remove events that were observed before this time (microseconds) in the background."""
        task = asyncio.ensure_future(self._remove(partition, before))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Stop. What is not removed yet expires."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _remove(self, partition: Partition, before: int) -> None:
        key, wait = log_of(partition.system, partition.stream, partition.number), RETRY_MIN_S
        while True:
            try:
                await self._writer.wait_until_all_written()
                gone = 0
                async for shard, bucket in self._buckets(key):
                    gone += await self._remove_of(shard, bucket, key, before)
                    await asyncio.sleep(0)
            except (Outage, Refused) as error:
                log.warning("cannot remove events of a former stream yet", partition=str(partition), reason=str(error))
                await asyncio.sleep(wait)
                wait = min(2 * wait, RETRY_MAX_S)
                continue
            log.info("removed events of a former stream", partition=str(partition), events=gone)
            return

    async def _buckets(self, key: PartitionKey) -> AsyncIterator[tuple[int, bytes]]:
        """Yield shard and key of the buckets of a partition."""
        keys, servers = self._shards.keys, self._shards.servers
        for node in servers.nodes():
            cursor = b"0"
            while True:
                async with servers.borrow(None, node) as connection:
                    cursor, names = await connection.call(
                        "SCAN", cursor, "MATCH", keys.bucket_pattern(key), "COUNT", KEYS_PER_SCAN_STEP
                    )
                for name in names:
                    shard = keys.shard_of(name)
                    if shard is not None:
                        yield shard, name
                if cursor == b"0":
                    break
                await asyncio.sleep(SCAN_STEP_PAUSE_S)

    async def _remove_of(self, shard: int, bucket: bytes, key: PartitionKey, before: int) -> int:
        (flat,) = await self._shards.ask([(shard, ("HGETALL", bucket))], STEP_TIMEOUT_S)
        former: list[Argument] = []
        for field, packed in zip(flat[::2], flat[1::2], strict=True):
            try:
                event = unpack_event(packed, key.partition, 0)
            except (msgspec.DecodeError, ValueError):
                continue  # of another layout
            if event.observed_at < before:
                former += (field, packed)
        name, gone = bucket.removeprefix(self._shards.keys.heads[shard]), 0
        for at in range(0, len(former), 2 * EVENTS_PER_CALL_COUNT):
            part = former[at : at + 2 * EVENTS_PER_CALL_COUNT]
            arguments = (2 * self._ttl_ms, name, len(part) // 2, *part)
            command = ("EVALSHA", DISCARD_EVENTS.sha, 1, self._shards.keys.heads[shard], *arguments)
            ((count, held),) = await self._shards.ask([(shard, command)], STEP_TIMEOUT_S)
            self._writer.set_count(shard, held)
            gone += count
        return gone
