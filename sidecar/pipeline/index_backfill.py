"""Filling the index from a look-back window when a partition is assigned, without committing anything."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Protocol

import structlog

from sidecar.decoding.decoder import EventDecoder
from sidecar.domain.errors import Outage, TracecarError
from sidecar.domain.model import Decoded, Event, Record
from sidecar.domain.ports.broker import Broker, Lease
from sidecar.domain.ports.index import Index
from sidecar.domain.position import Partition

log = structlog.get_logger()

AT_ONCE = 2
"""Partitions that are filled at the same time: filling must not crowd out what comes now."""


class BackfillIndex(Index, Protocol):
    """An index that is told what it covers."""

    def covering(self, partition: Partition, since_ms: int) -> None:
        """From this append time on, all of the partition is (or is about to be) held."""

    def filling(self, partition: Partition, under_way: bool) -> None:
        """The look-back window of this partition is being read, or no longer."""

    def forget(self, partition: Partition) -> None:
        """This partition is not ours any more."""

    async def room(self) -> None:
        """Returns once many more events can be added: for who can wait."""


class IndexBackfill:
    """Reads the look-back window of newly assigned partitions into the index, and again what it lost or missed."""

    def __init__(
        self,
        index: BackfillIndex,
        judge: EventDecoder,
        *,
        lookback: float,
        max_events: int,
        remember: Callable[[Sequence[Event]], None] = lambda events: None,
    ) -> None:
        """`remember` is told about what is filled in, as events of before the start."""
        self._index, self._judge, self._remember = index, judge, remember
        self._lookback, self._max_events = lookback, max_events
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._tasks: dict[Partition, asyncio.Task[None]] = {}
        self._leases: dict[Partition, tuple[Broker, Lease]] = {}
        self._brokers: dict[str, Broker] = {}
        self._gaps: set[asyncio.Task[None]] = set()
        self._again: dict[Partition, tuple[int, asyncio.Task[None]]] = {}
        """What is read again, and from which append time on."""

    @property
    def under_way(self) -> bool:
        return bool(self._tasks)

    def begin(self, broker: Broker, lease: Lease) -> None:
        """Start filling what lies before this lease's start."""
        self._leases[lease.partition] = broker, lease
        self._brokers[broker.system] = broker
        now = time.time_ns() // 1_000_000
        since = now - int(self._lookback * 1000)
        if self._lookback <= 0:
            self._index.covering(lease.partition, now)
            return
        self._index.filling(lease.partition, True)
        self._index.covering(lease.partition, since)
        self._start(lease.partition, self._fill(broker, lease, since))

    def backfill_all(self, since_ms: int | None) -> None:
        """The index may have lost what was appended from this time on (None: all that it held): read it again, of every
        partition of ours, as far as the window goes back."""
        since = time.time_ns() // 1_000_000 - int(self._lookback * 1000)
        for partition, (broker, lease) in self._leases.items():
            if lease.lost or self._lookback <= 0:
                continue
            if since_ms is not None:
                self._read_again(broker, lease, max(since, since_ms))
                continue
            old = self._tasks.pop(partition, None)
            if old is not None:
                old.cancel()
            self._index.filling(partition, True)
            self._index.covering(partition, since)
            self._start(partition, self._fill_again(broker, lease, since))

    def _read_again(self, broker: Broker, lease: Lease, since: int) -> None:
        partition = lease.partition
        if partition in self._again:
            # A server that comes and goes: one reading for all that it may have lost.
            earlier, old = self._again[partition]
            since = min(since, earlier)
            old.cancel()
        task = asyncio.ensure_future(self._fill_again(broker, lease, since))
        self._again[partition] = since, task
        task.add_done_callback(lambda done: self._was_read_again(partition, done))

    def _was_read_again(self, partition: Partition, task: asyncio.Task[None]) -> None:
        if self._again.get(partition, (0, None))[1] is task:
            del self._again[partition]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("what the index lost could not be read again", partition=str(partition), reason=str(error))
            if partition in self._leases:
                self._index.covering(partition, time.time_ns() // 1_000_000)

    async def _fill_again(self, broker: Broker, lease: Lease, since: int) -> None:
        """Waits out the broker's outages: one machine's trouble is often that of both servers."""
        wait = 0.5
        while not lease.lost:
            try:
                await self._fill(broker, lease, since, again=True)
                return
            except Outage as error:
                await asyncio.sleep(error.retry_after or wait)
                wait = min(2 * wait, 10.0)

    def gap(self, partition: Partition, low: int, high: int) -> None:
        """The index missed these offsets: read them again."""
        broker = self._brokers.get(partition.system)
        if broker is not None:
            task = asyncio.ensure_future(self._read_gap(broker, partition, low, high))
            self._gaps.add(task)
            task.add_done_callback(self._patched)

    def _patched(self, task: asyncio.Task[None]) -> None:
        self._gaps.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("what the index lost could not be read again", reason=str(error))

    def _start(self, partition: Partition, filling: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(filling)
        self._tasks[partition] = task
        task.add_done_callback(lambda done: self._done(partition, done))

    def forget(self, partition: Partition) -> None:
        task = self._tasks.get(partition)
        if task is not None:
            task.cancel()
        if partition in self._again:
            self._again[partition][1].cancel()
        self._leases.pop(partition, None)
        self._index.forget(partition)

    async def close(self) -> None:
        tasks = [*self._tasks.values(), *self._gaps, *(task for _, task in self._again.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, partition: Partition, task: asyncio.Task[None]) -> None:
        if self._tasks.get(partition) is task:
            del self._tasks[partition]
            self._index.filling(partition, False)
        if not task.cancelled() and (error := task.exception()) is not None:
            if not isinstance(error, TracecarError):
                log.error("filling the index ended by a mistake of ours", partition=str(partition), exc_info=error)
            else:
                log.warning("the look-back window could not be read", partition=str(partition), reason=str(error))
            self._index.covering(partition, time.time_ns() // 1_000_000)

    async def _fill(self, broker: Broker, lease: Lease, since: int, *, again: bool = False) -> None:
        async with self._turn:
            start = None if again else await self._newest(broker, lease)
            window = broker.scan(
                lease.partition,
                since=None if start is not None else since,
                start=start,
                until=None if again else lease.start,
            )
            async for records in window:
                if lease.lost:
                    return
                events = await self._judged([record for record in records if record.timestamp >= since])
                self._index.add(events)
                if not again:
                    self._remember(events)
                await self._index.room()
                await asyncio.sleep(0)

    async def _read_gap(self, broker: Broker, partition: Partition, low: int, high: int) -> None:
        wait = 0.5
        while True:
            try:
                async with self._turn:
                    async for records in broker.scan(partition, start=low, until=high + 1):
                        await self._index.room()
                        self._index.add(await self._judged(records))
                        if records:
                            low = records[-1].position.offset + 1
                return
            except Outage as error:
                await asyncio.sleep(error.retry_after or wait)
                wait = min(2 * wait, 10.0)
            except TracecarError as error:
                log.warning("what the index missed could not be read", partition=str(partition), reason=str(error))
                return

    async def _judged(self, records: Sequence[Record]) -> list[Event]:
        return [one.event for one in await self.judged(records)]

    async def judged(self, records: Sequence[Record]) -> list[Decoded]:
        """What these records are, unchecked where the registry cannot be asked."""
        return await self._judge.decode_with_schemas(records)

    async def _newest(self, broker: Broker, lease: Lease) -> int | None:
        """Where to begin instead, if the window may hold more than the index does. None where offsets do not count
        records."""
        if not broker.traits.offsets_count_records:
            return None
        first, _ = await broker.bounds(lease.partition)
        return lease.start - self._max_events if lease.start - first > self._max_events else None
