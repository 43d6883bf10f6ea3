"""Reader of the streams of one hash slot (outside a Cluster: of all streams) over one connection.

Each step first checks what happened since the last read (`CHECK_STREAMS`), then reads: our own pending entries of a
stream that still has some to deliver, new entries of all other streams that are not held. Both commands are sent
together, so that nothing happens between them. If the last read found nothing, a blocking XREAD is sent before them.
XREADGROUP itself never blocks: an entry that is trimmed while it blocks looks like one that never existed.

- A crash after a read: the entries are pending under our consumer name and are delivered first when we read again. If
  we never do, another member claims them after our consumer was idle for `claim_idle`.
- Two members read: the server gives each entry to one of them.
- The reply is late or lost: the connection is closed, and the entries are pending as above. Where reading continues
  without a restart (a moved slot), they are found by comparing our pending entries with the tracked batches, once every
  RECONCILE_INTERVAL_S.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog

from sidecar.adapters.brokers.redis import consumer_group
from sidecar.adapters.brokers.redis.consumer_name import SENTINEL_SUFFIX
from sidecar.adapters.brokers.redis.entry_codec import EntryCodec, RawEntry, offset
from sidecar.adapters.brokers.redis.lua_scripts import CHECK_STREAMS
from sidecar.adapters.brokers.redis.stream_identity import find_identity, known_since
from sidecar.adapters.brokers.redis.stream_lease import RedisBatch, StreamLease
from sidecar.adapters.redis_client.connection_pool import Argument, Command, RedisConnection, RedisPool
from sidecar.adapters.redis_client.errors import ClusterRedirect, RedisReplyError
from sidecar.domain.ports.broker import Gap

log = structlog.get_logger()

MAX_BLOCK_MS, MAX_BLOCK_WHILE_HELD_MS = 250, 20
"""Longest wait for new entries; shorter while a stream is held that may be released meanwhile."""
RESTORE_GRACE_S = 1.0
"""Time for the other members to move a restored group forward. It is less if the pause could look like a crash."""
RECONCILE_INTERVAL_S = 5.0
"""Pause between two comparisons of our pending entries with the tracked batches."""
REPLY_MAX_BYTES = 4_000_000
"""Approximate size of one reply."""
FIRST_READ_ENTRIES = 100
MAX_REDIRECTS = 5
_HIGHEST_ID = b"18446744073709551615-18446744073709551614"
"""Reading own pending entries behind this id returns nothing, but shows the server that we live.

