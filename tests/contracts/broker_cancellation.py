"""Contract of brokers: after any cancellation, no record is lost and none is dead-lettered twice."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from typing import Any

from sidecar.domain.errors import Fenced, Outage
from sidecar.domain.ports.broker import Batch, Broker
from tests.contracts.batch_reader import letter, letter_ids
from tests.contracts.broker_harness import BrokerHarness, outgoing

PATIENCE = 90.0


async def _cut(work: Coroutine[Any, Any, Any], steps: int, wait: float) -> bool:
    """Run a call, and cancel it after some steps of the event loop and some seconds.

    Returns True if the call ended before.
    """
    task = asyncio.ensure_future(work)
    for _ in range(steps):
        if task.done():
            break
        await asyncio.sleep(0)
    if not task.done() and wait:
        await asyncio.wait({task}, timeout=wait)
    if task.done():
        with contextlib.suppress(Fenced, Outage):
            task.result()
            return True
        return False
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return False


async def cancel_every_await(harness: BrokerHarness, stream: str, group: str, *, records: int, wait: float) -> None:
    """Read `records` records one by one, each second one with a dead letter, and cancel calls on the way.

    Each commit, rewind and wait for a batch is canceled a little later than the one before, after up to `wait` seconds.
    """
    await harness.create(stream)
    positions = await harness.produce([outgoing(stream, b"%d" % number) for number in range(records)])
    broker = harness.broker(stream, group=group, max_records=1)
    await broker.start()
    number = 0
    iterator = aiter(broker.batches())
    deadline = time.monotonic() + PATIENCE
    while not await _all_committed(broker, records):
        assert time.monotonic() < deadline, "a record was forgotten"
        number += 1
        fetched = asyncio.ensure_future(anext(iterator))
        if number % 3 == 0:
            for _ in range(number % 5):
                await asyncio.sleep(0)
            fetched.cancel()
        await asyncio.wait({fetched}, timeout=0.5)
        if not fetched.done():
            fetched.cancel()
            await asyncio.wait({fetched})
        if fetched.cancelled() or fetched.exception() is not None:
            iterator = aiter(broker.batches())
        else:
            await _pass(broker, harness, group, fetched.result(), number % 7, number % 23 / 23 * wait)
    await broker.close()
    rejected = [str(position) for position in positions if int(position.offset) % 2]
    letters = letter_ids(await harness.contents(harness.naming(group).dead_letter_stream(stream)))
    assert sorted(letters) == sorted(f"{group}@{position}" for position in rejected)


async def _all_committed(broker: Broker, records: int) -> bool:
    (status,) = await broker.status()
    return status.committed is not None and status.lag == 0 and status.end >= records


async def _pass(broker: Broker, harness: BrokerHarness, group: str, batch: Batch, steps: int, wait: float) -> None:
    """Commit a batch as the pipeline does: retry until it is durable, or the lease is lost."""
    if not batch.records:
        return
    naming = harness.naming(group)
    letters = [letter(record, naming, group) for record in batch.records if record.position.offset % 2]
    await _cut(broker.rewind(batch.lease), steps, 0) if steps == 6 else None
    done = await _cut(broker.commit([batch], letters), steps, wait)
    while not done and not batch.lease.lost:
        try:
            await broker.commit([batch], letters)
            done = True
        except Fenced:
            return
        except Outage:
            await asyncio.sleep(0.05)
