"""Everyone sees, one settles: partitions that other members settle, read for the memory index alone
(`index.memory.scope: all`).

Nothing is settled here and no group is joined. What is appended elsewhere is read by its position every now and then,
which costs the broker little more than being asked how far the partitions are."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import structlog

from sidecar.errors import TracecarError
from sidecar.model import SEQUENCE_BITS, Decoded, Partition, Position, Record
from sidecar.ports import Broker, Coverage, Node

log = structlog.get_logger()

EVERY = 0.5
"""Seconds between two looks."""


SETTLED_MS = 1_000
"""On Redis, where members share every stream: entries so old were read by whoever was given them."""


class Watched(Protocol):
    """The index that shows what is read."""

    async def at(self, position: Position) -> Node | None: ...

    def coverage(self) -> Coverage: ...

    def covering(self, partition: Partition, since_ms: int) -> None: ...

    def filling(self, partition: Partition, under_way: bool) -> None: ...


class Watcher:
    """Reads what other members settle."""

    def __init__(
        self,
        brokers: Sequence[Broker],
        index: Watched,
        judged: Callable[[Sequence[Record]], Awaitable[list[Decoded]]],
        show: Callable[[Sequence[Decoded], bool], None],
        *,
        lookback: float,
    ) -> None:
        """`show` takes judged events, and whether they are older than the start, for the index alone."""
        self._brokers, self._index, self._judged, self._show = brokers, index, judged, show
        self._lookback_ms = int(lookback * 1000)
        self._next: dict[Partition, int] = {}
        """Where to go on reading, for each partition that others settle."""
        self._since: dict[Partition, int] = {}
        """From which append time on (milliseconds) it was read."""
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Read until `close`."""
        self._tasks = [asyncio.ensure_future(self._run(broker)) for broker in self._brokers]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, broker: Broker) -> None:
        while True:
            try:
                await self._look(broker)
            except TracecarError as error:
                log.debug("other members' partitions are not read", system=broker.system, reason=str(error))
            await asyncio.sleep(EVERY)

    async def _look(self, broker: Broker) -> None:
        """Read what is new of every partition that others settle. Raises what the broker does."""
        standing = await broker.status()
        if broker.system == "redis":
            until = (time.time_ns() // 1_000_000 - SETTLED_MS) << SEQUENCE_BITS
            for one in standing:
                await self._read(broker, one.partition, min(one.end, until), shared=True)
            return
        for one in standing:
            if one.ours:
                # Its own way shows it; should it become another's, the look-back tells what came in between.
                self._next.pop(one.partition, None)
            else:
                await self._read(broker, one.partition, one.end, shared=False)

    async def _read(self, broker: Broker, partition: Partition, end: int, *, shared: bool) -> None:
        at = self._next.get(partition)
        if at is None:
            self._since[partition] = time.time_ns() // 1_000_000 - self._lookback_ms
        if partition not in self._index.coverage().partitions:
            self._index.covering(partition, self._since[partition])
        if at is not None and at >= end:
            return
        with contextlib.ExitStack() as stack:
            if at is None:
                self._index.filling(partition, True)
                stack.callback(self._index.filling, partition, False)
            since = self._since[partition] if at is None else None
            async for records in broker.scan(partition, since=since, start=at, until=end):
                decoded = await self._judged(records)
                if shared:
                    decoded = [one for one in decoded if await self._index.at(one.event.position) is None]
                self._show(decoded, at is None)
                await asyncio.sleep(0)
        self._next[partition] = end
