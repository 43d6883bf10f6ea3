"""Sweeper of the shared index, which deletes whole flows, oldest first.

A flow is deleted if its latest event is older than the time to live, or if there are too many events. One member at a
time sweeps. It visits the seconds from the oldest on: a flow without a younger event is deleted completely; the events
of any other flow are moved to the second of its youngest event.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from itertools import islice
from typing import Any

import structlog

from sidecar.adapters.index.redis.event_counts import count_again, count_events
from sidecar.adapters.index.redis.fetcher import STEP_TIMEOUT_S
from sidecar.adapters.index.redis.flow_closure import FlowReader
from sidecar.adapters.index.redis.key_layout import PartitionKey
from sidecar.adapters.index.redis.lua_scripts import DELETE_EVENTS, WRITE_WHEN_FULL
from sidecar.adapters.index.redis.shards import ShardClients
from sidecar.adapters.index.redis.write_batch import IndexWriteBatch, WriteBatchBuilder
from sidecar.adapters.redis_client.connection_pool import Argument, Command
from sidecar.adapters.redis_client.errors import RedisOutOfMemory
from sidecar.domain.model import Event
from sidecar.domain.periodic_task import run_periodically

log = structlog.get_logger()

SWEEP_INTERVAL_S = 1.0
"""Pause between two sweeps."""
LEASE_MS = 15_000
"""Time without a sign of the sweeping member after which another member may sweep."""
EVENTS_PER_EVICTED_WHEN_FULL = 20
"""Number of held events for each that a sweep of a full server deletes, until there is room again."""
MAX_RECORDS_PER_STEP, MIN_RECORDS_PER_STEP = 400, 50
"""Events that one step visits: at most, and at least even if fewer must go, because some of their flows may stay."""


class IndexSweeper:
    """Sweeps the index when it is this member's turn."""

    def __init__(
        self,
        shards: ShardClients,
        packer: WriteBatchBuilder,
        logs: dict[bytes, PartitionKey],
        *,
        join: Collection[str],
        max_flow: int,
        ttl_ms: int,
        max_events: int,
        member: str,
        full: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Create a sweeper; `full` returns True while writes find no memory."""
        self._shards, self._keys, self._packer, self._logs = shards, shards.keys, packer, logs
        self._join, self._max_flow = join, max_flow
        self._ttl_ms, self._max_events = ttl_ms, max_events
        self._member, self._clock = member, clock
        self._writing_is_refused, self._full = full, False

    async def run(self) -> None:
        """Run until canceled."""
        await run_periodically("evicting old flows of the shared index", self.sweep, SWEEP_INTERVAL_S)

    async def sweep(self) -> int:
        """Delete events that are too old or too many, if it is this member's turn.

        Returns the number of deleted events. Raises Outage, Refused.
        """
        if not await self._turn():
            return 0
        await self._take_over()
        early, gone = await self._early(), 0
        while (due := await self._due(early - gone)) is not None:
            gone += await self._window(*due)
            if not await self._turn():
                break
        return gone

    async def _turn(self) -> bool:
        key = self._keys.single(b"q")
        (mine,) = await self._note([(0, ("SET", key, self._member, "NX", "PX", LEASE_MS))])
        if mine is None:
            (holder,) = await self._ask([(0, ("GET", key))])
            if holder != self._member.encode():
                return False
            await self._ask([(0, ("PEXPIRE", key, LEASE_MS))])
        return True

    async def _take_over(self) -> None:
        """Note the time of this sweep. After a long time without one, keys may have expired: count again."""
        keys, now = self._keys, int(self._clock() * 1000)
        key = keys.single(b"x")
        (swept,) = await self._ask([(0, ("HGET", key, "swept"))])
        if swept is not None and now - int(swept) > self._ttl_ms // 2:
            await self._forget_empty(await count_again(self._shards, 2 * self._ttl_ms))
        await self._note([(0, ("HSET", key, "swept", now)), (0, ("PEXPIRE", key, 2 * self._ttl_ms))])

    async def _early(self) -> int:
        """Return how many events have to go although they are neither old nor too many, because the server is full."""
        keys = self._keys
        try:
            # Takes memory where there is no counter yet, and changes nothing where there is.
            await self._ask(
                [
                    (shard, ("SET", keys.single(b"n", shard), 0, "NX", "PX", 2 * self._ttl_ms))
                    for shard in range(keys.shards)
                ]
            )
        except RedisOutOfMemory as error:
            reason: str | None = str(error)
        else:
            reason = "the server has no memory for new events" if self._writing_is_refused() else None
        if reason is not None and not self._full:
            log.warning("the shared index's server is full: its oldest flows are evicted early", reason=reason)
        self._full = reason is not None
        return await count_events(self._shards) // EVENTS_PER_EVICTED_WHEN_FULL + 1 if self._full else 0

    async def _due(self, early: int) -> tuple[int, int | None] | None:
        """Return the oldest second if events of it have to go, and how many (None: all)."""
        (oldest,) = await self._ask([(0, ("ZRANGE", self._keys.single(b"s"), 0, 0))])
        if not oldest:
            return None
        window = int(oldest[0])
        if (window + 1) * 1000 <= self._clock() * 1000 - self._ttl_ms:
            return window, None
        excess = max(await count_events(self._shards) - self._max_events, early)
        return (window, excess) if excess > 0 else None

    async def _window(self, window: int, excess: int | None) -> int:
        keys = self._keys
        appended, aged = keys.of_window(b"w", window), keys.of_window(b"o", window)
        members = await self._ask([(appended[0], ("SMEMBERS", appended[1])), (aged[0], ("SMEMBERS", aged[1]))])
        # As bytes they are in the order of their milliseconds.
        rest = iter(dict.fromkeys([*(member[2:] for member in sorted(members[0])), *members[1]]))
        gone = 0
        while places := list(
            islice(
                rest,
                MAX_RECORDS_PER_STEP
                if excess is None
                else max(MIN_RECORDS_PER_STEP, min(MAX_RECORDS_PER_STEP, excess - gone)),
            )
        ):
            gone += await self._some(window, places)
            if members[1]:
                await self._ask([(aged[0], ("SREM", aged[1], *places))])
            if (excess is not None and gone >= excess) or not await self._turn():
                left = await self._ask([(appended[0], ("EXISTS", appended[1])), (aged[0], ("EXISTS", aged[1]))])
                if not any(left):
                    await self._ask([(0, ("ZREM", keys.single(b"s"), window))])
                await self._forget_empty({window})
                return gone
        await self._ask([(0, ("ZREM", keys.single(b"s"), window))])
        # Events that arrived meanwhile are visited by the next sweep.
        late = await self._ask([(appended[0], ("SMEMBERS", appended[1])), (aged[0], ("SCARD", aged[1]))])
        if late[1] or not set(late[0]) <= set(members[0]):
            await self._note([(0, ("ZADD", keys.single(b"s"), window, window))])
        await self._forget_empty({window})
        return gone

    async def _some(self, window: int, places: Sequence[bytes]) -> int:
        reading = FlowReader(self._shards, self._join, self._max_flow, self._logs)
        await reading.events(places)
        by_position = {event.position: place for place in places if (event := reading.event(place)) is not None}
        closed = await reading.closure([event for place in places if (event := reading.event(place)) is not None])
        old: list[Event] = []
        staying: list[Event] = []
        later: list[tuple[int, bytes]] = []
        for flow in closed.flows:
            youngest = max(map(self._packer.second_of, flow))
            if youngest <= window:
                old += flow
                continue
            here = [event for event in flow if event.position in by_position]
            staying += here
            later += [(youngest, by_position[event.position]) for event in here]
        await self._put_down(staying, later)
        return await self._drop(old, window)

    async def _put_down(self, events: Sequence[Event], later: Sequence[tuple[int, bytes]]) -> None:
        """Put events off to a later second, and extend the life of their keys until then."""
        keys = self._keys
        commands: list[tuple[int, Command]] = []
        for batch in self._batches(events):
            for number, shard in enumerate(batch.shards):
                names = {*shard.buckets, *shard.sets, *(b"i" + hash for hash in shard.ids[::2])}
                head = keys.heads[number]
                if names:
                    names.add(b"n")
                commands += [(number, ("PEXPIRE", head + name, 2 * self._ttl_ms)) for name in names]
        for second, place in later:
            number, key = keys.of_window(b"o", second)
            commands += [
                (0, ("ZADD", keys.single(b"s"), second, second)),
                (number, ("SADD", key, place)),
                (number, ("PEXPIRE", key, 2 * self._ttl_ms)),
            ]
        await self._note(commands)

    async def _drop(self, events: Sequence[Event], window: int) -> int:
        keys, seconds = self._keys, set[int]()
        for batch in self._batches(events):
            seconds |= batch.seconds
            commands: list[tuple[int, Command]] = []
            for number, shard in enumerate(batch.shards):
                sets: dict[bytes, list[bytes]] = {name: list(members) for name, members in shard.sets.items()}
                for hash, member in zip(shard.ids[::2], shard.ids[1::2], strict=True):
                    sets.setdefault(b"i" + hash, []).append(member)
                if not sets and not shard.buckets:
                    continue
                arguments: list[Argument] = [2 * self._ttl_ms, len(shard.buckets)]
                for name, parts in shard.buckets.items():
                    arguments += (name, len(parts) // 2, *parts[::2])
                arguments.append(len(sets))
                for name, members in sets.items():
                    arguments += (name, len(members), *members)
                commands.append((number, ("EVALSHA", DELETE_EVENTS.sha, 1, keys.heads[number], *arguments)))
            await self._ask(commands)
        if events:
            key = keys.single(b"x")
            await self._note(
                [
                    (0, ("HSET", key, "horizon", window * 1000 + 999)),
                    (0, ("PEXPIRE", key, 2 * self._ttl_ms)),
                ]
            )
            await self._forget_empty(seconds - {window})
        return len(events)

    async def _forget_empty(self, seconds: Collection[int]) -> None:
        ordered = sorted(seconds)
        at = [self._keys.of_window(b"w", second) for second in ordered]
        counts = await self._ask([(shard, ("EXISTS", key)) for shard, key in at])
        empty = [second for second, count in zip(ordered, counts, strict=True) if not count]
        if empty:
            await self._ask([(0, ("ZREM", self._keys.single(b"z"), *empty))])

    def _batches(self, events: Sequence[Event]) -> list[IndexWriteBatch]:
        """Build the index writes for these events: batches, each split by shard."""
        batches: list[IndexWriteBatch] = []
        begin = 0
        while begin < len(events):
            batch = IndexWriteBatch(self._keys.shards)
            begin = self._packer.take(batch, events, begin)
            batches.append(batch)
        return batches

    async def _ask(self, commands: Sequence[tuple[int, Command]]) -> list[Any]:
        return await self._shards.ask(commands, STEP_TIMEOUT_S)

    async def _note(self, commands: Sequence[tuple[int, Command]]) -> list[Any]:
        """Send commands that need memory, also to a full server: deleting needs a little first."""
        if not commands:
            return []
        keys = self._keys
        together: dict[int, list[int]] = {}
        for number, (shard, _) in enumerate(commands):
            together.setdefault(shard, []).append(number)
        asked: list[tuple[int, Command]] = []
        for shard, numbers in together.items():
            words: list[Argument] = [2 * self._ttl_ms]
            for number in numbers:
                words += (len(commands[number][1]), *commands[number][1])
            asked.append((shard, ("EVALSHA", WRITE_WHEN_FULL.sha, 1, keys.heads[shard], *words)))
        replies: list[Any] = [None] * len(commands)
        for numbers, shard_replies in zip(together.values(), await self._ask(asked), strict=True):
            for number, reply in zip(numbers, shard_replies, strict=True):
                replies[number] = reply
        return replies
