"""Feeds the index's events to the saga tracker, in order of append time, each once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from sidecar.api.services.event_sampler import EventSampler
from sidecar.api.services.search import SearchableIndex
from sidecar.domain.periodic_task import run_periodically
from sidecar.domain.ports.index import Node
from sidecar.domain.position import Position
from sidecar.insights.sagas.saga import Saga, SagaState
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


class SagaMonitor:
    """Keeps a tracker up to date.

    What is read is in the index, so a restart loses nothing that the index's look-back window fills in again. An event
    is taken in by its position, so reading twice changes nothing. Canceled between two pages, the window is read again.
    """

    def __init__(
        self,
        tracker: SagaTracker,
        index: SearchableIndex,
        sampler: EventSampler,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """Create the monitor. `clock_ms`: milliseconds since 1970."""
        self.tracker = tracker
        self._index, self._sampler, self._clock_ms = index, sampler, clock_ms
        self._lock = asyncio.Lock()
        self._read_until: int | None = None
        """Append time (ms) up to which events were read."""
        self._recent: dict[Position, int] = {}
        """Events of the overlap that were taken in, with their append times."""
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

    async def refresh(self) -> None:
        """Take in the events that were appended since the last time. Raises Outage and Refused."""
        async with self._lock:
            end = self._clock_ms() + 1
            begin = await self._first_moment() if self._read_until is None else self._read_until - OVERLAP_MS
            window = FIRST_WINDOW_MS
            while begin < end:
                until = min(end, begin + window)
                nodes = await self._read(begin, until, bounded=window > MIN_WINDOW_MS)
                if nodes is None:
                    window = max(MIN_WINDOW_MS, window // 4)
                    continue
                await self._take_in(nodes)
                begin = self._read_until = until
                window = min(FIRST_WINDOW_MS, window * 2)
            await self._look_again(end * 1000)
            oldest = end - OVERLAP_MS
            self._recent = {position: at for position, at in self._recent.items() if at >= oldest}

    async def _first_moment(self) -> int:
        """Return the append time of the oldest event that is held, or now if there is none."""
        held = self._index.coverage()
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
            self.tracker.observe(map(self._sampler.redact, fresh[start : start + EVENTS_PER_PAGE]))
            await asyncio.sleep(0)

    async def _look_again(self, now_us: int) -> None:
        """Take in all held events of some stuck sagas, each in its turn.

        A replay keeps the time of its original record, so it is not among the events that were appended lately.
        """
        running, stuck = self.tracker.list_running(), []
        for start in range(0, len(running), SAGAS_PER_STEP):
            part = running[start : start + SAGAS_PER_STEP]
            stuck += [saga for saga in part if saga.state(now_us) is SagaState.STUCK]
            await asyncio.sleep(0)
        turn = self._turn % len(stuck) if stuck else 0
        self._turn = turn + STUCK_SAGAS_PER_REFRESH
        for saga in [*stuck[turn:], *stuck[:turn]][:STUCK_SAGAS_PER_REFRESH]:
            await self.look_at(saga)

    async def look_at(self, saga: Saga) -> None:
        """Take in all held events of a saga. Raises Outage and Refused."""
        flow = await self._index.flow(str(saga.start.position))
        nodes = [] if flow is None else list(flow.nodes)
        if saga.declaration.correlation == "aggregate" and saga.aggregate_id is not None:
            nodes += await self._index.aggregate(saga.aggregate_id)
        self.tracker.observe(map(self._sampler.redact, nodes))
