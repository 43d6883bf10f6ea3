"""The index that several sidecars share, in Valkey or Redis: a server, a master behind Sentinels, or a Cluster."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import re
import secrets
from collections.abc import Awaitable, Callable, Collection, Sequence

import structlog
from msgspec.structs import replace

from sidecar.config import Tls
from sidecar.correlation.moments import appended, moment
from sidecar.errors import Outage, Refused
from sidecar.index.packing import bounded
from sidecar.index.recent import cursor_of, moment_of
from sidecar.index.redis_beating import Beat, Beating
from sidecar.index.redis_coverage import SharedCoverage
from sidecar.index.redis_drawing import drawn
from sidecar.index.redis_finding import of_trace, once
from sidecar.index.redis_inspecting import inspect
from sidecar.index.redis_layout import Log, id_hash, offset_bytes, word_hash
from sidecar.index.redis_newest import newest
from sidecar.index.redis_reading import MOST_PLACES, Name, Reading
from sidecar.index.redis_relay import RedisRelay
from sidecar.index.redis_shards import Shards
from sidecar.index.redis_sweeping import Sweeper
from sidecar.index.redis_writing import Writer
from sidecar.model import Event, Partition, Position, Rejection
from sidecar.ports import Coverage, Finding, Flow, Node, Page
from sidecar.redis_link.urls import parse

log = structlog.get_logger()

MOST_FOUND = 1_000
PATIENCE = 1.0
"""Seconds that a question waits for what was added before it."""
CANDIDATES = 100
"""Events from which flows are followed together."""
_TRACE_ID = re.compile(r"[0-9a-fA-F]{16}|[0-9a-fA-F]{32}")


class RedisIndex:
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
        tls: Tls | None = None,
    ) -> None:
        self._join, self._max_flow = frozenset(join), max_flow
        self._ttl_ms, self.max_events = ttl_ms, max_events
        self.shards = Shards(parse(url), tls, prefix, "tracecar.index")
        self.writer = Writer(self.shards, ttl_ms)
        self._logs: dict[bytes, Log] = {}
        self._crowded: dict[Name, None] = {}
        """Under these lies more than is looked at."""
        self._patience = patience
        self.member = secrets.token_hex(8) if member is None else member
        """By what this sidecar is known among those that share the index."""
        self._covered = SharedCoverage()
        self.beating = Beating(
            self.shards,
            self._covered,
            self.writer.counted,
            member=self.member,
            ttl_ms=ttl_ms,
            words=self.writer,
        )
        self.sweeper = Sweeper(
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
        self.hide: Callable[[Rejection], Rejection] | None = None
        """Takes out of a rejection what must not leave us: its message quotes what was found."""
        self._tasks: list[asyncio.Task[None]] = []
        self._started = False

    def start(self) -> None:
        """Tell the others of this member from now on, and let go of old flows in turn with them."""
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
        if (hide := self.hide) is not None:
            events = [
                event if event.rejection is None else replace(event, rejection=hide(event.rejection))
                for event in events
            ]
        self.writer.add(events)

    async def room(self) -> None:
        """Returns once many more events can be added without being missed."""
        await self.writer.room()

    async def written(self) -> None:
        """Returns once everything added so far is written, or the server is known to be away."""
        await self.writer.written(self._patience)

    async def close(self) -> None:
        """Write what waits, within some seconds, leave, and let go of the server."""
        await self.stop()
        await self.writer.close()
        if self._started and self.writer.away is None:
            with contextlib.suppress(Outage, Refused):
                await self.beating.leave()
        await self.shards.close()

    # --- what there is to tell of it, and of those that share it (`sidecar.members.Shared`)

    @property
    def beats(self) -> Sequence[Beat]:
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

    # --- questions

    async def at(self, position: Position) -> Node | None:
        """Without its place in its flow: `parent` is None and `depth` 0, as in all answers but flows."""
        reading = await self._reading()
        event = await self._at(reading, position)
        if event is None:
            return None
        await reading.know([event])
        return reading.node(event)

    async def all_at(self, positions: Sequence[Position]) -> list[Node | None]:
        """The events at some positions, looked up together."""
        reading = await self._reading()
        places = [self._place(position) for position in positions]
        await reading.events(place for place in places if place is not None)
        events = [None if place is None else reading.event(place) for place in places]
        await reading.know([event for event in events if event is not None])
        return [None if event is None else reading.node(event) for event in events]

    async def lookup(self, id: str) -> list[Node]:
        """Without their places in their flows."""
        reading = await self._reading()
        found: dict[Position, Event] = {}
        for kind in KINDS:
            found |= {event.position: event for event in await self._matches(reading, kind, bounded(id))}
        latest = heapq.nlargest(MOST_FOUND, found.values(), key=appended)
        await reading.know(latest)
        return [reading.node(event) for event in latest]

    async def flow(self, id: str) -> Flow | None:
        """Of several flows the one of the latest event that has the id."""
        reading = await self._reading()
        for kind in KINDS:
            found = await self._matches(reading, kind, bounded(id))
            if found:
                closed = await reading.closure([max(found, key=appended)])
                (flow,) = await drawn(reading, closed, closed.flows)
                return flow
        return None

    async def flows(self, limit: int, cursor: str | None = None) -> tuple[list[Flow], str | None]:
        """Raises ValueError where the cursor is none."""
        before = None if cursor is None else moment_of(cursor)
        reading = await self._reading()
        flows: list[Flow] = []
        seen: set[Position] = set()
        last: Event | None = None
        async for some in newest(reading, self.shards, before):
            for start in range(0, len(some), CANDIDATES):
                part = [event for event in some[start : start + CANDIDATES] if event.position not in seen]
                closed = await reading.closure(part)
                by_latest = {max(flow, key=appended).position: flow for flow in closed.flows}
                seen.update(event.position for flow in closed.flows for event in flow)
                # Those whose latest event is not here were shown on an earlier page, under it.
                fresh = [event for event in part if event.position in by_latest]
                room = limit - len(flows)
                flows += await drawn(reading, closed, [by_latest[event.position] for event in fresh[:room]])
                if len(fresh) > room:
                    last = fresh[room - 1] if room else last
                    return flows, cursor_of(last) if last is not None else cursor
                last = fresh[-1] if fresh else last
        return flows, None

    async def aggregate(self, id: str, limit: int = 1000) -> list[Node]:
        """The latest `limit` of them. Without their places in their flows."""
        reading = await self._reading()
        latest = heapq.nlargest(limit, await self._matches(reading, "aggregate", bounded(id)), key=moment)
        await reading.know(latest)
        return [reading.node(event) for event in latest[::-1]]

    async def newest(
        self,
        cursor: str | None = None,
        limit: int = 100,
        *,
        since: int | None = None,
        until: int | None = None,
        streams: Collection[str] | None = None,
    ) -> Page:
        """Events by append time, then position, newest first: appended at `since` or later and before `until`
        (milliseconds), on these streams. Without their places in their flows. Raises ValueError where the cursor is
        none."""
        before = None if cursor is None else moment_of(cursor)
        reading = await self._reading()
        events: list[Event] = []
        async for some in newest(reading, self.shards, before, since=since, until=until, streams=streams):
            events += some
            if len(events) > limit:
                break
        page = events[:limit]
        await reading.know(page)
        following = (cursor_of(page[-1]) if page else cursor) if len(events) > limit else None
        return Page([reading.node(event) for event in page], following)

    async def _reading(self) -> Reading:
        await self.written()
        return Reading(self.shards, self._join, self._max_flow, self._logs, self._crowded)

    async def _at(self, reading: Reading, position: Position) -> Event | None:
        place = self._place(position)
        if place is None:
            return None
        await reading.events([place])
        return reading.event(place)

    def _place(self, position: Position) -> bytes | None:
        """Where an event would lie; None for offsets that there cannot be."""
        log = self.writer.packer.log(position.system, position.stream, position.partition)
        self._logs.setdefault(log.name, log)
        try:
            return log.name + offset_bytes(position.offset, redis=position.system == "redis")
        except OverflowError:
            return None

    async def _matches(self, reading: Reading, kind: str, id: str) -> list[Event]:
        """The events that have `id` as this kind of id."""
        if kind == "trace":
            return await of_trace(reading, int(id, 16)) if _TRACE_ID.fullmatch(id) else []
        if kind == "position":
            try:
                event = await self._at(reading, Position.parse(id))
            except ValueError:
                return []
            return [] if event is None else [event]
        name: Name = {
            "event": (b"i", id_hash(id)),
            "aggregate": (b"a", word_hash(id)),
            "correlation": (b"k", id_hash(id)),
        }[kind]
        await reading.fetch(name)
        return once(event for event in reading.under(name) if _has(event, kind) == id)


KINDS = ("trace", "event", "position", "aggregate", "correlation")
"""What an id may be, in the order in which it is tried."""


def _told(task: asyncio.Task[None]) -> None:
    """Let nobody be puzzled by a task that ended by a mistake of ours."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a task of the shared index ended by a mistake of ours", exc_info=error)


def _has(event: Event, kind: str) -> str | None:
    if kind == "event":
        return event.event_id
    return event.aggregate_id if kind == "aggregate" else event.correlation_id
