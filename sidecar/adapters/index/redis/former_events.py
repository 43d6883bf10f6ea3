"""Removal of a partition's former events from the shared index, after its stream was deleted and created again."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

import msgspec
import structlog

from sidecar.adapters.index.redis.fetcher import STEP_TIMEOUT_S
from sidecar.adapters.index.redis.key_layout import PartitionKey, log_of, offset_from, small, unpack_event
from sidecar.adapters.index.redis.lua_scripts import DISCARD_EVENTS
from sidecar.adapters.index.redis.shards import ShardClients
from sidecar.adapters.index.redis.writer import IndexWriter
from sidecar.adapters.redis_client.connection_pool import Argument, Command
from sidecar.domain.errors import Outage, Refused
from sidecar.domain.position import Partition

log = structlog.get_logger()

MAX_WINDOWS_PER_STEP = 50
"""Windows of append time whose events are looked through in one step."""
STEP_PAUSE_S = 0.005
MAX_EVENTS_PER_CALL = 200
RETRY_MIN_S, RETRY_MAX_S = 0.5, 15.0


class FormerEvents:
    """Removes the old events of a stream that was deleted and created again: those observed before a given time.

    New events may reuse the same positions, and other members may write them at the same time. So an event is deleted
    only if it is unchanged since it was read. Sets with hints to deleted events expire.
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
                gone = await self._remove_all(key, before)
            except Outage as error:
                log.warning("cannot remove events of a former stream yet", partition=str(partition), reason=str(error))
                await asyncio.sleep(wait)
                wait = min(2 * wait, RETRY_MAX_S)
                continue
            except Refused as error:
                log.warning("events of a former stream stay until they expire", reason=str(error))
                return
            log.info("removed events of a former stream", partition=str(partition), events=gone)
            return

    async def _remove_all(self, key: PartitionKey, before: int) -> int:
        keys, gone = self._shards.keys, 0
        (seconds,) = await self._ask([(0, ("ZRANGE", keys.single(b"z"), 0, -1))])
        for start in range(0, len(seconds), MAX_WINDOWS_PER_STEP):
            windows = [keys.of_window(b"w", int(second)) for second in seconds[start : start + MAX_WINDOWS_PER_STEP]]
            members = await self._ask([(shard, ("SMEMBERS", name)) for shard, name in windows])
            # A member is two bytes of milliseconds, the partition, and the offset.
            end = 2 + len(key.name)
            buckets: dict[int, list[bytes]] = {}
            for member in itertools.chain.from_iterable(members):
                if member[2:end] == key.name:
                    offset = offset_from(member[end:], two_words=key.two_words)
                    buckets.setdefault(offset >> key.bits, []).append(small(offset & (1 << key.bits) - 1))
            for bucket, fields in buckets.items():
                gone += await self._remove_of(key, bucket, fields, before)
            await asyncio.sleep(STEP_PAUSE_S)
        return gone

    async def _remove_of(self, key: PartitionKey, bucket: int, fields: Sequence[bytes], before: int) -> int:
        """Remove some events of a bucket."""
        (shard, name), gone = self._shards.keys.of_bucket(key, bucket), 0
        head = self._shards.keys.heads[shard]
        for at in range(0, len(fields), MAX_EVENTS_PER_CALL):
            part = fields[at : at + MAX_EVENTS_PER_CALL]
            (packed,) = await self._ask([(shard, ("HMGET", name, *part))])
            former: list[Argument] = []
            for field, event in zip(part, packed, strict=True):
                if event is not None and _observed_at(event, key.partition) < before:
                    former += (field, event)
            if former:
                arguments = (2 * self._ttl_ms, name.removeprefix(head), len(former) // 2, *former)
                command: Command = ("EVALSHA", DISCARD_EVENTS.sha, 1, head, *arguments)
                ((count, held),) = await self._ask([(shard, command)])
                self._writer.set_count(shard, held)
                gone += count
        return gone

    async def _ask(self, commands: Sequence[tuple[int, Command]]) -> list[Any]:
        return await self._shards.ask(commands, STEP_TIMEOUT_S)


def _observed_at(packed: bytes, partition: Partition) -> int:
    """Return the time of observation of a packed event; 0 for one that cannot be read."""
    try:
        return unpack_event(packed, partition, 0).observed_at
    except (msgspec.DecodeError, ValueError):
        return 0
