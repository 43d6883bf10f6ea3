"""Redis Streams as a broker: what `sidecar.domain.ports.broker.Broker` promises, on a Redis or Valkey server, behind
Sentinels, or on
a Cluster.

There is one lease for each stream. It is not exclusive: members share a stream's entries, each entry goes to one of
them. What keeps a record from being dead-lettered twice is that an entry can be committed once only
(`redis_settling`)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence

import structlog

from sidecar.adapters.brokers.redis import consumer_group as groups
from sidecar.adapters.brokers.redis import log_reader as looking
from sidecar.adapters.brokers.redis.committer import CALL_BYTES, RedisCommit, bulk_limit
from sidecar.adapters.brokers.redis.consumer_group_offsets import progress
from sidecar.adapters.brokers.redis.consumer_name import MARK, ConsumerSlot
from sidecar.adapters.brokers.redis.entry_codec import SYSTEM, EntryCodec, offset, raw
from sidecar.adapters.brokers.redis.exhausted_entries import StuckEntry, dead_letter_and_ack, stuck
from sidecar.adapters.brokers.redis.fetcher import SlotReader
from sidecar.adapters.brokers.redis.ledger import RedisLedger
from sidecar.adapters.brokers.redis.preflight import inspect
from sidecar.adapters.brokers.redis.stream_lease import RedisBatch, StreamLease
from sidecar.adapters.brokers.redis.traits import REDIS_TRAITS
from sidecar.adapters.redis_client.connection_pool import Command, RedisPool
from sidecar.adapters.redis_client.urls import parse
from sidecar.config.schema import RedisConfig
from sidecar.domain.errors import Disconnected, Fenced, Outage, Refused, TooLarge
from sidecar.domain.model import Outgoing, Record
from sidecar.domain.ports.broker import Batch, Finding, Lease, PartitionStatus, Retention
from sidecar.domain.ports.consumer_groups import GroupProgress
from sidecar.domain.position import Partition, Position
from sidecar.domain.stream_names import StreamNames

log = structlog.get_logger()

READY = 2
"""Batches that wait to be taken."""
DISCOVER_SECONDS, SCAN_PAUSE = 1.0, 0.01
"""Between two looks for new streams, and between two steps of one."""
FAREWELL_SECONDS = 3.0
PUBLISHED_A_CALL = 500


class RedisBroker:
    """A member of a consumer group on Redis Streams."""

    system = REDIS_TRAITS.scheme
    traits = REDIS_TRAITS

    def __init__(self, config: RedisConfig, service: str, naming: StreamNames, *, max_records: int = 1000) -> None:
        self._config, self._service, self._naming, self._max_records = config, service, naming, max_records
        self._group = config.group or f"tracecar.{service}"
        self._claim_idle = max(1, round(config.claim_idle * 1000))
        self._target = parse(config.url)
        self._servers = RedisPool(self._target, config.tls, f"tracecar.{service}".replace(" ", "_"))
        self._entries = EntryCodec(config.body_field)
        self._stuck: dict[tuple[str, str], bytes] = {}
        self._ledger = RedisLedger(self._servers, self._entries, naming)
        self._seat: ConsumerSlot | None = None
        self._feeds: dict[str, StreamLease] = {}
        self._readers: dict[int, SlotReader] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready: deque[tuple[StreamLease, int, RedisBatch]] = deque()
        self._news, self._room = asyncio.Event(), asyncio.Event()
        self._failure: BaseException | None = None
        self._refused: dict[str, str] = {}
        """Streams that cannot be read, and why."""
        self._begin: str | None = None
        """Where a group begins that is made now; what appears later is read from its start."""

    @property
    def named_streams(self) -> Sequence[str]:
        return [name for name in self._config.streams if not looking.is_pattern(name)]

    # --- life

    async def start(self) -> None:
        if self._seat is not None:
            return
        await self._servers.start()
        self._seat = ConsumerSlot(self._service, self._group, str(self._target))
        self._failure = None
        try:
            async with self._servers.borrow(None) as link:
                self._begin = await groups.start_id(link, self._config.start)
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
        feeds = list(self._feeds.values())
        for feed in feeds:
            feed.lease.lost = True
        seat, self._seat = self._seat, None
        if seat is not None:
            await self._give_back(feeds, seat.name)
            seat.leave()
        self._feeds.clear()
        self._readers.clear()
        self._ready.clear()
        self._refused.clear()
        self._fail(Disconnected(f"{self._target}: this broker was closed"))
        await self._servers.close()

    async def _give_back(self, feeds: Sequence[StreamLease], consumer: str) -> None:
        """So that what is not committed comes at once to whoever reads next. Where the server cannot be reached, it
        comes after `claim_idle`, or to us when we are back."""
        try:
            async with asyncio.timeout(FAREWELL_SECONDS):
                for feed in feeds:
                    async with self._servers.borrow(feed.key) as link:
                        await groups.give_back(link, feed, self._group, consumer, self._claim_idle)
        except (TimeoutError, Outage, Refused) as error:
            log.debug("pending entries could not be given back", reason=str(error))

    # --- which streams

    async def _keep_discovering(self) -> None:
        while True:
            await asyncio.sleep(DISCOVER_SECONDS)
            await self._discover()

    async def _discover(self) -> None:
        """Join every stream that the configuration means and that was not joined yet."""
        for name in dict.fromkeys((*self._config.streams, *self._config.gate)):
            if not looking.is_pattern(name):
                await self._join(name)
                continue
            steps = 0
            async for stream in looking.names(self._servers, name):
                await self._join(stream)
                steps += 1
                if steps % looking.SCAN_COUNT == 0:
                    await asyncio.sleep(SCAN_PAUSE)

    async def _join(self, stream: str) -> None:
        if stream in self._feeds:
            return
        if self._naming.is_dead_letter(stream):
            if not looking.is_pattern(stream) and stream in self._config.streams:
                self._refuse(stream, "its name is a dead-letter stream's")
            return
        key = raw(stream)
        assert self._seat is not None
        assert self._begin is not None
        try:
            async with self._servers.borrow(key) as link:
                await groups.create(link, key, self._group, self._begin)
                await link.call("XGROUP", "CREATECONSUMER", key, self._group, self._seat.name + MARK)
                # Changes nothing; shows now, rather than after the first letter is written, that it is not allowed.
                await link.call("XACK", key, self._group, "0-0")
                state = await groups.state(link, key, self._group)
        except Refused as error:
            self._refuse(stream, str(error))
            return
        if state is None:
            return  # gone again: the next look finds it, or not
        self._refused.pop(stream, None)
        feed = self._feeds[stream] = StreamLease(stream, state.committed, state.delivered)
        await self._deliver(feed, feed.epoch, RedisBatch(feed.lease, (), feed.lease.start), crowd=True)
        slot = self._servers.slot(key)
        reader = self._readers.get(slot)
        if reader is None:
            reader = self._readers[slot] = SlotReader(
                self._servers,
                self._entries,
                self._group,
                self._seat.name,
                max_records=self._max_records,
                claim_idle=self._claim_idle,
                deliver=self._deliver,
                abandon=self._abandon,
            )
            reader.feeds[key] = feed
            self._spawn(reader.run())
        else:
            reader.feeds[key] = feed
            reader.wake.set()

    def _refuse(self, stream: str, reason: str) -> None:
        if self._refused.get(stream) != reason:
            self._refused[stream] = reason
            log.warning("a stream is not read", stream=stream, reason=reason)

    def _abandon(self, feed: StreamLease, reason: str) -> None:
        """A stream is no stream any more. Should it come back, it is joined again."""
        log.warning("a stream is not read any more", stream=feed.stream, reason=reason)
        feed.ended = True
        if self._feeds.get(feed.stream) is feed:
            del self._feeds[feed.stream]
        if not any(waiting is feed for waiting, _, _ in self._ready):
            feed.lease.lost = True

    # --- reading

    async def batches(self) -> AsyncIterator[Batch]:
        while True:
            while self._ready:
                feed, epoch, batch = self._ready.popleft()
                self._room.set()
                if feed.lease.lost or feed.epoch != epoch:
                    continue
                if feed.held and batch.records:
                    feed.parked.append((epoch, batch))
                    continue
                yield batch
                if feed.ended and not any(waiting is feed for waiting, _, _ in self._ready):
                    feed.lease.lost = True
            if self._failure is not None:
                raise self._failure
            self._news.clear()
            await self._news.wait()

    async def _deliver(self, feed: StreamLease, epoch: int, batch: RedisBatch, *, crowd: bool = False) -> None:
        while len(self._ready) >= READY and not crowd:
            self._room.clear()
            await self._room.wait()
        self._ready.append((feed, epoch, batch))
        self._news.set()

    def hold(self, lease: Lease) -> None:
        feed = self._feed(lease)
        if feed is not None:
            feed.held = True

    def release(self, lease: Lease) -> None:
        feed = self._feed(lease)
        if feed is not None and feed.held:
            feed.held = False
            self._ready.extendleft((feed, epoch, batch) for epoch, batch in reversed(feed.parked))
            feed.parked.clear()
            self._go_on(feed)

    async def rewind(self, lease: Lease) -> None:
        feed = self._feed(lease)
        if feed is not None:
            feed.rewind()
            self._go_on(feed)

    def _go_on(self, feed: StreamLease) -> None:
        self._news.set()
        reader = self._readers.get(self._servers.slot(feed.key))
        if reader is not None:
            reader.wake.set()

    def _feed(self, lease: Lease) -> StreamLease | None:
        feed = self._feeds.get(lease.partition.stream)
        return feed if feed is not None and feed.lease is lease and not lease.lost else None

    # --- writing

    async def commit(self, batches: Sequence[Batch], outgoing: Sequence[Outgoing]) -> None:
        if not batches:
            return
        feed = self._feed(batches[0].lease)
        if feed is None or self._seat is None:
            raise Fenced(f"{batches[0].lease.partition}: this lease is over; what was not committed comes again")
        committing = RedisCommit(feed.stream, feed.key, self._group, self._seat.name + MARK)
        await committing.run(self._servers, self._entries, self._naming, batches, outgoing)
        for batch in batches:
            feed.committed(batch)

    async def publish(self, outgoing: Sequence[Outgoing]) -> list[Position]:
        """Each gets an id of now: a stream takes no id older than its newest. After an error some may be there."""
        found: list[Position] = []
        for run in self._runs(outgoing):
            for index, (_, fields) in enumerate(run, start=len(found)):
                await self._check_size(outgoing[index].stream, fields, index)
            async with self._servers.borrow(run[0][0]) as link:
                commands: list[Command] = [("XADD", key, "*", *fields) for key, fields in run]
                for reply in await link.calls(commands):
                    if isinstance(reply, Exception):
                        raise reply
                    found.append(Position(SYSTEM, outgoing[len(found)].stream, 0, offset(reply)))
        return found

    def _runs(self, outgoing: Sequence[Outgoing]) -> list[list[tuple[bytes, list[bytes]]]]:
        """In order, together what one call can carry to one slot."""
        runs: list[list[tuple[bytes, list[bytes]]]] = []
        slot, size = -1, 0
        for out in outgoing:
            key, fields = raw(out.stream), self._entries.fields(out)
            mine, bytes_ = self._servers.slot(key), sum(map(len, fields))
            if mine != slot or size + bytes_ > CALL_BYTES or len(runs[-1]) >= PUBLISHED_A_CALL:
                runs.append([])
                slot, size = mine, 0
            runs[-1].append((key, fields))
            size += bytes_
        return runs

    async def _check_size(self, stream: str, fields: Sequence[bytes], index: int) -> None:
        largest = max(map(len, fields))
        if largest > 1 << 20 and largest > (limit := await bulk_limit(self._servers, raw(stream))):
            raise TooLarge(f"{stream}: a field of {largest} bytes; the server takes {limit}", index)

    # --- looking

    async def read(self, position: Position) -> Record | None:
        return await looking.read(self._servers, self._entries, position)

    async def partitions(self, stream: str) -> list[Partition]:
        return [Partition(SYSTEM, stream, 0)] if await looking.exists(self._servers, stream) else []

    async def streams(self) -> list[str]:
        return sorted({stream async for stream in looking.names(self._servers)})

    async def bounds(self, partition: Partition) -> tuple[int, int]:
        return await looking.bounds(self._servers, partition)

    def scan(
        self, partition: Partition, *, since: int | None = None, start: int | None = None, until: int | None = None
    ) -> AsyncIterator[Sequence[Record]]:
        return looking.scan(self._servers, self._entries, partition, since, start, until, self._max_records)

    async def status(self) -> list[PartitionStatus]:
        found: list[PartitionStatus] = []
        for stream, feed in sorted(self._feeds.items()):
            async with self._servers.borrow(feed.key) as link:
                state = await groups.state(link, feed.key, self._group)
            _, end = await self.bounds(feed.lease.partition)
            if state is None:
                found.append(PartitionStatus(Partition(SYSTEM, stream, 0), None, end, None))
                continue
            lag = state.lag + state.pending if state.lag is not None else None
            found.append(PartitionStatus(feed.lease.partition, state.committed, end, lag, state.pending))
        return found

    @property
    def ledger(self) -> RedisLedger:
        return self._ledger

    async def retention(self, stream: str) -> Retention:
        """Streams are trimmed by length or by hand, not by age; ids are the server's times."""
        return Retention(None, False)

    # --- entries that other groups cannot process (`sidecar.pipeline.pending_entry_reaper.PendingEntryBroker`)

    async def stuck(self, group: str, idle_ms: int) -> list[StuckEntry]:
        return await stuck(self._servers, sorted(self._feeds), group, idle_ms, self._stuck)

    async def dead_letter_and_ack(self, entry: StuckEntry, letter: Outgoing) -> bool:
        return await dead_letter_and_ack(self._servers, self._entries, self._naming, entry, letter)

    async def groups(self) -> list[GroupProgress]:
        if self._seat is None:
            raise Disconnected(f"{self._target}: this broker is not started")
        return await progress(self._servers, sorted(self._feeds), self._group)

    async def inspect(self) -> list[Finding]:
        return await inspect(self._config, self._servers, self._naming, self._group)

    # --- tasks

    def _spawn(self, work: object) -> None:
        assert asyncio.iscoroutine(work)
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._news.set()
