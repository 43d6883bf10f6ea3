"""Broker in memory, for tests: keeps the promises of `sidecar.domain.ports.broker.Broker` without a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from fnmatch import fnmatchcase

from sidecar.adapters.brokers.memory.ledger import MemoryLedger
from sidecar.adapters.brokers.memory.log import MemoryGroup, MemoryLog
from sidecar.config.value_types import StartPosition
from sidecar.domain.errors import Disconnected, Fenced
from sidecar.domain.model import Outgoing, Record
from sidecar.domain.ports.broker import Batch, Finding, Gap, Lease, PartitionStatus, Retention
from sidecar.domain.ports.consumer_groups import SIDECAR_GROUPS, GroupPartition, GroupProgress
from sidecar.domain.position import Partition, Position
from sidecar.domain.stream_names import StreamNames


class MemoryBroker:
    """A member of a consumer group on a `MemoryLog`. `streams` are names or glob patterns."""

    def __init__(
        self,
        log: MemoryLog,
        streams: Sequence[str],
        group: str,
        naming: StreamNames,
        *,
        start: StartPosition = StartPosition("latest"),  # noqa: B008  # a frozen value
        max_records: int = 1000,
    ) -> None:
        self.traits = log.traits
        self.system = log.traits.scheme
        self._log, self._patterns, self._group_name, self._naming = log, tuple(streams), group, naming
        self._start, self._max_records = start, max_records
        self._group: MemoryGroup | None = None
        self._leases: dict[Partition, Lease] = {}
        self._next_offset: dict[Partition, int] = {}
        self._unannounced: list[Lease] = []
        """New leases whose empty first batch was not delivered yet."""
        self._held: set[Lease] = set()
        self._wakeup = asyncio.Event()
        self._ledger = MemoryLedger(log, naming)

    @property
    def named_streams(self) -> Sequence[str]:
        return [pattern for pattern in self._patterns if not set("*?[") & set(pattern)]

    # --- life

    async def start(self) -> None:
        if self._group is not None:
            return
        group = self._log.groups.setdefault(self._group_name, MemoryGroup())
        # Partitions that are there now begin where the configuration says; what appears later is read from its start.
        for stream in filter(self.wants, self._log.streams):
            for partition in self._of(stream):
                group.committed.setdefault(partition, self._begin(partition))
        self._group = group
        self._log.join(self._group_name, self)

    async def close(self) -> None:
        if self._group is None:
            return
        self._group = None
        self._log.leave(self._group_name, self)
        for lease in self._leases.values():
            lease.lost = True
        self._leases.clear()
        self._next_offset.clear()
        self._unannounced.clear()
        self._held.clear()
        self._wakeup.set()

    # --- as a member of the group

    def wants(self, stream: str) -> bool:
        return not self._naming.is_dead_letter(stream) and any(fnmatchcase(stream, p) for p in self._patterns)

    def wake(self) -> None:
        self._wakeup.set()

    def set_assignment(self, partitions: list[Partition]) -> None:
        assert self._group is not None
        for partition in [p for p in self._leases if p not in partitions]:
            lease = self._leases.pop(partition)
            lease.lost = True
            self._held.discard(lease)
            del self._next_offset[partition]
        for partition in partitions:
            if partition not in self._leases:
                start = self._group.committed.setdefault(partition, 0)
                lease = self._leases[partition] = Lease(partition, start)
                lease.history_mark = self._group.history_marks.get(partition)
                self._next_offset[partition] = start
                self._unannounced.append(lease)
        self._wakeup.set()

    def _begin(self, partition: Partition) -> int:
        log = self._log.partition(partition)
        assert log is not None
        if self._start.kind in ("latest", "earliest"):
            return log.end if self._start.kind == "latest" else log.first
        since = self._start.value if self._start.kind == "at" else self._log.clock() - self._start.value
        return next((r.position.offset for r in log.records if r.timestamp >= since), log.end)

    # --- reading

    async def batches(self) -> AsyncIterator[Batch]:
        while self._group is not None:
            self._wakeup.clear()
            while self._unannounced:
                lease = self._unannounced.pop(0)
                if not lease.lost:
                    yield Batch(lease, (), lease.start, self._group.gaps.pop(lease.partition, None))
            idle = True
            for lease in list(self._leases.values()):
                if not lease.lost and lease not in self._held and (batch := self._batch(lease)) is not None:
                    idle = False
                    yield batch
            if idle:
                await self._wakeup.wait()
            else:
                await asyncio.sleep(0)
        raise Disconnected("this memory broker was closed")

    def _batch(self, lease: Lease) -> Batch | None:
        partition = lease.partition
        log = self._log.partition(partition)
        assert log is not None
        wanted, gap = self._next_offset[partition], None
        if wanted < log.first:
            gap = Gap(partition, wanted, log.first, f"{log.first - wanted} records were trimmed before they were read")
        records = log.slice(wanted, self._max_records)
        if not records and gap is None:
            return None
        self._next_offset[partition] = records[-1].position.offset + 1 if records else log.first
        return Batch(lease, records, self._next_offset[partition], gap)

    def hold(self, lease: Lease) -> None:
        if not lease.lost:
            self._held.add(lease)

    def release(self, lease: Lease) -> None:
        self._held.discard(lease)
        self._wakeup.set()

    async def rewind(self, lease: Lease) -> None:
        if self._group is not None and self._leases.get(lease.partition) is lease:
            self._next_offset[lease.partition] = self._group.committed[lease.partition]
            self._wakeup.set()

    # --- writing

    async def commit(self, batches: Sequence[Batch], outgoing: Sequence[Outgoing]) -> None:
        if not batches:
            return
        lease = batches[0].lease
        if self._group is None or self._leases.get(lease.partition) is not lease:
            raise Fenced(f"{lease.partition}: another member owns this partition now")
        committed = self._group.committed[lease.partition]
        # Dead letters that an earlier call committed, although its answer was lost, are not written again.
        due = [(i, out) for i, out in enumerate(outgoing) if out.origin is None or out.origin.offset >= committed]
        for index, out in due:
            self._log.check(out, index)
        for _, out in due:
            self._log.create(out.stream, len(self._log.streams[lease.partition.stream]))
        self._group.committed[lease.partition] = max(committed, batches[-1].next_offset)
        if lease.history_mark is not None:
            self._group.history_marks[lease.partition] = lease.history_mark
        for _, out in due:
            self._log.append(out)

    async def publish(self, outgoing: Sequence[Outgoing]) -> list[Position]:
        for index, out in enumerate(outgoing):
            self._log.check(out, index)
        return [self._log.append(out) for out in outgoing]

    # --- looking

    async def read(self, position: Position) -> Record | None:
        log = self._log.partition(position.log)
        if log is None or position.offset < log.first:
            return None
        return next(iter(log.slice(position.offset, 1)), None)

    async def partitions(self, stream: str) -> list[Partition]:
        return self._of(stream)

    async def streams(self) -> list[str]:
        return sorted(self._log.streams)

    async def bounds(self, partition: Partition) -> tuple[int, int]:
        log = self._log.partition(partition)
        return (log.first, log.end) if log is not None else (0, 0)

    async def scan(
        self, partition: Partition, *, since: int | None = None, start: int | None = None, until: int | None = None
    ) -> AsyncIterator[Sequence[Record]]:
        log = self._log.partition(partition)
        if log is None:
            return
        end = log.end if until is None else min(until, log.end)
        at = log.first if start is None else start
        if since is not None:
            at = max(at, next((r.position.offset for r in log.records if r.timestamp >= since), end))
        while at < end:
            records = log.slice(at, min(self._max_records, end - max(at, log.first)))
            if not records:
                return
            yield records
            at = records[-1].position.offset + 1

    async def status(self) -> list[PartitionStatus]:
        group = self._log.groups.get(self._group_name)
        statuses = []
        for stream in sorted(filter(self.wants, self._log.streams)):
            for partition in self._of(stream):
                _, end = await self.bounds(partition)
                committed = group.committed.get(partition) if group is not None else None
                lag = end - committed if committed is not None else None
                incarnation = str(self._log.incarnations.get(stream, 0))
                ours = partition in self._leases
                statuses.append(PartitionStatus(partition, committed, end, lag, ours=ours, incarnation=incarnation))
        return statuses

    @property
    def ledger(self) -> MemoryLedger:
        return self._ledger

    async def retention(self, stream: str) -> Retention:
        return self._log.retention

    async def warnings(self) -> Sequence[str]:
        return ()

    async def groups(self) -> list[GroupProgress]:
        if self._group is None:
            raise Disconnected("this memory broker is not started")
        groups = []
        for name, group in sorted(self._log.groups.items()):
            if name == self._group_name or name.startswith(SIDECAR_GROUPS):
                continue
            partitions = []
            for partition, committed in sorted(group.committed.items()):
                log = self._log.partition(partition)
                if log is not None and self.wants(partition.stream):
                    lag = max(0, log.end - committed)
                    partitions.append(GroupPartition(partition, committed, log.end, lag, read=committed))
            if partitions:
                groups.append(GroupProgress(name, len(group.members), tuple(partitions)))
        return groups

    async def inspect(self) -> list[Finding]:
        return [Finding("sources.memory: connect", True, f"{len(self._log.streams)} streams")]

    def _of(self, stream: str) -> list[Partition]:
        return self._log.partitions(stream)
