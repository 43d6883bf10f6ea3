"""A range that the shared index may have lost is read again, also if the broker is unreachable at first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from sidecar.adapters.brokers.memory.traits import MEMORY_TRAITS
from sidecar.domain.errors import Outage, Refused
from sidecar.domain.model import Decoded, Event, Record
from sidecar.domain.ports.broker import Lease
from sidecar.domain.position import Partition, Position
from sidecar.pipeline.index_backfill import IndexBackfill
from sidecar.pipeline.pipeline import now_micros
from tests.support.pipeline import Shown

ORDERS = Partition("memory", "orders", 0)


class Judge:
    async def decode_with_schemas(self, records: Sequence[Record]) -> list[Decoded]:
        return [Decoded(one, Event(one.position, None, one.timestamp, 0)) for one in records]


class Broker:
    """A broker with five records, readable after it has raised `errors`."""

    system = "memory"
    traits = MEMORY_TRAITS

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.scans = 0
        self.hold = asyncio.Event()
        self.hold.set()

    async def bounds(self, partition: Partition) -> tuple[int, int]:
        return 0, 5

    async def scan(self, partition: Partition, **_: object) -> AsyncIterator[list[Record]]:
        self.scans += 1
        await self.hold.wait()
        if self.errors:
            raise self.errors.pop(0)
        now = now_micros() // 1000
        yield [Record(Position("memory", "orders", 0, n), None, b"", (), now) for n in range(5)]


async def filler_of(broker: Broker, shown: Shown) -> IndexBackfill:
    filler = IndexBackfill(shown, Judge(), lookback=900.0, max_events=1_000)  # type: ignore[arg-type]
    filler.begin(broker, Lease(ORDERS, 5))  # type: ignore[arg-type]
    while filler.running:
        await asyncio.sleep(0)
    shown.events.clear()
    return filler


@pytest.mark.parametrize("all_of_it", [True, False])
async def test_an_outage_of_the_broker_is_waited_out(all_of_it: bool) -> None:
    broker, shown = Broker(), Shown()
    filler = await filler_of(broker, shown)
    since = shown.since[ORDERS]
    broker.errors = [Outage("away", retry_after=0.01)] * 2
    filler.backfill_all(None if all_of_it else now_micros() // 1000 - 60_000)
    async with asyncio.timeout(30):
        while len(shown.events) < 5:
            await asyncio.sleep(0.01)
    assert shown.since[ORDERS] - since < 60_000
    await filler.close()


async def test_ranges_that_cannot_be_read_again_are_not_covered() -> None:
    broker, shown = Broker(), Shown()
    filler = await filler_of(broker, shown)
    since = shown.since[ORDERS]
    broker.errors = [Refused("you may not read this")]
    filler.backfill_all(now_micros() // 1000 - 60_000)
    async with asyncio.timeout(30):
        while shown.since[ORDERS] < since + 800_000:
            await asyncio.sleep(0.01)
    await filler.close()


async def test_an_unstable_server_starts_no_concurrent_backfills() -> None:
    broker, shown = Broker(), Shown()
    filler = await filler_of(broker, shown)
    broker.hold.clear()
    for _ in range(50):
        filler.backfill_all(now_micros() // 1000 - 60_000)
        await asyncio.sleep(0)
    assert len([task for task in asyncio.all_tasks() if "_again" in repr(task) or "_fill" in repr(task)]) <= 2
    broker.hold.set()
    async with asyncio.timeout(30):
        while len(shown.events) < 5:
            await asyncio.sleep(0.01)
    await filler.close()
