"""A memory broker whose calls fail on demand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from sidecar.adapters.brokers.memory.broker import MemoryBroker
from sidecar.adapters.brokers.memory.ledger import MemoryLedger
from sidecar.domain.errors import Outage
from sidecar.domain.model import Outgoing, Record
from sidecar.domain.ports.broker import Batch, Finding, Lease, PartitionStatus, Retention
from sidecar.domain.ports.consumer_groups import GroupProgress
from sidecar.domain.ports.ledger import LedgerOutcome, LedgerTransaction
from sidecar.domain.position import Partition, Position


class Faults:
    """Errors of the next calls, by method."""

    def __init__(self) -> None:
        self._queued: dict[str, list[tuple[Exception, bool]]] = {}

    def add(self, method: str, error: Exception, *, after: bool) -> None:
        self._queued.setdefault(method, []).append((error, after))

    def are_queued(self, method: str) -> bool:
        return bool(self._queued.get(method))

    def before(self, method: str) -> Exception | None:
        """Raise the error of this call, or return one to raise after the call."""
        queued = self._queued.get(method)
        if not queued:
            return None
        error, after = queued.pop(0)
        if not after:
            raise error
        return error


class FaultyLedger:
    """A ledger that fails on demand."""

    def __init__(self, ledger: MemoryLedger, faults: Faults) -> None:
        self._ledger, self._faults = ledger, faults

    async def entries(self, stream: str | None, keys: Sequence[str]) -> list[bytes | None]:
        self._faults.before("entries")
        return await self._ledger.entries(stream, keys)

    async def under(self, prefix: str) -> dict[str, bytes]:
        self._faults.before("entries")
        return await self._ledger.under(prefix)

    async def act(self, acts: Sequence[LedgerTransaction]) -> list[LedgerOutcome]:
        after = self._faults.before("act")
        outcomes = await self._ledger.act(acts)
        if after is not None:
            raise after
        return outcomes

    async def ledger_started_at(self, stream: str | None) -> int | None:
        return await self._ledger.ledger_started_at(stream)


class FaultyBroker(MemoryBroker):
    """A memory broker with `fail_next`."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._faults = Faults()
        self._faulty_ledger = FaultyLedger(super().ledger, self._faults)

    def fail_next(self, method: str, error: Exception, *, after: bool = False) -> None:
        """Let the next call of `method` raise `error`. Several calls queue up.

        With `after`, the call is carried out first, as when a server's reply is lost.
        """
        self._faults.add(method, error, after=after)

    def is_failing(self, method: str) -> bool:
        """Return True if errors of this method are still to be raised."""
        return self._faults.are_queued(method)

    @property
    def ledger(self) -> Any:
        return self._faulty_ledger

    async def start(self) -> None:
        self._faults.before("start")
        await super().start()

    def _batch(self, lease: Lease) -> Batch | None:
        self._faults.before("batches")
        return super()._batch(lease)

    async def rewind(self, lease: Lease) -> None:
        self._faults.before("rewind")
        await super().rewind(lease)

    async def commit(self, batches: Sequence[Batch], outgoing: Sequence[Outgoing]) -> None:
        after = self._faults.before("commit")
        await super().commit(batches, outgoing)
        if after is not None:
            raise after

    async def publish(self, outgoing: Sequence[Outgoing]) -> list[Position]:
        after = self._faults.before("publish")
        positions = await super().publish(outgoing)
        if after is not None:
            raise after
        return positions

    async def read(self, position: Position) -> Record | None:
        self._faults.before("read")
        return await super().read(position)

    async def partitions(self, stream: str) -> list[Partition]:
        self._faults.before("partitions")
        return await super().partitions(stream)

    async def streams(self) -> list[str]:
        self._faults.before("streams")
        return await super().streams()

    async def bounds(self, partition: Partition) -> tuple[int, int]:
        self._faults.before("bounds")
        return await super().bounds(partition)

    async def scan(
        self, partition: Partition, *, since: int | None = None, start: int | None = None, until: int | None = None
    ) -> AsyncIterator[Sequence[Record]]:
        self._faults.before("scan")
        async for records in super().scan(partition, since=since, start=start, until=until):
            yield records

    async def status(self) -> list[PartitionStatus]:
        self._faults.before("status")
        return await super().status()

    async def retention(self, stream: str) -> Retention:
        self._faults.before("retention")
        return await super().retention(stream)

    async def groups(self) -> list[GroupProgress]:
        self._faults.before("groups")
        return await super().groups()

    async def inspect(self) -> list[Finding]:
        try:
            self._faults.before("inspect")
        except Outage as error:
            return [Finding("sources.memory: connect", False, str(error))]
        return await super().inspect()