The id after it is the largest there is, and it is how the server itself stores `>`: XREADGROUP would hand out an entry.
"""
_STREAM_ERRORS = ("NOGROUP", "WRONGTYPE", "UNBLOCKED", "ERR")
"""Error codes of a read that concern one stream; `CHECK_STREAMS` says which one and what happened."""


class SlotReader:
    """Reads streams that share a hash slot."""

    def __init__(
        self,
        servers: RedisPool,
        entries: EntryCodec,
        group: str,
        consumer: str,
        *,
        max_records: int,
        claim_idle_ms: int,
        deliver: Callable[[StreamLease, int, RedisBatch], Awaitable[None]],
        abandon: Callable[[StreamLease, str], None],
    ) -> None:
        """Prepare to read.

        `deliver` takes a batch with its generation, and waits for room; `abandon` takes a stream that ended.
        """
        self._servers, self._entries = servers, entries
        self._member, self._sentinel = (group, consumer), (group, consumer + SENTINEL_SUFFIX)
        self._max_records, self._claim_idle_ms = max_records, claim_idle_ms
        self._deliver, self._abandon = deliver, abandon
        self.streams: dict[bytes, StreamLease] = {}
        self._count = min(FIRST_READ_ENTRIES, max_records)
        self._read_up_to: dict[bytes, bytes] = {}
        """Last entry id that the group was given of each stream, if the last read found nothing behind it."""
        self._block_ms = max(1, min(MAX_BLOCK_MS, claim_idle_ms // 4))
        self.wake = asyncio.Event()
        """Set when a stream was added, released or rewound."""

    async def run(self) -> None:
        """Read until canceled. Raises Outage or Refused."""
        redirects = 0
        while True:
            connection = self._servers.connect(next(iter(self.streams), None))
            try:
                while True:
                    await self._step(connection)
                    redirects = 0
            except ClusterRedirect:
                # The slot moved to another node. What the discarded reply held is found by the next reconciliation.
                redirects += 1
                if redirects > MAX_REDIRECTS:
                    raise
                for lease in self.streams.values():
                    lease.next_reconciliation_at = 0.0
                await self._servers.rediscover()
                await asyncio.sleep(0.1 * redirects)
            finally:
                await connection.close()

    async def _step(self, connection: RedisConnection) -> None:
        self.wake.clear()
        leases = list(self.streams.values())
        await self._maintain(connection, leases)
        open_leases = [lease for lease in leases if not lease.held]
        for lease in open_leases:
            if lease.pending_cursor is not None and lease.key in self.streams:
                await self._read_pending(connection, list(self.streams.values()), lease)
        fresh = [lease for lease in self.streams.values() if lease.pending_cursor is None and not lease.held]
        if fresh:
            await self._read_new(connection, list(self.streams.values()), fresh)
        elif not open_leases:
            if leases:
                await self._handle_statuses(connection, leases, await self._check(connection, leases))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._block_ms / 1000):
                    await self.wake.wait()

    # --- reading

    def _check_command(self, leases: Sequence[StreamLease]) -> Command:
        arguments: list[Argument] = [*self._sentinel, *(lease.identity for lease in leases)]
        return CHECK_STREAMS.command([lease.key for lease in leases], arguments)

    async def _check(self, connection: RedisConnection, leases: Sequence[StreamLease]) -> Any:
        arguments: list[Argument] = [*self._sentinel, *(lease.identity for lease in leases)]
        return await CHECK_STREAMS.call(connection, [lease.key for lease in leases], arguments)

    async def _read(
        self,
        connection: RedisConnection,
        leases: list[StreamLease],
        wanted: dict[bytes, bytes],
        count: int,
        *first: Command,
    ) -> dict[bytes, list[RawEntry]] | None:
        """Read these streams behind these ids. Returns None if one of them was in trouble, which is then handled."""
        read: Command = ("XREADGROUP", "GROUP", *self._member, "COUNT", count, "STREAMS", *wanted, *wanted.values())
        *_, statuses, reply = await connection.calls([*first, self._check_command(leases), read])
        if isinstance(statuses, RedisReplyError) and statuses.code == "NOSCRIPT":
            # Checked after the read, entries that were trimmed before it no longer show; all else does.
            statuses = await self._check(connection, leases)
        if isinstance(statuses, Exception):
            raise statuses
        await self._handle_statuses(connection, leases, statuses)
        if isinstance(reply, RedisReplyError) and reply.code in _STREAM_ERRORS:
            # One stream in trouble fails the read of all. It was handled just now, or will be in the next step.
            return None
        if isinstance(reply, Exception):
            raise reply
        self._read_up_to = (
            {}
            if reply
            else {lease.key: status[1] for lease, status in zip(leases, statuses, strict=True) if status[0] == b"OK"}
        )
        return dict(reply or ())

    async def _read_new(
        self, connection: RedisConnection, leases: list[StreamLease], open_leases: list[StreamLease]
    ) -> None:
        count = max(1, min(self._count, self._max_records, 8 * self._max_records // len(open_leases)))
        read = {lease.key: (lease, lease.generation) for lease in open_leases}
        first: list[Command] = []
        if self._read_up_to.keys() >= read.keys():
            block_ms = self._block_ms if len(open_leases) == len(leases) else MAX_BLOCK_WHILE_HELD_MS
            behind = [self._read_up_to[key] for key in read]
            first.append(("XREAD", "COUNT", 1, "BLOCK", block_ms, "STREAMS", *read, *behind))
        reply = await self._read(connection, leases, dict.fromkeys(read, b">"), count, *first)
        for key, entries in (reply or {}).items():
            lease, generation = read[key]
            if self.streams.get(key) is lease:
                await self._take(lease, generation, entries, contiguous=True)
        if reply:
            self._adapt_count(count, list(reply.values()))

    async def _read_pending(self, connection: RedisConnection, leases: list[StreamLease], lease: StreamLease) -> None:
        """Read a page of entries that were given to our name and never committed: before a restart, or a rewind."""
        generation, cursor = lease.generation, lease.pending_cursor
        assert cursor is not None
        reply = await self._read(connection, leases, {lease.key: cursor}, self._count)
        if reply is None or lease.generation != generation or self.streams.get(lease.key) is not lease:
            return
        entries = reply.get(lease.key, [])
        if not entries:
            lease.pending_cursor = None
            return
        lease.pending_cursor = entries[-1][0]
        self._adapt_count(self._count, [entries])
        await self._take(lease, generation, entries)

    async def _take(
        self,
        lease: StreamLease,
        generation: int,
        entries: Sequence[RawEntry],
        gone: Sequence[bytes] = (),
        *,
        contiguous: bool = False,
    ) -> None:
        """Deliver entries; `gone` are ids of pending entries that the stream no longer holds."""
        present = [entry for entry in entries if entry[1] is not None]
        gone = [*gone, *(entry[0] for entry in entries if entry[1] is None)]
        records = self._entries.records(lease.stream, present, lease.known_since)
        ids = [entry[0] for entry in present]
        last = max(map(offset, (*ids[-1:], *gone)))
        gap = None
        if gone:
            first = min(map(offset, gone))
            resumed = next((r.position.offset for r in records if r.position.offset > first), last + 1)
            reason = (
                f"{len(gone)} entries were deleted or trimmed after they were delivered and before they were committed"
            )
            gap = Gap(lease.lease.partition, first, resumed, reason)
        elif lease.trimmed is not None and contiguous:
            count, before = lease.trimmed
            reason = f"{count} entries were trimmed before they were read"
            gap = Gap(lease.lease.partition, before + 1, records[0].position.offset, reason)
        if contiguous:
            lease.last = max(lease.last, last)
            lease.trimmed = None
        batch = RedisBatch(lease.lease, records, last + 1, gap, ids=[*ids, *gone], contiguous=contiguous)
        await self._hand_on(lease, generation, batch)

    async def _hand_on(self, lease: StreamLease, generation: int, batch: RedisBatch) -> None:
        if lease.generation == generation:
            lease.track(batch)
            await self._deliver(lease, generation, batch)

    def _adapt_count(self, count: int, replies: Sequence[Sequence[RawEntry]]) -> None:
        """Ask for more entries if replies are small, for fewer if they are large."""
        size = sum(map(_estimate_bytes, replies))
        if size > REPLY_MAX_BYTES:
            self._count = max(1, self._count // 2)
        elif size < REPLY_MAX_BYTES // 4 and count == self._count and max(map(len, replies)) >= count:
            self._count = min(self._count * 2, self._max_records)

    # --- what happened to the streams

    async def _handle_statuses(
        self, connection: RedisConnection, leases: list[StreamLease], statuses: Sequence[Sequence[Any]]
    ) -> None:
        """Act on the reply of `CHECK_STREAMS`."""
        restored = False
        for lease, (status, *details) in zip(leases, statuses, strict=True):
            match status:
                case b"OK":
                    last, trimmed, corrected = offset(details[0]), details[1], details[2]
                    if trimmed:
                        # A corrected counter reports each loss once, perhaps long before the next entry comes.
                        before = lease.trimmed[0] if corrected and lease.trimmed is not None else 0
                        lease.trimmed = (before + trimmed, last)
                case b"WRONGTYPE":
                    self._leave(lease, "the key no longer holds a stream")
                case b"NOKEY":
                    await self._report_gap(lease, 0, "the stream was deleted")
                    lease.deleted = True
                    self._leave(lease, "the stream was deleted")
                case b"RECREATED":
                    reason = "the stream was deleted and created again, and is read from its beginning"
                    # Another member may read the new stream already, and have given it its identity.
                    since = known_since(await find_identity(connection, lease.key))
                    await self._report_gap(lease, 0, reason, recreated=True, known_since_ms=since)
                    self._leave(lease, "the stream was deleted and created again")
                case b"NOGROUP":
                    wanted = lease.first_uncommitted()
                    reason = await consumer_group.restore_group(connection, lease, *self._member)
                    restored = True
                    await self._report_gap(lease, lease.last + 1, reason, wanted=wanted)
                case _:
                    code = status.decode()
                    raise RedisReplyError(f"{lease.stream}: cannot ask about its consumer group ({code})", code)
        if restored:
            await asyncio.sleep(min(RESTORE_GRACE_S, self._claim_idle_ms / 3000))

    async def _report_gap(
        self,
        lease: StreamLease,
        resumed: int,
        reason: str,
        *,
        wanted: int | None = None,
        recreated: bool = False,
        known_since_ms: int | None = None,
    ) -> None:
        wanted = lease.first_uncommitted() if wanted is None else wanted
        since = None if known_since_ms is None else known_since_ms * 1000
        gap = Gap(lease.lease.partition, wanted, resumed, reason, recreated=recreated, known_since=since)
        await self._hand_on(lease, lease.generation, RedisBatch(lease.lease, (), resumed, gap))

    def _leave(self, lease: StreamLease, reason: str) -> None:
        if self.streams.get(lease.key) is lease:
            del self.streams[lease.key]
        self._abandon(lease, reason)

    # --- pending entries

    async def _maintain(self, connection: RedisConnection, leases: Sequence[StreamLease]) -> None:
        """Claim entries that dead or closed members left, find forgotten ones of our own, and show that we live."""
        now = asyncio.get_running_loop().time()
        for lease in leases:
            if lease.pending_cursor is not None and not lease.held:
                continue  # our own pending entries are being read
            try:
                if lease.next_claim_at <= now:
                    lease.next_claim_at = now + self._claim_idle_ms / 1000 * random.uniform(0.2, 0.3)
                    # Before Redis 7.2 a read that finds nothing new does not count as a sign of life.
                    read = ("XREADGROUP", "GROUP", *self._member, "COUNT", 1, "STREAMS", lease.key, _HIGHEST_ID)
                    await connection.call(*read)
                    if not lease.held:
                        await self._claim(connection, lease)
                if lease.next_reconciliation_at <= now and not lease.held:
                    lease.next_reconciliation_at = now + RECONCILE_INTERVAL_S
                    await self._reconcile(connection, lease)
            except RedisReplyError as error:
                if error.code not in _STREAM_ERRORS:
                    raise  # what is wrong with the stream is found in the next step

    async def _claim(self, connection: RedisConnection, lease: StreamLease) -> None:
        generation, idle_ms = lease.generation, self._claim_idle_ms
        for owner in await consumer_group.find_dead_consumers(connection, lease.key, *self._member, idle_ms):
            more = True
            while more and not lease.held and lease.generation == generation:
                entries, gone, more = await consumer_group.claim_page(
                    connection, lease.key, *self._member, owner, idle_ms
                )
                if entries or gone:
                    name = owner.decode(errors="replace")
                    log.info("claimed entries", stream=lease.stream, of=name, entries=len(entries))
                    await self._take_pages(lease, generation, entries, gone)

    async def _reconcile(self, connection: RedisConnection, lease: StreamLease) -> None:
        """Read again our pending entries that no batch in work holds."""
        generation = lease.generation
        if lease.tracking_incomplete:
            return
        async for ids in consumer_group.find_forgotten(connection, lease, *self._member):
            if lease.generation != generation:
                return  # a rewind delivers all pending entries again
            entries, gone = await consumer_group.claim_entries(connection, lease.key, *self._member, ids, 0)
            if entries or gone:
                log.warning(
                    "pending entries belonged to no batch; they are read again", stream=lease.stream, entries=len(ids)
                )
                await self._take_pages(lease, generation, entries, gone)

    async def _take_pages(
        self, lease: StreamLease, generation: int, entries: Sequence[RawEntry], gone: Sequence[bytes]
    ) -> None:
        for at in range(0, max(len(entries), 1), self._max_records):
            await self._take(lease, generation, entries[at : at + self._max_records], () if at else gone)


def _estimate_bytes(entries: Sequence[RawEntry]) -> int:
    """Estimate the size of entries from a sample of them."""
    step = len(entries) // 16 + 1
    return step * sum(sum(map(len, fields)) for _, fields in entries[::step] if fields is not None)
