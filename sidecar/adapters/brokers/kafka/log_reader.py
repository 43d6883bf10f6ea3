"""Reader of old records: one record or a range, without a consumer group and without delaying the fetcher."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from aiokafka import errors as kafka
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.structs import TopicPartition

from sidecar.adapters.brokers.kafka.cluster_client import (
    COMMITTED_ISOLATION_ID,
    EARLIEST_OFFSET,
    LATEST_OFFSET,
    KafkaCluster,
)
from sidecar.adapters.brokers.kafka.errors import check
from sidecar.adapters.brokers.kafka.record_decoder import FetchedChunk, end_offset
from sidecar.domain.errors import Outage
from sidecar.domain.model import Record
from sidecar.domain.position import Partition, Position

_WAIT_MS = 100
MAX_EMPTY_FETCHES = 20
"""Consecutive fetches without a record after which a scan gives up. A broker that throttles us sends such replies."""
_MAX_OFFSET = (1 << 63) - 1
"""Positions are also read from headers that anyone may have written."""
_ONE_BATCH_BYTES = 1
"""Bytes asked for where one record is wanted: a broker gives a whole batch all the same (KIP-74)."""


class KafkaLogReader:
    """Reads on connections of its own, at most `MAX_CONCURRENCY` requests at a time."""

    MAX_CONCURRENCY = 4

    def __init__(self, cluster: KafkaCluster) -> None:
        self._cluster = cluster
        self._busy_lanes = [f"history {n}" for n in range(self.MAX_CONCURRENCY)]
        self._free = asyncio.Semaphore(self.MAX_CONCURRENCY)

    async def read(self, position: Position) -> Record | None:
        """Return the record at a position; None if it was deleted, never existed, or was never committed."""
        if position.offset > _MAX_OFFSET or not await self._is_there(
            TopicPartition(position.stream, position.partition)
        ):
            return None
        try:
            chunk = await self._fetch(position.log, position.offset, _ONE_BATCH_BYTES, wait_ms=0)
        except _OffsetGoneError:
            return None
        while chunk is not None and not chunk.done:
            for record in chunk.take(1000):
                if record.position.offset >= position.offset:
                    return record if record.position.offset == position.offset else None
            await asyncio.sleep(0)  # a large batch is read in steps
        return None

    async def bounds(self, partition: Partition) -> tuple[int, int]:
        """Return the first offset, and the offset after the last committed record."""
        tp = TopicPartition(partition.stream, partition.number)

        async def attempt() -> tuple[int, int]:
            low = await self._cluster.offsets([tp], EARLIEST_OFFSET)
            high = await self._cluster.offsets([tp], LATEST_OFFSET)
            return low[tp], max(low[tp], high[tp])

        if not await self._is_there(tp):
            return 0, 0
        return await self._cluster.retry(f"asking for the bounds of {partition}", attempt)

    async def scan(
        self, partition: Partition, since: int | None, start: int | None, until: int | None, most: int
    ) -> AsyncIterator[Sequence[Record]]:
        """Yield pages of at most `most` records. See `Broker.scan`."""
        tp = TopicPartition(partition.stream, partition.number)
        low, high = await self.bounds(partition)
        end = high if until is None else min(until, high)
        at = low if start is None else max(low, start)
        if since is not None:
            offsets = await self._cluster.retry(
                f"finding a time in {partition}", lambda: self._cluster.offsets([tp], max(0, since))
            )
            at = max(at, offsets[tp]) if offsets.get(tp, -1) >= 0 else end
        empty = 0
        ahead: asyncio.Task[FetchedChunk | None] | None = None
        try:
            while at < end and empty < MAX_EMPTY_FETCHES:
                fetching, ahead = ahead or self._fetch_page(partition, at), None
                try:
                    chunk = await fetching
                except _OffsetGoneError:
                    # Trimmed during the scan: continue with the rest.
                    low, _ = await self.bounds(partition)
                    if low <= at:
                        return
                    at = low
                    continue
                if chunk is None:
                    empty += 1
                    continue
                empty = 0
                if chunk.end < end:
                    ahead = self._fetch_page(partition, chunk.end)  # while this one is read
                while not chunk.done and at < end:
                    records = chunk.take(most)
                    at = max(at, chunk.next_offset)
                    if records and records[-1].position.offset >= end:
                        records = [record for record in records if record.position.offset < end]
                    if records:
                        yield records
                    else:
                        await asyncio.sleep(0)  # a large batch is read in steps
        finally:
            if ahead is not None:
                ahead.cancel()
                await asyncio.gather(ahead, return_exceptions=True)
        if at < end and empty >= MAX_EMPTY_FETCHES:
            # Taking it for the end would lose the rest: dead letters, or entries of the ledger.
            raise Outage(
                f"Kafka: {partition} returns nothing at offset {at}, although its end is {end}; try again", 1.0
            )

    def _fetch_page(self, partition: Partition, offset: int) -> asyncio.Task[FetchedChunk | None]:
        most = self._cluster.options.max_partition_fetch_bytes
        return asyncio.create_task(self._fetch(partition, offset, most), name=f"scan {partition}")

    async def _is_there(self, tp: TopicPartition) -> bool:
        if self._cluster.client.cluster.leader_for_partition(tp) is not None:
            return True
        topics = await self._cluster.retry("asking for a topic", lambda: self._cluster.topics([tp.topic]))
        return tp.partition in topics.get(tp.topic, ())

    async def _fetch(
        self, partition: Partition, offset: int, most: int, wait_ms: int = _WAIT_MS
    ) -> FetchedChunk | None:
        """Fetch records from an offset on; None if none arrived. Raises _GoneError if the offset does not exist."""
        tp = TopicPartition(partition.stream, partition.number)
        request = FetchRequest(wait_ms, 1, most, COMMITTED_ISOLATION_ID, [(tp.topic, [(tp.partition, offset, most)])])

        async def attempt() -> Any:
            answer = await self._cluster.ask(self._cluster.leader(tp), request, lane)
            ((_, ((_, code, _, _, *more),)),) = answer.topics
            if code == kafka.OffsetOutOfRangeError.errno:
                return None
            check(code, f"{tp.topic}/{tp.partition}")
            return more[-1], more[-3] if answer.API_VERSION >= 11 else more[-2]

        async with self._free:
            lane = self._busy_lanes.pop()
            try:
                fetched = await self._cluster.retry(f"reading {partition} at {offset}", attempt)
            finally:
                self._busy_lanes.append(lane)
        if fetched is None:
            raise _OffsetGoneError
        raw, aborted = fetched
        if not raw or end_offset(raw, offset) == offset:
            return None
        return FetchedChunk(partition, raw, offset, aborted, self._cluster.options.check_crcs)


class _OffsetGoneError(Exception):
    """The offset is not in the log."""
