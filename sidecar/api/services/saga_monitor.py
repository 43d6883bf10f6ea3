"""Feeds events to the saga tracker: those of the history once, then those of the index in order of append time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from sidecar.api.services.event_sampler import EventSampler
from sidecar.api.services.late_events import LateEvents
from sidecar.api.services.saga_history import SagaHistory
from sidecar.api.services.search import SearchableIndex, unindexed_node
from sidecar.domain.model import Decoded
from sidecar.domain.periodic_task import run_periodically
from sidecar.domain.ports.index import Coverage, Node
from sidecar.domain.position import Partition, Position
from sidecar.insights.sagas.counts import SagaCounts
from sidecar.insights.sagas.saga import Saga
from sidecar.insights.sagas.tracker import SagaTracker

REFRESH_INTERVAL_S = 2.0
OVERLAP_MS = 10_000
"""Time before the latest event that is read again: events of several partitions are appended out of order."""
EVENTS_PER_PAGE = 500
MAX_EVENTS_PER_WINDOW = 20_000
FIRST_WINDOW_MS = 60_000
MIN_WINDOW_MS = 1
SAGAS_PER_STEP = 500
STUCK_SAGAS_PER_REFRESH = 20
"""Stuck sagas whose events are looked up again in one refresh."""
REREAD_INTERVAL_S = 10.0
"""Time between two readings of the whole index while it is being filled."""


class SagaMonitor:
    """Keeps a tracker up to date.

    A restart loses no saga whose events are in the history, or in the window that fills the index from the brokers. An
    event is taken in by its position, so reading twice changes nothing. Canceled between two pages, the window is read
    again.
    """

    def __init__(
        self,
        tracker: SagaTracker,
        index: SearchableIndex,
        sampler: EventSampler,
        history: SagaHistory,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """Create the monitor. `clock_ms`: milliseconds since 1970."""
        self.tracker = tracker
        self._index, self._sampler, self._history, self._clock_ms = index, sampler, history, clock_ms
        self._lock = asyncio.Lock()
        self._read_until: int | None = None
        """Append time (ms) up to which events were read. None: read the whole index."""
        self._first = 0
        """Append time (ms) of the oldest event in the index when it was last read as a whole."""
        self._covered: frozenset[Partition] = frozenset()
        self._reread_at = 0.0
        self._recent: dict[Position, int] = {}
        """Events of the overlap that were taken in, with their append times."""
        self._late = LateEvents(clock_ms)
        self._turn = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Refresh every two seconds from now on."""
        self._task = asyncio.ensure_future(run_periodically("follow sagas", self.refresh, REFRESH_INTERVAL_S))

    async def close(self) -> None:
        """Stop refreshing."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    # --- sidecar.pipeline.event_fan_out.EventObserver

    def observe(self, decoded: Sequence[Decoded]) -> None:
        """Keep events that were appended long ago, because the next refresh reads the latest ones only."""
        self._late.observe(decoded)

    def discard(self, partition: Partition) -> None:
        """Forget the sagas of a partition whose stream was created again."""
        self.tracker.discard(partition)
        self._late.discard(partition)
        self._recent = {position: at for position, at in self._recent.items() if position.log != partition}

    # --- reading

    async def refresh(self) -> None:
        """Take in the events that were appended since the last time. Raises Outage and Refused."""
        async with self._lock:
            held = self._index.coverage()
            if self._must_reread(held):
                self._read_until = None
            if self._read_until is None:
                self._first = await self._first_moment(held)
            await self._history.read_before(self._first, self._observe)
            await self._read_range(self._first if self._read_until is None else self._read_until - OVERLAP_MS)
            await self._take_in_late()
            await self._look_again()
            oldest = self._clock_ms() - OVERLAP_MS
            self._recent = {position: at for position, at in self._recent.items() if at >= oldest}

    def _must_reread(self, held: Coverage) -> bool:
        """Return True if events of any age may have been added to the index since the last refresh."""
        if not held.filling:
            known, self._covered = self._covered, frozenset(held.partitions)
            return not self._covered <= known
        # While the index is being filled, its partitions count as unknown, so that all is read once more at the end.
        self._covered = frozenset()
        now = time.monotonic()
        if now - self._reread_at < REREAD_INTERVAL_S:
            return False
        self._reread_at = now
        return True

    async def _read_range(self, begin: int, end: int | None = None) -> None:
        """Take in the held events from one append time to another, by default until now."""
        until_now = end is None
        if end is None:
            end = self._clock_ms() + 1
        window = FIRST_WINDOW_MS
        while begin < end:
            until = min(end, begin + window)
            nodes = await self._read(begin, until, bounded=window > MIN_WINDOW_MS)
            if nodes is None:
                window = max(MIN_WINDOW_MS, window // 4)
                continue
            await self._take_in(nodes)
            begin = until
            if until_now:
                self._read_until = until
            window = min(FIRST_WINDOW_MS, window * 2)

    async def _first_moment(self, held: Coverage) -> int:
        """Return the append time of the oldest event that is held, or now if there is none."""
        if held.since is not None:
            return held.since
        oldest = self._clock_ms() - FIRST_WINDOW_MS
        cursor = None
        while True:
            page = await self._index.newest(cursor, EVENTS_PER_PAGE)
            if page.nodes:
                oldest = min(oldest, page.nodes[-1].event.appended_at)
            cursor = page.cursor
            if cursor is None:
                return oldest
            await asyncio.sleep(0)

    async def _read(self, since: int, until: int, *, bounded: bool) -> list[Node] | None:
        """Return the events of a window, oldest first; None if they are too many for one window."""
        nodes: list[Node] = []
        cursor = None
        while True:
            page = await self._index.newest(cursor, EVENTS_PER_PAGE, since=since, until=until)
            nodes += page.nodes
            if bounded and len(nodes) > MAX_EVENTS_PER_WINDOW:
                return None
            cursor = page.cursor
            if cursor is None:
                return nodes[::-1]
            await asyncio.sleep(0)

    async def _take_in(self, nodes: list[Node]) -> None:
        fresh = [node for node in nodes if node.event.position not in self._recent]
        self._recent.update((node.event.position, node.event.appended_at) for node in fresh)
        for start in range(0, len(fresh), EVENTS_PER_PAGE):
            self._observe(fresh[start : start + EVENTS_PER_PAGE])
            await asyncio.sleep(0)

    def _observe(self, nodes: Sequence[Node]) -> None:
        self.tracker.observe(map(self._sampler.redact, nodes))

    async def _take_in_late(self) -> None:
        """Take in the events that were appended long ago, such as records with the time of their origin."""
        late = self._late.take()
        for start in range(0, len(late.events), EVENTS_PER_PAGE):
            events = late.events[start : start + EVENTS_PER_PAGE]
            nodes = await self._index.all_at([event.position for event in events])
            self._observe([node or unindexed_node(event) for node, event in zip(nodes, events, strict=True)])
            await asyncio.sleep(0)
        if late.omitted is not None:
            begin, last = late.omitted
            await self._read_range(begin, last + 1)

    async def _look_again(self) -> None:
        """Take in all held events of some stuck sagas, each in its turn.

        A replay keeps the time of its original record, so it is not among the events that were appended lately.
        """
        stuck = (await self.count()).stuck
        turn = self._turn % len(stuck) if stuck else 0
        self._turn = turn + STUCK_SAGAS_PER_REFRESH
        for saga in [*stuck[turn:], *stuck[:turn]][:STUCK_SAGAS_PER_REFRESH]:
            await self.look_at(saga)

    async def look_at(self, saga: Saga) -> None:
        """Take in all held events of a saga. Raises Outage and Refused.

        The saga is removed if another event is where it began: its stream was created again.
        """
        start = await self._index.at(saga.start.position)
        if start is not None and not saga.began_with(self._sampler.redact(start).event):
            self.tracker.remove(saga)
            return
        flow = await self._index.flow(str(saga.start.position))
        nodes = [] if flow is None else list(flow.nodes)
        if saga.declaration.correlation == "aggregate" and saga.aggregate_id is not None:
            nodes += await self._index.aggregate(saga.aggregate_id)
        self._observe(nodes)

    # --- sagas

    async def count(self, is_counted: Callable[[Saga], bool] = lambda saga: True) -> SagaCounts:
        """Count the sagas by their state now, those for which `is_counted` is true."""
        counts = SagaCounts(self.tracker.declarations, self._clock_ms() * 1000)
        for sagas in self._steps():
            counts.add(filter(is_counted, sagas))
            await asyncio.sleep(0)
        return counts

    async def select(self, matches: Callable[[Saga], bool]) -> list[Saga]:
        """Return the sagas that match, the latest started first."""
        selected: list[Saga] = []
        for sagas in self._steps():
            selected += filter(matches, sagas)
            await asyncio.sleep(0)
        return sorted(selected, key=lambda saga: (saga.start.at, saga.id), reverse=True)

    def _steps(self) -> Iterator[list[Saga]]:
        """Yield all sagas, some at a time, so that the event loop gets its turn."""
        sagas = self.tracker.sagas()
        for start in range(0, len(sagas), SAGAS_PER_STEP):
            yield sagas[start : start + SAGAS_PER_STEP]
