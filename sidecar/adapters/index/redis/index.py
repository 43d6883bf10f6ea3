"""The index that several sidecars share, in Valkey or Redis: a server, a master behind Sentinels, or a Cluster."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Collection, Sequence

import structlog

from sidecar.adapters.index.redis.coverage import SharedCoverage
from sidecar.adapters.index.redis.expiry import IndexSweeper
from sidecar.adapters.index.redis.fetcher import MOST_PLACES
from sidecar.adapters.index.redis.heartbeat import HeartbeatLoop, MemberHeartbeat
from sidecar.adapters.index.redis.live_relay import RedisRelay
from sidecar.adapters.index.redis.preflight import inspect
from sidecar.adapters.index.redis.queries import IndexQueries
from sidecar.adapters.index.redis.shards import ShardClients
from sidecar.adapters.index.redis.writer import IndexWriter
from sidecar.adapters.redis_client.urls import parse
from sidecar.config.schema import TlsConfig
from sidecar.domain.errors import Outage, Refused
from sidecar.domain.model import Event
from sidecar.domain.ports.broker import Finding
from sidecar.domain.ports.index import Coverage
from sidecar.domain.position import Partition

log = structlog.get_logger()

PATIENCE = 1.0
"""Seconds that a question waits for what was added before it."""


class RedisIndex(IndexQueries):
    """Positions and metadata of events, those of all sidecars that write to the same place. Keeps `ports.Index`."""

    def __init__(
        self,
        url: str,
        *,
        join: Collection[str],
        max_flow: int,
        ttl_ms: int = 86_400_000,
        max_events: int = 1_000_000,
        prefix: str = "tracecar",
        patience: float = PATIENCE,
        member: str | None = None,
        tls: TlsConfig | None = None,
        redact: Callable[[Event], Event] | None = None,
    ) -> None:
        """`redact` removes from an event what must not leave the process."""
        shards = ShardClients(parse(url), tls, prefix, "tracecar.index")
        super().__init__(shards, IndexWriter(shards, ttl_ms), join=join, max_flow=max_flow, patience=patience)
        self.max_events = max_events
        self.member = secrets.token_hex(8) if member is None else member
        """By what this sidecar is known among those that share the index."""
        self._covered = SharedCoverage()
        self.beating = HeartbeatLoop(
            self.shards,
            self._covered,
            self.writer.counted,
            member=self.member,
            ttl_ms=ttl_ms,
            words=self.writer,
        )
        self.sweeper = IndexSweeper(
            self.shards,
            self.writer.packer,
            self._logs,
            join=self._join,
            max_flow=max_flow,
            ttl_ms=ttl_ms,
            max_events=max_events,
            member=self.member,
            full=lambda: self.writer.full,
        )
        self.relay = RedisRelay(self.shards, self.member)
        self._redact = redact
        self._tasks: list[asyncio.Task[None]] = []
        self._started = False

    def start(
        self,
        *,
        heartbeat: Callable[[], Awaitable[bytes]] | None = None,
        on_loss: Callable[[int | None], None] | None = None,
        on_gap: Callable[[Partition, int, int], None] | None = None,
    ) -> None:
        """Become a member: send heartbeats, and evict old flows in turn with the other members.

        Args:
            heartbeat: Returns the content of the next heartbeat.
            on_loss: Called with the append time (milliseconds; None: any) from which the server may have lost events.
            on_gap: Called with the first and the last offset of a partition's events that found no room.
        """
        if heartbeat is not None:
            self.tell(heartbeat)
        if on_loss is not None and on_gap is not None:
            self.losing(on_loss, on_gap)
        self._started = True
        self._tasks = [asyncio.ensure_future(self.beating.run()), asyncio.ensure_future(self.sweeper.run())]
        for task in self._tasks:
            task.add_done_callback(_told)

    async def stop(self) -> None:
        """Tell nothing more, and leave the old flows to others. What is added is still written."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def add(self, events: Sequence[Event]) -> None:
        if (redact := self._redact) is not None:
            events = [redact(event) for event in events]
        self.writer.add(events)

    async def room(self) -> None:
        """Returns once many more events can be added without being missed."""
        await self.writer.room()

    async def close(self) -> None:
        """Write what waits, within some seconds, leave, and let go of the server."""
        await self.stop()
        await self.writer.close()
        if self._started and self.writer.away is None:
            with contextlib.suppress(Outage, Refused):
                await self.beating.leave()
        await self.shards.close()

    # --- what there is to tell of it, and of those that share it (`sidecar.runtime.cluster_members.MembershipStore`)

    @property
    def beats(self) -> Sequence[MemberHeartbeat]:
        """What all members said last, this one too."""
        return self.beating.members

    def tell(self, says: Callable[[], Awaitable[bytes]]) -> None:
        """From now on tell the others this of ourselves."""
        self.beating.says = says

    @property
    def waiting(self) -> int:
        """Events that wait to be written."""
        return self.writer.waiting

    @property
    def not_indexed(self) -> int:
        """Events that found no room since the start; they are read again from the broker."""
        return self.writer.not_indexed

    @property
    def trouble(self) -> str | None:
        """Why the server takes nothing, where it does not."""
        return self.writer.away

    async def inspect(self) -> list[Finding]:
        """What `tracecar check` says of it. Changes nothing, and never raises for what it is there to find."""
        return await inspect(self.shards)

    def losing(self, lost: Callable[[int | None], None], missed: Callable[[Partition, int, int], None]) -> None:
        """Who is to be told from which append time on (milliseconds; None: all) the server may have lost what it held;
        and of partitions and offsets, from the first to the last, that found no room."""
        self.writer.on_lost = lost
        self.writer.on_missed = lambda one: missed(one.partition, one.low, one.high)

    # --- what it covers

    def covering(self, partition: Partition, since_ms: int) -> None:
        """From this append time on, all of the partition is held, or about to be."""
        self._covered.covering(partition, since_ms)

    def filling(self, partition: Partition, under_way: bool) -> None:
        """The look-back window of this partition is being read, or no longer."""
        if under_way:
            self._covered.filling.add(partition)
        else:
            self._covered.filling.discard(partition)

    def forget(self, partition: Partition) -> None:
        """The partition is another member's now."""
        self._covered.forget(partition)

    def discard(self, partition: Partition) -> None:
        """Do nothing.

        Events of the stream that was created again replace those at their positions; the others expire.
        """

    def coverage(self) -> Coverage:
        writer, notes = self.writer, []
        if writer.away is not None:
            notes.append(f"the index's server is away, {writer.waiting} events of this sidecar wait for it")
        if writer.missing:
            notes.append("events that were read while it was away are not here yet")
        if self._crowded:
            notes.append(
                f"{len(self._crowded)} of the ids that were asked for lately have more than {MOST_PLACES:,} entries: "
                "what is said of them is an estimate, made from so many of them"
            )
        return self._covered.answer(writer.events, notes)


def _told(task: asyncio.Task[None]) -> None:
    """Let nobody be puzzled by a task that ended by a mistake of ours."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a task of the shared index ended by a mistake of ours", exc_info=error)
