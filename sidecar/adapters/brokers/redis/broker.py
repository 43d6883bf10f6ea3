"""Reads from and writes to Redis Streams: on one Redis or Valkey server, with Sentinel, or on a cluster.

The adapter holds one lease for each stream. The lease is not exclusive: members share a stream, and Redis gives each
entry to one member. No record is dead-lettered twice, because an entry can be committed only once (see `committer`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence

import structlog

from sidecar.adapters.brokers.redis import consumer_group, log_reader
from sidecar.adapters.brokers.redis.committer import RedisCommit
from sidecar.adapters.brokers.redis.consumer_group_offsets import read_group_progress
from sidecar.adapters.brokers.redis.consumer_name import SENTINEL_SUFFIX, ConsumerSlot
from sidecar.adapters.brokers.redis.entry_codec import SYSTEM, EntryCodec, raw
from sidecar.adapters.brokers.redis.exhausted_entries import StuckEntry, dead_letter_and_ack, find_stuck_entries
from sidecar.adapters.brokers.redis.fetcher import SlotReader
from sidecar.adapters.brokers.redis.history_marks import HistoryMarks
from sidecar.adapters.brokers.redis.ledger import RedisLedger
from sidecar.adapters.brokers.redis.preflight import inspect_server
from sidecar.adapters.brokers.redis.publisher import publish_records
from sidecar.adapters.brokers.redis.stream_identity import ensure_identity
from sidecar.adapters.brokers.redis.stream_lease import RedisBatch, StreamLease
from sidecar.adapters.brokers.redis.traits import REDIS_TRAITS
from sidecar.adapters.redis_client.connection_pool import RedisPool
from sidecar.adapters.redis_client.urls import parse
from sidecar.config.schema import RedisConfig
from sidecar.domain.errors import Disconnected, Fenced, Outage, Refused
from sidecar.domain.model import Outgoing, Record
from sidecar.domain.ports.broker import Batch, Finding, Gap, Lease, PartitionStatus, Retention
from sidecar.domain.ports.consumer_groups import GroupProgress
from sidecar.domain.position import Partition, Position
from sidecar.domain.stream_names import StreamNames

log = structlog.get_logger()

MAX_READY_BATCHES = 2
"""Batches that wait for the pipeline."""
DISCOVERY_INTERVAL_S, SCAN_STEP_PAUSE_S = 1.0, 0.01
"""Pauses between two searches for new streams, and between two steps of one."""
CLOSE_TIMEOUT_S = 3.0


class RedisBroker:
    """A member of a consumer group on Redis Streams."""

    system = REDIS_TRAITS.scheme
    traits = REDIS_TRAITS

    def __init__(self, config: RedisConfig, service: str, naming: StreamNames, *, max_records: int = 1000) -> None:
        self._config, self._service, self._naming, self._max_records = config, service, naming, max_records
        self._group = config.group or f"tracecar.{service}"
        self._claim_idle_ms = max(1, round(config.claim_idle * 1000))
        self._target = parse(config.url)
        self._servers = RedisPool(self._target, config.tls, f"tracecar.{service}".replace(" ", "_"))
        self._entries = EntryCodec(config.body_field)
        self._stuck: dict[tuple[str, str], bytes] = {}
        self._ledger = RedisLedger(self._servers, self._entries, naming)
        self._consumer: ConsumerSlot | None = None
        self._leases: dict[str, StreamLease] = {}
        self._readers: dict[int, SlotReader] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready: deque[tuple[StreamLease, int, RedisBatch]] = deque()
        self._wakeup, self._room = asyncio.Event(), asyncio.Event()
        self._failure: BaseException | None = None
        self._deleted: set[str] = set()
        """Streams that were deleted while they were read, and have not appeared again."""
        self._refused: dict[str, str] = {}
        """The reason for each stream that cannot be read."""
        self._begin: str | None = None
        """Entry id behind which a new group begins; streams that appear later are read from their beginning."""

    @property
    def named_streams(self) -> Sequence[str]:
        return [name for name in self._config.streams if not log_reader.is_pattern(name)]

    # --- life

    async def start(self) -> None:
        if self._consumer is not None:
            return
        await self._servers.start()
        self._consumer = ConsumerSlot(self._service, self._group, str(self._target))
        self._failure = None
        try:
            async with self._servers.borrow(None) as connection:
                self._begin = await consumer_group.find_start_id(connection, self._config.start)
            await self._discover()
        except BaseException:
            await self.close()
            raise
        self._begin = "0"
        self._spawn(self._keep_discovering())

    async def close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        leases = list(self._leases.values())
        for lease in leases:
            lease.lease.lost = True
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await self._release_entries(leases, consumer.name)
            consumer.leave()
        self._leases.clear()
        self._readers.clear()
        self._ready.clear()
        self._refused.clear()
        self._fail(Disconnected(f"{self._target}: this broker was closed"))
        await self._servers.close()

    async def _release_entries(self, leases: Sequence[StreamLease], consumer: str) -> None:
        """Release uncommitted entries, so that the next reader gets them at once.

        If the server cannot be reached, another member gets them after `claim_idle`, or we do after a restart.
        """
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                for lease in leases:
                    async with self._servers.borrow(lease.key) as connection:
                        await consumer_group.release_entries(
                            connection, lease, self._group, consumer, self._claim_idle_ms
                        )
        except (TimeoutError, Outage, Refused) as error:
            log.debug("cannot release pending entries", reason=str(error))

    # --- which streams

    async def _keep_discovering(self) -> None:
        while True:
            await asyncio.sleep(DISCOVERY_INTERVAL_S)
            await self._discover()

    async def _discover(self) -> None:
        """Join every configured stream that was not joined yet."""
        for name in dict.fromkeys((*self._config.streams, *self._config.gate)):
            if not log_reader.is_pattern(name):
                await self._join(name)
                continue
            steps = 0
            async for stream in log_reader.names(self._servers, name):
                await self._join(stream)
                steps += 1
                if steps % log_reader.KEYS_PER_SCAN_STEP == 0:
                    await asyncio.sleep(SCAN_STEP_PAUSE_S)

    async def _join(self, stream: str) -> None:
        if stream in self._leases:
            return
        if self._naming.is_dead_letter(stream):
            if not log_reader.is_pattern(stream) and stream in self._config.streams:
                self._refuse(stream, "it is a dead-letter stream by its name")
            return
        key = raw(stream)
        assert self._consumer is not None
        assert self._begin is not None
        try:
            async with self._servers.borrow(key) as connection:
                await consumer_group.create_group(connection, key, self._group, self._begin)
                sentinel = self._consumer.name + SENTINEL_SUFFIX
                await connection.call("XGROUP", "CREATECONSUMER", key, self._group, sentinel)
                identity = await ensure_identity(connection, key)
                # Changes nothing, but shows a missing permission now and not after the first dead letter.
                await connection.call("XACK", key, self._group, "0-0")
                state = await consumer_group.group_state(connection, key, self._group)
                marks = HistoryMarks(key, self._group, self._consumer.name)
                mark = await marks.load(connection)
        except Refused as error:
            self._refuse(stream, str(error))
            return
        if state is None:
            return  # deleted meanwhile: the next search shows whether it is back
        self._refused.pop(stream, None)
        lease = self._leases[stream] = StreamLease(stream, state.committed, state.delivered, identity, marks)
        lease.lease.history_mark = mark
        gap = None
        if stream in self._deleted:
            self._deleted.discard(stream)
            reason = "the stream was deleted and created again, and is read from its beginning"
            since = None if lease.known_since is None else lease.known_since * 1000
            gap = Gap(lease.lease.partition, 0, 0, reason, recreated=True, known_since=since)
        announcement = RedisBatch(lease.lease, (), lease.lease.start, gap)
        await self._deliver(lease, lease.generation, announcement, bypass_limit=True)
        slot = self._servers.slot(key)
        reader = self._readers.get(slot)
        if reader is None:
            reader = self._readers[slot] = SlotReader(
                self._servers,
                self._entries,
                self._group,
                self._consumer.name,
                max_records=self._max_records,
                claim_idle_ms=self._claim_idle_ms,
                deliver=self._deliver,
                abandon=self._abandon,
            )
            reader.streams[key] = lease
            self._spawn(reader.run())
        else:
            reader.streams[key] = lease
            reader.wake.set()

    def _refuse(self, stream: str, reason: str) -> None:
        if self._refused.get(stream) != reason:
            self._refused[stream] = reason
            log.warning("cannot read a stream", stream=stream, reason=reason)

    def _abandon(self, lease: StreamLease, reason: str) -> None:
        """End the lease of a stream that is gone. If a stream of this name appears, it is joined under a new lease."""
        log.warning("stopped reading a stream", stream=lease.stream, reason=reason)
        lease.ended = True
        if lease.deleted:
            self._deleted.add(lease.stream)
        if self._leases.get(lease.stream) is lease:
            del self._leases[lease.stream]
        if not self._has_ready_batches(lease):
            lease.lease.lost = True

    def _has_ready_batches(self, lease: StreamLease) -> bool:
        return any(waiting is lease for waiting, _, _ in self._ready)

    # --- reading

    async def batches(self) -> AsyncIterator[Batch]:
        while True:
            while self._ready:
                lease, generation, batch = self._ready.popleft()
                self._room.set()
                if lease.lease.lost or lease.generation != generation:
                    continue
                if lease.held and batch.records:
                    lease.parked.append((generation, batch))
                    continue
                yield batch
                if lease.ended and not self._has_ready_batches(lease):
                    lease.lease.lost = True
            if self._failure is not None:
                raise self._failure
            self._wakeup.clear()
            await self._wakeup.wait()

    async def _deliver(
        self, lease: StreamLease, generation: int, batch: RedisBatch, *, bypass_limit: bool = False
    ) -> None:
        while len(self._ready) >= MAX_READY_BATCHES and not bypass_limit:
            self._room.clear()
            await self._room.wait()
        self._ready.append((lease, generation, batch))
        self._wakeup.set()

    def hold(self, lease: Lease) -> None:
        stream = self._find(lease)
        if stream is not None:
            stream.held = True

    def release(self, lease: Lease) -> None:
        stream = self._find(lease)
        if stream is not None and stream.held:
            stream.held = False
            parked = ((stream, generation, batch) for generation, batch in reversed(stream.parked))
            self._ready.extendleft(parked)
            stream.parked.clear()
            self._wake_reader(stream)

    async def rewind(self, lease: Lease) -> None:
        stream = self._find(lease)
        if stream is not None:
            stream.rewind()
            self._wake_reader(stream)

    def _wake_reader(self, lease: StreamLease) -> None:
        self._wakeup.set()
        reader = self._readers.get(self._servers.slot(lease.key))
        if reader is not None:
            reader.wake.set()

    def _find(self, lease: Lease) -> StreamLease | None:
        stream = self._leases.get(lease.partition.stream)
        return stream if stream is not None and stream.lease is lease and not lease.lost else None

    # --- writing

    async def commit(self, batches: Sequence[Batch], outgoing: Sequence[Outgoing]) -> None:
        if not batches:
            return
        stream = self._find(batches[0].lease)
        if stream is None or self._consumer is None:
            raise Fenced(
                f"cannot commit {batches[0].lease.partition}: the lease is lost; its entries are delivered again"
            )
        commit = RedisCommit(stream, self._group, self._consumer.name + SENTINEL_SUFFIX)
        await commit.run(self._servers, self._entries, self._naming, batches, outgoing)
        for batch in batches:
            stream.stop_tracking(batch)

    async def publish(self, outgoing: Sequence[Outgoing]) -> list[Position]:
        return await publish_records(self._servers, self._entries, outgoing)

    # --- reading outside the group

    async def read(self, position: Position) -> Record | None:
        return await log_reader.read(self._servers, self._entries, position)

    async def partitions(self, stream: str) -> list[Partition]:
        return [Partition(SYSTEM, stream, 0)] if await log_reader.exists(self._servers, stream) else []

    async def streams(self) -> list[str]:
        return sorted({stream async for stream in log_reader.names(self._servers)})

    async def bounds(self, partition: Partition) -> tuple[int, int]:
        return await log_reader.bounds(self._servers, partition)

    def scan(
        self, partition: Partition, *, since: int | None = None, start: int | None = None, until: int | None = None
    ) -> AsyncIterator[Sequence[Record]]:
        return log_reader.scan(self._servers, self._entries, partition, since, start, until, self._max_records)

    async def status(self) -> list[PartitionStatus]:
        statuses: list[PartitionStatus] = []
        for stream, lease in sorted(self._leases.items()):
            async with self._servers.borrow(lease.key) as connection:
                state = await consumer_group.group_state(connection, lease.key, self._group)
            _, end = await self.bounds(lease.lease.partition)
            if state is None:
                statuses.append(PartitionStatus(Partition(SYSTEM, stream, 0), None, end, None))
                continue
            lag = state.lag + state.pending if state.lag is not None else None
            statuses.append(
                PartitionStatus(
                    lease.lease.partition,
                    state.committed,
                    end,
                    lag,
                    state.pending,
                    incarnation=lease.identity.decode("ascii", "replace"),
                )
            )
        return statuses

    @property
    def ledger(self) -> RedisLedger:
        return self._ledger

    async def retention(self, stream: str) -> Retention:
        """Return no limit: Redis trims streams by length or on command, not by age."""
        return Retention(None, False)

    # --- entries that other groups cannot process (`sidecar.pipeline.pending_entry_reaper.PendingEntryBroker`)

    async def stuck(self, group: str, idle_ms: int) -> list[StuckEntry]:
        return await find_stuck_entries(self._servers, sorted(self._leases), group, idle_ms, self._stuck)

    async def dead_letter_and_ack(self, entry: StuckEntry, letter: Outgoing) -> bool:
        return await dead_letter_and_ack(self._servers, self._entries, self._naming, entry, letter)

    async def warnings(self) -> Sequence[str]:
        return ()

    async def groups(self) -> list[GroupProgress]:
        if self._consumer is None:
            raise Disconnected(f"{self._target}: this broker is not started")
        return await read_group_progress(self._servers, sorted(self._leases), self._group)

    async def inspect(self) -> list[Finding]:
        return await inspect_server(self._config, self._servers, self._naming, self._group)

    # --- tasks

    def _spawn(self, work: object) -> None:
        assert asyncio.iscoroutine(work)
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._wakeup.set()
