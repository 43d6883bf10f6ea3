"""The saga monitor: late events, events of the history, streams that were created again, and long lists in steps."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from sidecar.adapters.history.memory import MemoryHistory
from sidecar.adapters.index.memory.index import MemoryIndex
from sidecar.api.services.event_sampler import EventSampler
from sidecar.api.services.late_events import MAX_LATE_EVENTS, LateEvents
from sidecar.api.services.saga_history import SagaHistory
from sidecar.api.services.saga_monitor import OVERLAP_MS, SAGAS_PER_STEP, SagaMonitor
from sidecar.domain.errors import Outage
from sidecar.domain.history_rows import encode_event
from sidecar.domain.model import Decoded, Event, Record
from sidecar.domain.ports.history import HistoryPage, HistorySegment, HistorySelection
from sidecar.domain.ports.index import Node
from sidecar.domain.position import Position
from sidecar.insights.sagas.declaration import DeclaredStep, SagaDeclaration
from sidecar.insights.sagas.saga import SagaState
from sidecar.insights.sagas.tracker import SagaTracker

NOW_MS = 1_790_000_000_000
HOUR_MS = 3_600_000
ORDER = SagaDeclaration(
    name="order",
    start="Placed",
    steps=(DeclaredStep(name="payment", types=("Paid",)),),
    deadline_us=2 * HOUR_MS * 1000,
    completed=frozenset({"Done"}),
)


def event(type: str, offset: int, at_ms: int, flow: int = 1) -> Event:
    return Event(Position("kafka", "orders", 0, offset), None, at_ms, at_ms * 1000, type=type, trace_id=flow)


def decoded(*events: Event) -> list[Decoded]:
    return [Decoded(Record(each.position, None, b"x", (), each.appended_at), each, None) for each in events]


class PlainSampler:
    """Hides nothing."""

    def redact(self, node: Node) -> Node:
        return node


class Setting:
    """A monitor over an index and a history."""

    def __init__(self, history: MemoryHistory | None = None) -> None:
        self.now_ms = NOW_MS
        self.index = MemoryIndex(100_000, join=("trace",), max_flow=10_000)
        tracker = SagaTracker([ORDER])
        sampler = cast("EventSampler", PlainSampler())
        reader = SagaHistory(history, tracker.declarations)
        self.monitor = SagaMonitor(tracker, self.index, sampler, reader, lambda: self.now_ms)

    def pass_on(self, *events: Event) -> None:
        self.index.add(events)
        self.monitor.observe(decoded(*events))

    async def states(self) -> list[SagaState]:
        await self.monitor.refresh()
        sagas = await self.monitor.select(lambda saga: True)
        return [saga.state(self.now_ms * 1000) for saga in sagas]


async def store(history: MemoryHistory, *events: Event) -> None:
    await history.append(HistorySegment([encode_event(each, None) for each in events], []))


async def test_a_start_with_an_old_append_time_is_seen() -> None:
    setting = Setting()
    setting.pass_on(event("Placed", 1, NOW_MS))
    assert await setting.states() == [SagaState.RUNNING]
    setting.now_ms += 60_000
    setting.pass_on(event("Placed", 2, NOW_MS - 3 * HOUR_MS, flow=2), event("Placed", 3, NOW_MS - HOUR_MS, flow=3))
    assert await setting.states() == [SagaState.RUNNING, SagaState.RUNNING, SagaState.STUCK]


async def test_more_late_events_than_are_kept_are_read_from_the_index() -> None:
    setting = Setting()
    assert await setting.states() == []
    count = MAX_LATE_EVENTS + 500
    setting.pass_on(*(event("Placed", n, NOW_MS - HOUR_MS - n, flow=n + 1) for n in range(count)))
    assert len(await setting.states()) == count


def test_omitted_late_events_leave_their_times() -> None:
    late = LateEvents(lambda: NOW_MS)
    late.observe(
        decoded(
            *(event("Placed", n, NOW_MS - 10_000 - n) for n in range(MAX_LATE_EVENTS + 3)),
            event("Placed", 99_999, NOW_MS),
        )
    )
    batch = late.take()
    assert len(batch.events) == MAX_LATE_EVENTS
    assert batch.omitted == (NOW_MS - 10_000 - MAX_LATE_EVENTS - 2, NOW_MS - 10_000 - MAX_LATE_EVENTS)
    assert late.take().events == []


async def test_a_restart_finds_sagas_that_are_older_than_the_index() -> None:
    history = MemoryHistory()
    await store(
        history,
        event("Placed", 1, NOW_MS - 3 * HOUR_MS, flow=1),
        event("Paid", 2, NOW_MS - 3 * HOUR_MS + 1, flow=1),
        event("Placed", 3, NOW_MS - HOUR_MS, flow=2),
        event("Placed", 4, NOW_MS - 30 * HOUR_MS, flow=3),
    )
    setting = Setting(history)
    setting.pass_on(event("Done", 9, NOW_MS, flow=2))
    assert await setting.states() == [SagaState.COMPLETED, SagaState.STUCK], "the oldest is beyond twice the deadline"
    (stuck,) = (await setting.monitor.count()).stuck
    assert stuck.list_missing() == []


async def test_an_outage_of_the_history_delays_its_sagas_only() -> None:
    class FailingHistory(MemoryHistory):
        failures = 1

        async def find(
            self, selection: HistorySelection, *, limit: int = 1_000, cursor: str | None = None
        ) -> HistoryPage:
            self.failures -= 1
            if self.failures >= 0:
                raise Outage("no storage")
            return await super().find(selection, limit=limit, cursor=cursor)

    history = FailingHistory()
    await store(history, event("Placed", 1, NOW_MS - HOUR_MS, flow=1))
    setting = Setting(history)
    setting.pass_on(event("Placed", 9, NOW_MS, flow=2))
    assert len(await setting.states()) == 1
    assert len(await setting.states()) == 2


async def test_sagas_of_a_stream_that_was_created_again_are_forgotten() -> None:
    setting = Setting()
    setting.pass_on(event("Placed", 1, NOW_MS), event("Placed", 2, NOW_MS, flow=2))
    assert len(await setting.states()) == 2
    start = event("Placed", 1, NOW_MS)
    setting.index.discard(start.position.log, NOW_MS * 1000 + 1)
    setting.monitor.discard(start.position.log)
    setting.now_ms += 5
    setting.pass_on(event("Placed", 1, NOW_MS + 4, flow=7))
    assert await setting.states() == [SagaState.RUNNING]


async def test_a_member_that_hears_of_no_deletion_forgets_a_stuck_saga_whose_position_has_another_event() -> None:
    setting = Setting()
    setting.pass_on(event("Placed", 1, NOW_MS - 3 * HOUR_MS))
    assert await setting.states() == [SagaState.STUCK]
    setting.index.add([event("Paid", 1, NOW_MS + OVERLAP_MS, flow=9)])
    assert await setting.states() == []


async def test_many_sagas_are_counted_and_selected_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    setting = Setting()
    count = 5 * SAGAS_PER_STEP
    setting.monitor.tracker.observe(
        [Node(event("Placed", n, NOW_MS, flow=n), "ok", n, None, False, 0) for n in range(1, count + 1)]
    )
    turns: list[int] = []

    async def tick() -> None:
        while True:
            turns.append(1)
            await asyncio.sleep(0)

    ticking = asyncio.ensure_future(tick())
    results: Sequence[Any] = [await setting.monitor.count(), await setting.monitor.select(lambda saga: True)]
    ticking.cancel()
    assert results[0].states["order", SagaState.RUNNING] == len(results[1]) == count
    assert len(turns) >= 10
