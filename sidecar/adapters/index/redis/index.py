"""Index that several sidecars share in Valkey or Redis: a server, a master behind Sentinels, or a Cluster."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Collection, Sequence

import structlog

from sidecar.adapters.index.redis.coverage import SharedCoverage
from sidecar.adapters.index.redis.expiry import IndexSweeper
from sidecar.adapters.index.redis.fetcher import MAX_PLACES_PER_SET
from sidecar.adapters.index.redis.former_events import FormerEvents
from sidecar.adapters.index.redis.heartbeat import HeartbeatLoop, MemberHeartbeat, build_empty_message
from sidecar.adapters.index.redis.live_relay import RedisRelay
from sidecar.adapters.index.redis.preflight import inspect
from sidecar.adapters.index.redis.queries import IndexQueries
from sidecar.adapters.index.redis.shards import ShardClients
from sidecar.adapters.index.redis.writer import IndexWriter, MissedEvents
from sidecar.adapters.redis_client.urls import parse
from sidecar.config.schema import TlsConfig
from sidecar.domain.errors import Outage, Refused
from sidecar.domain.model import Event
from sidecar.domain.ports.broker import Finding
from sidecar.domain.ports.index import Coverage
from sidecar.domain.position import Partition

log = structlog.get_logger()

WRITE_WAIT_S = 1.0
"""Time that a query waits for earlier events of this member to be written."""


class RedisIndex(IndexQueries):
    """Events of all sidecars that share a prefix on a server. Implements `ports.Index`."""

    def __init__(
        self,
        url: str,
        *,
        join: Collection[str],
        max_flow: int,
        ttl_ms: int = 86_400_000,
        max_events: int = 1_000_000,
        prefix: str = "tracecar",
        patience: float = WRITE_WAIT_S,
        member: str | None = None,
        tls: TlsConfig | None = None,
        redact: Callable[[Event], Event] | None = None,
    ) -> None:
        """Create the index. `redact` removes from an event the parts that must not leave the process."""
        shards = ShardClients(parse(url), tls, prefix, "tracecar.index")
        writer = IndexWriter(shards, ttl_ms, on_missed=self._report_gap, on_lost=self._report_loss)
        super().__init__(shards, writer, join=join, max_flow=max_flow, patience=patience)
        self._on_loss: Callable[[int | None], None] | None = None
        self._on_gap: Callable[[Partition, int, int], None] | None = None
        self.max_events = max_events
        self.member = secrets.token_hex(8) if member is None else member
        """Name of this sidecar among the members that share the index."""
        self._covered = SharedCoverage()
        self.beating = HeartbeatLoop(
            self.shards,
            self._covered,
            self.writer.set_count,
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
        self._former = FormerEvents(self.shards, self.writer, ttl_ms)
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
        self._on_loss, self._on_gap = on_loss, on_gap
        self._started = True
        beating = self.beating.run(heartbeat or build_empty_message)
        self._tasks = [asyncio.ensure_future(beating), asyncio.ensure_future(self.sweeper.run())]
        for task in self._tasks:
            task.add_done_callback(_log_failure)

    async def stop(self) -> None:
        """Stop the heartbeats and the eviction. Events are still written."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def add(self, events: Sequence[Event]) -> None:
        if (redact := self._redact) is not None:
            events = [redact(event) for event in events]
        self.writer.add(events)

    def _report_loss(self, since: int | None) -> None:
        if self._on_loss is not None:
            self._on_loss(since)

    def _report_gap(self, missed: MissedEvents) -> None:
        if self._on_gap is not None:
            self._on_gap(missed.partition, missed.low, missed.high)

    async def room(self) -> None:
        """Wait until many more events can be added without losing some."""
        await self.writer.room()

    async def close(self) -> None:
        """Write waiting events within some seconds, leave the members, and close the connections."""
        await self.stop()
        await self._former.close()
        await self.writer.close()
        if self._started and self.writer.away is None:
            with contextlib.suppress(Outage, Refused):
                await self.beating.leave()
        await self.shards.close()

    # --- members and state (`sidecar.runtime.cluster_members.MembershipStore`)

    @property
    def heartbeats(self) -> Sequence[MemberHeartbeat]:
        """Latest heartbeats of all members, this one included."""
        return self.beating.members

    @property
    def waiting(self) -> int:
        """Number of events that wait to be written."""
        return self.writer.waiting

    @property
    def not_indexed(self) -> int:
        """Number of events that found no room since the start; they are read again from the broker."""
        return self.writer.not_indexed

    @property
    def trouble(self) -> str | None:
        """Reason why the server accepts no events; None if it does."""
        return self.writer.away

    async def inspect(self) -> list[Finding]:
        """Check the index for `tracecar check`. Changes nothing, and reports problems as findings."""
        return await inspect(self.shards)

    # --- what it covers

    def covering(self, partition: Partition, since_ms: int) -> None:
        """Mark the partition as covered from this append time on; events may still be loading."""
        self._covered.covering(partition, since_ms)

    def filling(self, partition: Partition, under_way: bool) -> None:
        """Note whether the look-back window of this partition is being read."""
        if under_way:
            self._covered.filling.add(partition)
        else:
            self._covered.filling.discard(partition)

    def forget(self, partition: Partition) -> None:
        """Note that the partition belongs to another member now."""
        self._covered.forget(partition)

    def discard(self, partition: Partition, before: int) -> None:
        self._former.discard(partition, before)

    def coverage(self) -> Coverage:
        writer, notes = self.writer, []
        if writer.away is not None:
            notes.append(f"the index's server is unreachable; {writer.waiting} events of this sidecar wait")
        if writer.missing:
            notes.append("events that were read while it was unreachable are not here yet")
        if self._crowded:
            notes.append(
                f"{len(self._crowded)} of the ids queried lately have more than {MAX_PLACES_PER_SET:,} entries: "
                "answers about them are estimates from a sample"
            )
        return self._covered.answer(writer.events, notes)


def _log_failure(task: asyncio.Task[None]) -> None:
    """Log the exception of a task that failed."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a task of the shared index failed", exc_info=error)
