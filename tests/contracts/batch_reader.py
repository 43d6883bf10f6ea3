"""Helpers for tests of brokers: read batches in the background, wait for records, commit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType

from sidecar.domain.model import Outgoing, Record
from sidecar.domain.ports.broker import Batch, Broker, Lease
from sidecar.domain.position import Partition, Position
from sidecar.domain.stream_names import StreamNames

PATIENCE = 60.0
"""Seconds after which a condition that does not hold fails the test."""
LETTER_ID = "tracecar.dead-letter-id"


class Reader:
    """Reads the batches of a started broker in a task, and keeps them."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.batches: list[Batch] = []
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Reader:
        self._task = asyncio.ensure_future(self._read())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None):
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait((self._task,))

    async def _read(self) -> None:
        try:
            async for batch in self.broker.batches():
                self.batches.append(batch)
                self._news.set()
        finally:
            self._news.set()

    @property
    def records(self) -> list[Record]:
        return [record for batch in self.batches for record in batch.records]

    @property
    def positions(self) -> list[Position]:
        return [record.position for record in self.records]

    def lease(self, partition: Partition) -> Lease | None:
        """Return the newest lease of a partition."""
        return next((b.lease for b in reversed(self.batches) if b.lease.partition == partition), None)

    def of(self, partition: Partition) -> list[Batch]:
        return [batch for batch in self.batches if batch.lease.partition == partition]

    async def until(self, condition: Callable[[Reader], object]) -> None:
        """Return once the condition holds. Raises the error that ended the reading, or TimeoutError."""
        assert self._task is not None
        async with asyncio.timeout(PATIENCE):
            while not condition(self):
                if self._task.done():
                    await self._task
                    raise AssertionError("the batches ended")
                self._news.clear()
                await self._news.wait()

    async def leases(self, *partitions: Partition) -> list[Lease]:
        """Wait for a lease of each of these partitions."""
        await self.until(lambda _: all(self.lease(p) is not None for p in partitions))
        return [lease for p in partitions if (lease := self.lease(p)) is not None]

    async def read(self, count: int) -> list[Record]:
        """Wait for this number of records."""
        await self.until(lambda _: len(self.records) >= count)
        return self.records


def letter(record: Record, naming: StreamNames, group: str) -> Outgoing:
    """Build the dead letter of a record, as the pipeline does."""
    return Outgoing(
        stream=naming.dead_letter_stream(record.position.stream),
        key=record.key,
        value=record.value,
        headers=(*record.headers, (LETTER_ID, f"{group}@{record.position}".encode())),
        partition=record.position.partition,
        value_at=record.value_at,
        origin=record.position,
    )


def letter_ids(records: Sequence[Record]) -> list[str]:
    """Return the dead-letter ids of these letters, sorted, with duplicates."""
    return sorted((value or b"").decode() for r in records for name, value in r.headers if name == LETTER_ID)


def by_lease(batches: Sequence[Batch]) -> list[list[Batch]]:
    """Return batches with records, grouped by lease, in order."""
    found: dict[int, list[Batch]] = {}
    for batch in batches:
        if batch.records:
            found.setdefault(id(batch.lease), []).append(batch)
    return list(found.values())
