"""Reader of the partitions that other members commit, for the memory index alone (`index.memory.scope: all`).

It commits nothing and joins no group: it polls the end of each partition and reads new records by their position, which
costs the broker little more than the poll.
"""

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
from sidecar.domain.ports.broker import Broker, PartitionStatus
from sidecar.domain.ports.index import Coverage, Node
from sidecar.domain.position import Partition, Position

log = structlog.get_logger()

POLL_INTERVAL_S = 0.5
PARTITION_RETRY_MIN_S, PARTITION_RETRY_MAX_S = 1.0, 30.0
"""Backoff of a partition that could not be read."""
DELIVERED_AFTER_MS = 1_000
"""Age at which an entry was certainly read by the member that received it, if members share a partition (Redis)."""


class UnownedEventIndex(Protocol):
    """The index that the reader fills."""

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
    """Reads the partitions that other members commit."""

    def __init__(
        self,
        brokers: Sequence[Broker],
        index: UnownedEventIndex,
        decode: Callable[[Sequence[Record]], Awaitable[list[Decoded]]],
        publish: Callable[[Sequence[Decoded], bool], None],
        discard: Callable[[Partition, int], None],
        *,
        lookback: float,
    ) -> None:
        """Create a reader.

        Args:
            brokers: The brokers to read.
            index: The index to fill.
            decode: Decodes records.
            publish: Called with decoded events, and whether they are older than the start.
            discard: Called with a partition whose stream was created again, and the time (microseconds) before which
                its events were observed.
            lookback: Seconds before the start from which records are read.
        """
        self._brokers, self._index, self._decode = brokers, index, decode
        self._publish, self._discard = publish, discard
        self._lookback_ms = int(lookback * 1000)
        self._next: dict[Partition, int] = {}
        """The next offset to read, for each partition that others commit."""
        self._incarnations: dict[Partition, str] = {}
        self._since: dict[Partition, int] = {}
        """The append time (milliseconds) from which a partition was read."""
        self._backlog_end: dict[Partition, int] = {}
        """Records below this offset are older than the start."""
        self._trouble: dict[Partition, _PartitionTrouble] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Read until `close`."""
        self._tasks = [asyncio.ensure_future(self._run(broker)) for broker in self._brokers]

    async def close(self) -> None:
        """Stop reading."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, broker: Broker) -> None:
        await run_periodically("reading partitions of other members", lambda: self._poll(broker), POLL_INTERVAL_S)

    async def _poll(self, broker: Broker) -> None:
        """Read the new records of every partition that other members commit. Raises Outage and Refused."""
        statuses = await broker.status()
        traits = broker.traits
        shared = traits.members_share_partitions
        until = None if traits.offset_at is None else traits.offset_at(time.time_ns() // 1_000_000 - DELIVERED_AFTER_MS)
        for status in statuses:
            partition = status.partition
            self._compare_incarnation(status, shared=shared)
            if status.ours and not shared:
                # The pipeline publishes it. If another member takes it over, the look-back covers the time between.
                self._next.pop(partition, None)
                self._trouble.pop(partition, None)
            else:
                end = status.end if until is None else min(status.end, until)
                await self._try(broker, partition, end, shared=shared)

    def _compare_incarnation(self, status: PartitionStatus, *, shared: bool) -> None:
        """Begin again with a partition whose stream was deleted and created again.

        The pipeline discards the events of the partitions that it commits.
        """
        partition, incarnation = status.partition, status.incarnation
        if incarnation is None:
            return
        known = self._incarnations.get(partition, incarnation)
        self._incarnations[partition] = incarnation
        if known == incarnation:
            return
        if partition in self._next:
            self._next[partition] = self._backlog_end[partition] = 0
        if not status.ours and not shared:
            log.info("a stream was created again", partition=str(partition))
            self._discard(partition, time.time_ns() // 1_000)

    async def _try(self, broker: Broker, partition: Partition, end: int, *, shared: bool) -> None:
        """Read a partition. After a failure it is retried with a backoff, and the index stays marked as not filled."""
        trouble = self._trouble.get(partition)
        if trouble is not None and time.monotonic() < trouble.until:
            return
        try:
            await self._read(broker, partition, end, shared=shared)
        except Exception as error:
            if trouble is None:
                mistake = None if isinstance(error, TracecarError) else error
                log.warning("cannot read a partition", partition=str(partition), reason=str(error), exc_info=mistake)
            wait = PARTITION_RETRY_MIN_S if trouble is None else min(2 * trouble.wait, PARTITION_RETRY_MAX_S)
            self._trouble[partition] = _PartitionTrouble(wait, time.monotonic() + wait)
            self._index.filling(partition, True)
        else:
            self._trouble.pop(partition, None)

    async def _read(self, broker: Broker, partition: Partition, end: int, *, shared: bool) -> None:
        at = self._next.get(partition)
        if at is None:
            self._since[partition] = time.time_ns() // 1_000_000 - self._lookback_ms
            self._backlog_end[partition] = end
            self._index.filling(partition, True)
        if partition not in self._index.coverage().partitions:
            self._index.covering(partition, self._since[partition])
        if at is not None and at >= end and partition not in self._trouble:
            return
        since = self._since[partition] if at is None else None
        async for records in broker.scan(partition, since=since, start=at, until=end):
            decoded = await self._decode(records)
            if shared:
                decoded = [each for each in decoded if await self._index.at(each.event.position) is None]
            self._publish(decoded, records[0].position.offset < self._backlog_end[partition])
            self._next[partition] = records[-1].position.offset + 1
            await asyncio.sleep(0)
        self._next[partition] = end
        if at is None or partition in self._trouble:
            self._index.filling(partition, False)
