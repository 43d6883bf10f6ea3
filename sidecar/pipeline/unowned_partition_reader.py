"""Everyone sees, one commits: partitions that other members commit, read for the memory index alone
(`index.memory.scope: all`).

Nothing is committed here and no group is joined. What is appended elsewhere is read by its position every now and then,
which costs the broker little more than being asked how far the partitions are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import structlog
from msgspec import Struct

from sidecar.domain.errors import TracecarError
from sidecar.domain.model import Decoded, Record
from sidecar.domain.periodic_task import run_periodically
from sidecar.domain.ports.broker import Broker
from sidecar.domain.ports.index import Coverage, Node
from sidecar.domain.position import Partition, Position

log = structlog.get_logger()

EVERY = 0.5
"""Seconds between two looks."""
FIRST_REST, LONGEST_REST = 1.0, 30.0
"""Seconds for which a partition that could not be read is left alone."""
SETTLED_MS = 1_000
"""On Redis, where members share every stream: entries so old were read by whoever was given them."""


class UnownedEventIndex(Protocol):
    """The index that shows what is read."""

    async def at(self, position: Position) -> Node | None: ...

    def coverage(self) -> Coverage: ...

    def covering(self, partition: Partition, since_ms: int) -> None: ...

    def filling(self, partition: Partition, under_way: bool) -> None: ...


class _PartitionTrouble(Struct):
    """A partition that could not be read."""

    wait: float
    """Seconds between the last attempt and the next."""
    until: float


class UnownedPartitionReader:
    """Reads what other members commit."""

    def __init__(
        self,
        brokers: Sequence[Broker],
        index: UnownedEventIndex,
        judged: Callable[[Sequence[Record]], Awaitable[list[Decoded]]],
        show: Callable[[Sequence[Decoded], bool], None],
        *,
        lookback: float,
    ) -> None:
        """`show` takes judged events, and whether they are older than the start, for the index alone."""
        self._brokers, self._index, self._judged, self._show = brokers, index, judged, show
        self._lookback_ms = int(lookback * 1000)
        self._next: dict[Partition, int] = {}
        """Where to go on reading, for each partition that others commit."""
        self._since: dict[Partition, int] = {}
        """From which append time on (milliseconds) it was read."""
        self._before: dict[Partition, int] = {}
        """What lies below this offset was there before the first look: for the index alone."""
        self._trouble: dict[Partition, _PartitionTrouble] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Read until `close`."""
        self._tasks = [asyncio.ensure_future(self._run(broker)) for broker in self._brokers]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, broker: Broker) -> None:
        await run_periodically("reading what other members commit", lambda: self._look(broker), EVERY)

    async def _look(self, broker: Broker) -> None:
        """Read what is new of every partition that others commit. Raises what the broker does where it says nothing of
        any."""
        standing = await broker.status()
        traits = broker.traits
        shared = traits.members_share_partitions
        until = None if traits.offset_at is None else traits.offset_at(time.time_ns() // 1_000_000 - SETTLED_MS)
        for one in standing:
            if one.ours and not shared:
                # Its own way shows it; should it become another's, the look-back tells what came in between.
                self._next.pop(one.partition, None)
                self._trouble.pop(one.partition, None)
            else:
                await self._try(broker, one.partition, one.end if until is None else min(one.end, until), shared=shared)

    async def _try(self, broker: Broker, partition: Partition, end: int, *, shared: bool) -> None:
        """Read a partition. One that cannot be read keeps the others waiting once, and is then left alone for a while:
        the index goes on saying that it is not filled."""
        trouble = self._trouble.get(partition)
        if trouble is not None and time.monotonic() < trouble.until:
            return
        try:
            await self._read(broker, partition, end, shared=shared)
        except Exception as error:
            if trouble is None:
                mistake = None if isinstance(error, TracecarError) else error
                log.warning("a partition is not read", partition=str(partition), reason=str(error), exc_info=mistake)
            wait = FIRST_REST if trouble is None else min(2 * trouble.wait, LONGEST_REST)
            self._trouble[partition] = _PartitionTrouble(wait, time.monotonic() + wait)
            self._index.filling(partition, True)
        else:
            self._trouble.pop(partition, None)

    async def _read(self, broker: Broker, partition: Partition, end: int, *, shared: bool) -> None:
        at = self._next.get(partition)
        if at is None:
            self._since[partition] = time.time_ns() // 1_000_000 - self._lookback_ms
            self._before[partition] = end
            self._index.filling(partition, True)
        if partition not in self._index.coverage().partitions:
            self._index.covering(partition, self._since[partition])
        if at is not None and at >= end and partition not in self._trouble:
            return
        since = self._since[partition] if at is None else None
        async for records in broker.scan(partition, since=since, start=at, until=end):
            decoded = await self._judged(records)
            if shared:
                decoded = [one for one in decoded if await self._index.at(one.event.position) is None]
            self._show(decoded, records[0].position.offset < self._before[partition])
            self._next[partition] = records[-1].position.offset + 1
            await asyncio.sleep(0)
        self._next[partition] = end
        if at is None or partition in self._trouble:
            self._index.filling(partition, False)
