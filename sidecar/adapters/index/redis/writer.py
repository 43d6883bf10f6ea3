"""Writer to the shared index: works in the background, from a bounded queue, with several batches in one round trip.

Events that find no room are counted as not indexed and remembered, so that they can be read from the broker again.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

import structlog
from msgspec import Struct

from sidecar.adapters.index.redis.shards import ShardClients
from sidecar.adapters.index.redis.write_batch import MAX_BATCH_EVENTS, IndexWriteBatch, WriteBatchBuilder
from sidecar.adapters.redis_client.errors import RedisOutOfMemory
from sidecar.domain.errors import Outage, Refused
from sidecar.domain.model import Event
from sidecar.domain.position import Partition

log = structlog.get_logger()

MAX_QUEUED_EVENTS = 40_000
"""Events that may wait for the server, some 1,000 bytes each."""
BATCHES_PER_ROUND_TRIP_COUNT = 4
"""Batches that are sent together."""
WRITE_TIMEOUT_S = 5.0
"""Time limit of one round trip."""
RETRY_MAX_S = 2.0
UNSAFE_WINDOW_S = 60.0
"""Time before an outage whose confirmed writes may be lost: they may not be on disk, or not at the replica."""
_DRAIN_TIMEOUT_S = 5.0


class MissedEvents(Struct, frozen=True):
    """Range of events that may be missing in the index although they were read."""

    partition: Partition
    low: int
    """First offset."""
    high: int
    """Last offset."""


class IndexWriter:
    """Queue of one sidecar, with the task that empties it."""

    def __init__(
        self,
        shards: ShardClients,
        ttl_ms: int,
        *,
        on_missed: Callable[[MissedEvents], None] = lambda missed: None,
        on_lost: Callable[[int | None], None] = lambda since: None,
    ) -> None:
        """Create a writer. It starts with the first event.

        Args:
            shards: The servers of the index.
            ttl_ms: Time to live of a flow.
            on_missed: Called with events to read again, once the server is back.
            on_lost: Called with the append time (milliseconds; None: all) from which on the server may have lost
                events.
        """
        self._shards, self._ttl_ms = shards, 2 * ttl_ms
        self.packer = WriteBatchBuilder(shards.keys.shards, ttl_ms // 2)
        self._queue: deque[IndexWriteBatch] = deque()
        self._open = IndexWriteBatch(shards.keys.shards)
        self._kept: dict[int, bytes] = {}
        self._counts: dict[int, int] = {}
        self._missed: dict[Partition, MissedEvents] = {}
        self._added = self._written = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self.not_indexed = 0
        """Events that found no room since the start."""
        self.away: str | None = None
        """Reason why the server accepts no events; None if it does."""
        self.full = False
        """True while the server accepts no events because its memory is full."""
        self.on_missed, self.on_lost = on_missed, on_lost
        self._away_since = 0.0
        self._unsafe = False
        """The server was unreachable, and did not merely refuse."""

    @property
    def events(self) -> int:
        """Number of events in the index, as of the last write."""
        return max(0, sum(self._counts.values()))

    @property
    def waiting(self) -> int:
        return self._added - self._written

    @property
    def missing(self) -> bool:
        """True if some events found no room and are not read again yet."""
        return bool(self._missed)

    def set_count(self, shard: int, count: int) -> None:
        self._counts[shard] = count

    def words(self) -> dict[int, bytes]:
        """Return the random id of each shard that is known."""
        return dict(self._kept)

    def compare(self, before: dict[int, bytes], after: Sequence[bytes | None]) -> None:
        """Compare the random ids known before a heartbeat with those of the shards.

        A member that writes nothing has to detect an emptied server too.
        """
        for shard, word in enumerate(after):
            known = before.get(shard)
            if known is not None and known == self._kept.get(shard) != word:
                # Everything is written again, so the ids of the other shards say nothing more.
                self._kept.clear()
                self._on_emptied()
                return

    def _on_emptied(self) -> None:
        log.warning("the shared index was emptied; its window is read again")
        self.on_lost(None)

    def add(self, events: Sequence[Event]) -> None:
        begin, count = 0, len(events)
        while begin < count:
            if self._added - self._written >= MAX_QUEUED_EVENTS:
                self._miss(events[begin:])
                break
            begin = self.packer.take(self._batch(), events, begin)
        self._added += begin
        self._awake()

    async def wait_until_written(self, seconds: float) -> None:
        """Wait until all events added before are written, at most `seconds`."""
        if self.away is None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._until(self._added), seconds)

    async def wait_until_all_written(self) -> None:
        """Wait until all events added before are written, however long the server is away."""
        await self._until(self._added)

    async def room(self) -> None:
        """Wait until the queue is half empty."""
        await self._until(self._added - MAX_QUEUED_EVENTS // 2)

    async def _until(self, written: int) -> None:
        if written > self._written:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((written, done))
            await done

    async def close(self) -> None:
        """Write waiting events, within some seconds."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait((self._task,), timeout=_DRAIN_TIMEOUT_S if self.away is None else 0.0)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for _, done in self._waiting:
            done.cancel()

    def _batch(self) -> IndexWriteBatch:
        if self._open.count >= MAX_BATCH_EVENTS:
            self._queue.append(self._open)
            self._open = IndexWriteBatch(self._shards.keys.shards)
        return self._open

    def _awake(self) -> None:
        self._wake.set()
        if self._task is None and not self._closing:
            self._task = asyncio.get_running_loop().create_task(self._run())
            self._task.add_done_callback(self._on_task_end)

    def _on_task_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("writing to the shared index failed", exc_info=error)
            self.away = repr(error)
            self._task = None  # the next event tries again

    async def _run(self) -> None:
        wait = 0.05
        while True:
            if not self._queue and not self._open.count:
                if self._closing:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            if len(self._queue) < BATCHES_PER_ROUND_TRIP_COUNT and self._open.count:
                self._queue.append(self._open)
                self._open = IndexWriteBatch(self._shards.keys.shards)
            # Requests take the server's memory too.
            batches = list(islice(self._queue, 1 if self.full else BATCHES_PER_ROUND_TRIP_COUNT))
            try:
                await self._write(batches)
            except (Outage, Refused) as error:
                if self.away is None:
                    log.warning("the shared index accepts no events", reason=str(error), waiting=self.waiting)
                    self._away_since = time.time()
                self.away = str(error)
                self.full = isinstance(error, RedisOutOfMemory)
                self._unsafe |= isinstance(error, Outage) and not self.full
                await asyncio.sleep(wait)
                wait = min(2 * wait, RETRY_MAX_S)
                continue
            for batch in batches:
                self._queue.popleft()
                self._written += batch.count
            wait = 0.05
            self._went_well()

    async def _write(self, batches: Sequence[IndexWriteBatch]) -> None:
        # A new random id every time: a server that keeps its old one was not emptied.
        word = secrets.token_bytes(8)
        commands = [command for batch in batches for command in batch.commands(self._shards.keys, self._ttl_ms, word)]
        replies = await self._shards.ask(commands, WRITE_TIMEOUT_S)
        emptied = False
        for (shard, _), reply in zip(commands, replies, strict=True):
            if isinstance(reply, list):
                word, count = reply
                emptied |= self._kept.setdefault(shard, word) != word
                self._kept[shard] = word
                self._counts[shard] = count
        if emptied:
            self._on_emptied()

    def _went_well(self) -> None:
        self.full = False
        if self.away is not None:
            log.info("the shared index accepts events again", waiting=self.waiting)
            self.away = None
            if self._unsafe:
                # A server that went down or was replaced may have lost its last writes.
                self._unsafe = False
                self.on_lost(int((self._away_since - UNSAFE_WINDOW_S) * 1000))
        if self._missed and self.waiting < MAX_QUEUED_EVENTS // 2:
            missed, self._missed = self._missed, {}
            for stretch in missed.values():
                self.on_missed(stretch)
        waiting, self._waiting = self._waiting, []
        for written, done in waiting:
            if done.done():
                continue
            if written <= self._written:
                done.set_result(None)
            else:
                self._waiting.append((written, done))

    def _miss(self, events: Sequence[Event]) -> None:
        self.not_indexed += len(events)
        for event in events:
            partition, offset = event.position.log, event.position.offset
            known = self._missed.get(partition)
            if known is None:
                self._missed[partition] = MissedEvents(partition, offset, offset)
            elif not known.low <= offset <= known.high:
                self._missed[partition] = MissedEvents(partition, min(known.low, offset), max(known.high, offset))
