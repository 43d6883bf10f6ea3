"""Reads the streams of one hash slot (outside a Cluster: all streams) over one connection.

Each step first checks what happened since the last read (`CHECK_STREAMS`), then reads: our own pending entries of a
stream that still has some to deliver, new entries of all other streams that are not held. Both commands are sent
together, so that nothing happens between them. If the last read found nothing, a blocking XREAD is sent before them.
XREADGROUP itself never blocks: an entry that was trimmed while it blocks cannot be told from one that never existed.

- A crash after a read: the entries are pending under our consumer name and are delivered first when we read again. If
  we never do, another member claims them after our consumer was idle for `claim_idle`.
- Two members read: the server gives each entry to one of them.
- The reply is late or lost: we close the connection, and the entries are pending as above."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog

from sidecar.adapters.brokers.redis import consumer_group as groups
from sidecar.adapters.brokers.redis.consumer_name import MARK
from sidecar.adapters.brokers.redis.entry_codec import EntryCodec, RawEntry, offset
from sidecar.adapters.brokers.redis.lua_scripts import CHECK_STREAMS
from sidecar.adapters.brokers.redis.stream_lease import RedisBatch, StreamLease
from sidecar.adapters.redis_client.connection_pool import Command, RedisConnection, RedisPool
from sidecar.adapters.redis_client.errors import ClusterRedirect, RedisReplyError
from sidecar.domain.ports.broker import Gap

log = structlog.get_logger()

BLOCK, BLOCK_WHILE_HELD = 250, 20
"""Milliseconds to wait for new entries; less while something is held that may be released meanwhile."""
GRACE = 1.0
"""Seconds for the other members to move a group forward that one of them has made again; less where that would look
like death."""
REPLY_BYTES = 4_000_000
"""About what one read should bring."""
FIRST_COUNT = 100
MOVES = 5
_HIGHEST_ID = b"18446744073709551615-18446744073709551614"
"""Reading own pending entries behind this id returns nothing, but shows the server that we live. One more would be the
largest id there is, which is how the server itself stores `>`: XREADGROUP would hand out a new entry."""
_STREAM_TROUBLE = ("NOGROUP", "WRONGTYPE", "UNBLOCKED", "ERR")


class SlotReader:
    """Reads streams that share a slot."""

    def __init__(
        self,
        servers: RedisPool,
        entries: EntryCodec,
        group: str,
        consumer: str,
        *,
        max_records: int,
        claim_idle: int,
        deliver: Callable[[StreamLease, int, RedisBatch], Awaitable[None]],
        abandon: Callable[[StreamLease, str], None],
    ) -> None:
        self._servers, self._entries = servers, entries
        self._us, self._mark = (group, consumer), (group, consumer + MARK)
        self._max_records, self._claim_idle = max_records, claim_idle
        """`claim_idle` in milliseconds."""
        self._deliver, self._abandon = deliver, abandon
        self.feeds: dict[bytes, StreamLease] = {}
        self._count = min(FIRST_COUNT, max_records)
        self._quiet: dict[bytes, bytes] = {}
        """The last entry that the group was given of each stream, where the last read found nothing beyond."""
        self._block = max(1, min(BLOCK, claim_idle // 4))
        self.wake = asyncio.Event()
        """Something was added, released or rewound."""

    async def run(self) -> None:
        """Reads until cancelled. Raises Outage or Refused."""
        moves = 0
        while True:
            link = self._servers.link(next(iter(self.feeds), None))
            try:
                while True:
                    await self._step(link)
                    moves = 0
            except ClusterRedirect:
                # The slot is at another node. Once it is known where, reading goes on there.
                moves += 1
                if moves > MOVES:
                    raise
                await self._servers.look_again()
                await asyncio.sleep(0.1 * moves)
            finally:
                await link.close()

    async def _step(self, link: RedisConnection) -> None:
        self.wake.clear()
        feeds = list(self.feeds.values())
        await self._look_for_dead(link, feeds)
        open_ = [feed for feed in feeds if not feed.held]
        for feed in open_:
            if feed.cursor is not None and feed.key in self.feeds:
                await self._own_pending(link, list(self.feeds.values()), feed)
        fresh = [feed for feed in self.feeds.values() if feed.cursor is None and not feed.held]
        if fresh:
            await self._new(link, list(self.feeds.values()), fresh)
        elif not open_:
            if feeds:
                await self._tell(link, feeds, await CHECK_STREAMS.call(link, [feed.key for feed in feeds], self._mark))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._block / 1000):
                    await self.wake.wait()

    # --- reading

    async def _read(
        self, link: RedisConnection, feeds: list[StreamLease], wanted: dict[bytes, bytes], count: int, *first: Command
    ) -> dict[bytes, list[RawEntry]] | None:
        """What XREADGROUP gives for these streams behind these ids; None where one of them was in trouble, which was
        then seen to."""
        watch = CHECK_STREAMS.command([feed.key for feed in feeds], self._mark)
        read: Command = ("XREADGROUP", "GROUP", *self._us, "COUNT", count, "STREAMS", *wanted, *wanted.values())
        *_, seen, reply = await link.calls([*first, watch, read])
        if isinstance(seen, RedisReplyError) and seen.code == "NOSCRIPT":
            # Asked now, what was trimmed before the read no longer shows; all else does.
            seen = await CHECK_STREAMS.call(link, [feed.key for feed in feeds], self._mark)
        if isinstance(seen, Exception):
            raise seen
        await self._tell(link, feeds, seen)
        if isinstance(reply, RedisReplyError) and reply.code in _STREAM_TROUBLE:
            # One stream in trouble ends the read of all. Which one was told just now, or will be in the next step.
            return None
        if isinstance(reply, Exception):
            raise reply
        self._quiet = {} if reply else {f.key: one[1] for f, one in zip(feeds, seen, strict=True) if one[0] == b"OK"}
        return dict(reply or ())

    async def _new(self, link: RedisConnection, feeds: list[StreamLease], open_: list[StreamLease]) -> None:
        count = max(1, min(self._count, self._max_records, 8 * self._max_records // len(open_)))
        epochs = {feed.key: feed.epoch for feed in open_}
        first: list[Command] = []
        if self._quiet.keys() >= epochs.keys():
            block = self._block if len(open_) == len(feeds) else BLOCK_WHILE_HELD
            behind = [self._quiet[key] for key in epochs]
            first.append(("XREAD", "COUNT", 1, "BLOCK", block, "STREAMS", *epochs, *behind))
        reply = await self._read(link, feeds, dict.fromkeys(epochs, b">"), count, *first)
        for key, entries in (reply or {}).items():
            if key in self.feeds:
                await self._take(self.feeds[key], epochs[key], entries, contiguous=True)
        if reply:
            self._adapt(count, list(reply.values()))

    async def _own_pending(self, link: RedisConnection, feeds: list[StreamLease], feed: StreamLease) -> None:
        """A page of what was delivered to our name and never committed, in an earlier life or before a rewind."""
        epoch, cursor = feed.epoch, feed.cursor
        assert cursor is not None
        reply = await self._read(link, feeds, {feed.key: cursor}, self._count)
        if reply is None or feed.epoch != epoch:
            return
        entries = reply.get(feed.key, [])
        if not entries:
            feed.cursor = None
            return
        feed.cursor = entries[-1][0]
        self._adapt(self._count, [entries])
        await self._take(feed, epoch, entries)

    async def _take(
        self,
        feed: StreamLease,
        epoch: int,
        entries: Sequence[RawEntry],
        gone: Sequence[bytes] = (),
        *,
        contiguous: bool = False,
    ) -> None:
        there = [entry for entry in entries if entry[1] is not None]
        gone = [*gone, *(entry[0] for entry in entries if entry[1] is None)]
        records = self._entries.records(feed.stream, there)
        ids = [entry[0] for entry in there]
        last = max(offset(one) for one in (*ids[-1:], *gone))
        gap = None
        if gone:
            first = min(map(offset, gone))
            resumed = next((r.position.offset for r in records if r.position.offset > first), last + 1)
            reason = (
                f"{len(gone)} entries were deleted or trimmed after they were delivered and before they were committed"
            )
            gap = Gap(feed.lease.partition, first, resumed, reason)
        elif feed.lost is not None and contiguous:
            count, before = feed.lost
            reason = f"{count} entries were trimmed before they were read"
            gap = Gap(feed.lease.partition, before + 1, records[0].position.offset, reason)
        if contiguous:
            feed.last = max(feed.last, last)
            feed.lost = None
        batch = RedisBatch(feed.lease, records, last + 1, gap, ids=[*ids, *gone], contiguous=contiguous)
        await self._hand_on(feed, epoch, batch)

    async def _hand_on(self, feed: StreamLease, epoch: int, batch: RedisBatch) -> None:
        if feed.epoch == epoch:
            feed.delivered(batch)
            await self._deliver(feed, epoch, batch)

    def _adapt(self, count: int, replies: Sequence[Sequence[RawEntry]]) -> None:
        """Ask for more where replies are small, for less where they are large."""
        size = sum(map(_estimated, replies))
        if size > REPLY_BYTES:
            self._count = max(1, self._count // 2)
        elif size < REPLY_BYTES // 4 and count == self._count and max(map(len, replies)) >= count:
            self._count = min(self._count * 2, self._max_records)

    # --- what happened behind our back

    async def _tell(self, link: RedisConnection, feeds: list[StreamLease], seen: Sequence[Sequence[Any]]) -> None:
        """Deal with what CHECK_STREAMS saw."""
        mended = False
        for feed, (what, *more) in zip(feeds, seen, strict=True):
            match what:
                case b"OK":
                    feed.lost = (more[1], offset(more[0])) if more[1] > 0 else None
                case b"WRONGTYPE":
                    self._leave(feed, "is not a stream any more")
                case b"NOKEY":
                    wanted = self._first_unsettled(feed)
                    await self._report(feed, wanted, feed.last + 1, "the stream was deleted")
                    self._leave(feed, "was deleted")
                case b"NOGROUP" | b"RECREATED":
                    wanted = self._first_unsettled(feed)
                    reason = await groups.mend(link, feed, *self._us)
                    mended = True
                    await self._report(feed, wanted, feed.last + 1, reason)
                case _:
                    code = what.decode()
                    raise RedisReplyError(f"{feed.stream}: what happened to its group cannot be asked ({code})", code)
        if mended:
            await asyncio.sleep(min(GRACE, self._claim_idle / 3000))

    def _first_unsettled(self, feed: StreamLease) -> int:
        ranges, single = feed.uncommitted()
        return min((offset(one) for one in (*(first for first, _ in ranges), *single)), default=feed.last + 1)

    async def _report(self, feed: StreamLease, wanted: int, resumed: int, reason: str) -> None:
        gap = Gap(feed.lease.partition, wanted, resumed, reason)
        await self._hand_on(feed, feed.epoch, RedisBatch(feed.lease, (), resumed, gap))

    def _leave(self, feed: StreamLease, reason: str) -> None:
        self.feeds.pop(feed.key, None)
        self._abandon(feed, reason)

    # --- the dead

    async def _look_for_dead(self, link: RedisConnection, feeds: Sequence[StreamLease]) -> None:
        """Claim what members left that died or closed. A stream that is held shows that we live."""
        now = asyncio.get_running_loop().time()
        for feed in feeds:
            if feed.claim_at > now or (feed.cursor is not None and not feed.held):
                continue
            feed.claim_at = now + self._claim_idle / 1000 * random.uniform(0.2, 0.3)
            try:
                if feed.held:
                    await link.call("XREADGROUP", "GROUP", *self._us, "COUNT", 1, "STREAMS", feed.key, _HIGHEST_ID)
                else:
                    await self._claim(link, feed)
            except RedisReplyError as error:
                if error.code not in _STREAM_TROUBLE:
                    raise  # what is wrong with the stream is told in the next step

    async def _claim(self, link: RedisConnection, feed: StreamLease) -> None:
        epoch = feed.epoch
        for name in await groups.dead(link, feed.key, *self._us, self._claim_idle):
            more = True
            while more and not feed.held and feed.epoch == epoch:
                entries, gone, more = await groups.claim(link, feed.key, *self._us, name, self._claim_idle)
                if entries or gone:
                    log.info("claimed", stream=feed.stream, of=name.decode(errors="replace"), entries=len(entries))
                    for at in range(0, max(len(entries), 1), self._max_records):
                        await self._take(feed, epoch, entries[at : at + self._max_records], () if at else gone)


def _estimated(entries: Sequence[RawEntry]) -> int:
    """About how many bytes these entries hold, from some of them."""
    step = len(entries) // 16 + 1
    return step * sum(sum(map(len, fields)) for _, fields in entries[::step] if fields is not None)
