"""Backfill of the index: reads the look-back window of a newly assigned partition without committing anything."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Protocol

import structlog

from sidecar.decoding.decoder import EventDecoder
from sidecar.domain.broker_traits import is_time_observed
from sidecar.domain.errors import Outage, TracecarError
from sidecar.domain.model import Decoded, Event, Record
from sidecar.domain.ports.broker import Broker, Lease
from sidecar.domain.ports.index import Index
from sidecar.domain.position import Partition

log = structlog.get_logger()

MAX_CONCURRENT_BACKFILLS = 2
"""Backfills that run at the same time. More would slow down live records."""
RETRY_MIN_S, RETRY_MAX_S = 0.5, 10.0


class BackfillIndex(Index, Protocol):
    """An index that can be backfilled."""

    def covering(self, partition: Partition, since_ms: int) -> None:
        """Note that the index holds all events of the partition from this append time on, or will soon."""

    def filling(self, partition: Partition, under_way: bool) -> None:
        """Note whether the look-back window of this partition is being read."""

    def forget(self, partition: Partition) -> None:
        """Note that another member owns this partition now."""

    async def room(self) -> None:
        """Wait until the index has room for many more events."""


class IndexBackfill:
    """Reads the look-back window of newly assigned partitions into the index, and events that the index lost."""

    def __init__(
        self,
        index: BackfillIndex,
        decoder: EventDecoder,
        *,
        lookback: float,
        max_events: int,
        remember: Callable[[Sequence[Event]], None] = lambda events: None,
    ) -> None:
        """Create a backfill.

        Args:
            index: The index to fill.
            decoder: Decodes records.
            lookback: Length of the window in seconds.
            max_events: Capacity of the index.
            remember: Called with backfilled events, as events from before the start.
        """
        self._index, self._decoder, self._remember = index, decoder, remember
        self._lookback, self._max_events = lookback, max_events
        self._limit = asyncio.Semaphore(MAX_CONCURRENT_BACKFILLS)
        self._tasks: dict[Partition, asyncio.Task[None]] = {}
        self._leases: dict[Partition, tuple[Broker, Lease]] = {}
        self._brokers: dict[str, Broker] = {}
        self._gap_tasks: set[asyncio.Task[None]] = set()
        self._rereads: dict[Partition, tuple[int, asyncio.Task[None]]] = {}
        """Partitions that are read again, each with the append time to start from."""

    @property
    def running(self) -> bool:
        """True while the window of at least one partition is being read."""
        return bool(self._tasks)

    def begin(self, broker: Broker, lease: Lease) -> None:
        """Start to read the window before this lease's start."""
        self._leases[lease.partition] = broker, lease
        self._brokers[broker.system] = broker
        now = time.time_ns() // 1_000_000
        since = now - int(self._lookback * 1000)
        if self._lookback <= 0:
            self._index.covering(lease.partition, now)
            return
        self._index.filling(lease.partition, True)
        self._index.covering(lease.partition, since)
        self._start(lease.partition, self._read_window(broker, lease, since))

    def backfill_all(self, since_ms: int | None) -> None:
        """Read all owned partitions again, because the index may have lost events.

        `since_ms`: append time from which events may be lost; None: all of them. At most the window is read.
        """
        since = time.time_ns() // 1_000_000 - int(self._lookback * 1000)
        for partition, (broker, lease) in self._leases.items():
            if lease.lost or self._lookback <= 0:
                continue
            if since_ms is not None:
                self._start_reread(broker, lease, max(since, since_ms))
                continue
            old = self._tasks.pop(partition, None)
            if old is not None:
                old.cancel()
            self._index.filling(partition, True)
            self._index.covering(partition, since)
            self._start(partition, self._reread(broker, lease, since))

    def _start_reread(self, broker: Broker, lease: Lease, since: int) -> None:
        partition = lease.partition
        if partition in self._rereads:
            # The server went away repeatedly: read everything that it may have lost once.
            earlier, old = self._rereads[partition]
            since = min(since, earlier)
            old.cancel()
        task = asyncio.ensure_future(self._reread(broker, lease, since))
        self._rereads[partition] = since, task
        task.add_done_callback(lambda done: self._on_reread_end(partition, done))

    def _on_reread_end(self, partition: Partition, task: asyncio.Task[None]) -> None:
        if self._rereads.get(partition, (0, None))[1] is task:
            del self._rereads[partition]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("cannot read lost events again", partition=str(partition), reason=str(error))
            if partition in self._leases:
                self._index.covering(partition, time.time_ns() // 1_000_000)

    async def _reread(self, broker: Broker, lease: Lease, since: int) -> None:
        """Retry after outages of the broker: it often fails together with the index's server."""
        wait = RETRY_MIN_S
        while not lease.lost:
            try:
                await self._read_window(broker, lease, since, backfilled_before=True)
                return
            except Outage as error:
                await asyncio.sleep(error.retry_after or wait)
                wait = min(2 * wait, RETRY_MAX_S)

    def backfill_range(self, partition: Partition, low: int, high: int) -> None:
        """Read the offsets from `low` to `high` again, because the index missed them."""
        broker = self._brokers.get(partition.system)
        if broker is not None:
            task = asyncio.ensure_future(self._read_range(broker, partition, low, high))
            self._gap_tasks.add(task)
            task.add_done_callback(self._on_range_end)

    def _on_range_end(self, task: asyncio.Task[None]) -> None:
        self._gap_tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("cannot read lost events again", reason=str(error))

    def _start(self, partition: Partition, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks[partition] = task
        task.add_done_callback(lambda done: self._on_window_end(partition, done))

    def forget(self, partition: Partition) -> None:
        """Stop the backfill of a partition that another member owns now."""
        task = self._tasks.get(partition)
        if task is not None:
            task.cancel()
        if partition in self._rereads:
            self._rereads[partition][1].cancel()
        self._leases.pop(partition, None)
        self._index.forget(partition)

    async def close(self) -> None:
        """Stop all backfills."""
        tasks = [*self._tasks.values(), *self._gap_tasks, *(task for _, task in self._rereads.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _on_window_end(self, partition: Partition, task: asyncio.Task[None]) -> None:
        if self._tasks.get(partition) is task:
            del self._tasks[partition]
            self._index.filling(partition, False)
        if not task.cancelled() and (error := task.exception()) is not None:
            if not isinstance(error, TracecarError):
                log.error("backfill of the index crashed", partition=str(partition), exc_info=error)
            else:
                log.warning("cannot read the look-back window", partition=str(partition), reason=str(error))
            self._index.covering(partition, time.time_ns() // 1_000_000)

    async def _read_window(self, broker: Broker, lease: Lease, since: int, *, backfilled_before: bool = False) -> None:
        async with self._limit:
            start = None if backfilled_before else await self._newest_start(broker, lease)
            window = broker.scan(
                lease.partition,
                since=None if start is not None else since,
                start=start,
                until=None if backfilled_before else lease.start,
            )
            async for records in window:
                if lease.lost:
                    return
                events = await self._decode_events([record for record in records if _is_wanted(record, since)])
                self._index.add(events)
                if not backfilled_before:
                    self._remember(events)
                await self._index.room()
                await asyncio.sleep(0)

    async def _read_range(self, broker: Broker, partition: Partition, low: int, high: int) -> None:
        wait = RETRY_MIN_S
        while True:
            try:
                async with self._limit:
                    async for records in broker.scan(partition, start=low, until=high + 1):
                        await self._index.room()
                        self._index.add(await self._decode_events(records))
                        if records:
                            low = records[-1].position.offset + 1
                return
            except Outage as error:
                await asyncio.sleep(error.retry_after or wait)
                wait = min(2 * wait, RETRY_MAX_S)
            except TracecarError as error:
                log.warning("cannot read missed events", partition=str(partition), reason=str(error))
                return

    async def _decode_events(self, records: Sequence[Record]) -> list[Event]:
        return [decoded.event for decoded in await self.decode(records)]

    async def decode(self, records: Sequence[Record]) -> list[Decoded]:
        """Decode records. Those whose schema the registry does not return stay unchecked."""
        return await self._decoder.decode_with_schemas(records)

    async def _newest_start(self, broker: Broker, lease: Lease) -> int | None:
        """Return the offset to start from if the window has more records than the index holds.

        None: it does not, or offsets do not count records.
        """
        if not broker.traits.offsets_count_records:
            return None
        first, _ = await broker.bounds(lease.partition)
        return lease.start - self._max_events if lease.start - first > self._max_events else None


def _is_wanted(record: Record, since: int) -> bool:
    return record.timestamp >= since or is_time_observed(record.position.system, record.position.offset)
