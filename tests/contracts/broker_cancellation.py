"""Contract of brokers: whichever await is canceled or delayed, no record is lost and none is dead-lettered twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from sidecar.domain.errors import Fenced, Outage
from sidecar.domain.ports.broker import Batch, Broker
from sidecar.domain.position import Position
from tests.contracts.batch_reader import Reader, letter, letter_ids
from tests.contracts.broker_harness import BrokerHarness, outgoing
from tests.support.disturbed_calls import DisturbedCall, disturb_each_await, disturbances

PATIENCE = 120.0


class BrokerCancellationContract:
    """Promises about calls that are canceled or delayed."""

    async def test_no_await_of_a_commit_loses_or_doubles_a_record(self, harness, stream, group):
        await Disturber(harness, stream, group).run()

    async def test_no_await_of_a_question_changes_another_answer(self, harness, stream, group):
        await harness.create(stream)
        positions = await harness.produce([outgoing(stream, b"%d" % number) for number in range(5)])
        broker = harness.broker(stream, group=group)
        await broker.start()
        values = [b"%d" % number for number in range(5)]
        (partition,) = await broker.partitions(stream)

        async def scanned() -> list[bytes | None]:
            start, _ = await broker.bounds(partition)
            return [record.value async for records in broker.scan(partition, start=start) for record in records]

        async def read() -> list[bytes | None]:
            records = [await broker.read(position) for position in positions]
            return [None if record is None else record.value for record in records]

        questions: list[Callable[[], Coroutine[Any, Any, Any]]] = [
            scanned,
            read,
            lambda: broker.partitions(stream),
            lambda: broker.bounds(partition),
            lambda: broker.retention(stream),
            broker.streams,
            broker.status,
            broker.groups,
        ]

        async def check(_: DisturbedCall[Any]) -> None:
            assert await asyncio.gather(read(), scanned(), broker.partitions(stream)) == [values, values, [partition]]

        for question in questions:
            await disturb_each_await(question, check)

    async def test_a_start_that_is_disturbed_leaves_the_group_to_the_next_member(self, harness, stream, group):
        await harness.create(stream)
        sent: list[Position] = []
        for how, numbers in disturbances():
            for number in numbers:
                sent += await harness.produce([outgoing(stream, b"v")])
                disturbed = harness.broker(stream, group=group)
                call = DisturbedCall(disturbed.start(), how, number)
                await call.run()
                await DisturbedCall(disturbed.close(), how, number).run()
                await disturbed.close()
                if not call.was_disturbed:
                    break
        broker = harness.broker(stream, group=group)
        await broker.start()
        async with Reader(broker) as reader:
            await reader.read(len(sent))
            assert reader.positions == sent
        await broker.close()


class Disturber:
    """Reads and commits records one by one, every second one with a dead letter, and disturbs each call."""

    def __init__(self, harness: BrokerHarness, stream: str, group: str) -> None:
        self._harness, self._stream, self._group = harness, stream, group
        self._naming = harness.naming(group)
        self._positions: list[Position] = []
        self._deadline = time.monotonic() + PATIENCE

    async def run(self) -> None:
        await self._harness.create(self._stream)
        broker = self._harness.broker(self._stream, group=self._group, max_records=1)
        await broker.start()
        self._batches = aiter(broker.batches())
        for how, numbers in disturbances():
            for number in numbers:
                if not await self._step(broker, how, number):
                    break
        await broker.close()
        rejected = [position for index, position in enumerate(self._positions) if index % 2]
        letters = letter_ids(await self._harness.contents(self._naming.dead_letter_stream(self._stream)))
        assert letters == sorted(f"{self._group}@{position}" for position in rejected)

    async def _step(self, broker: Broker, how: str, number: int) -> bool:
        """Publish two records, and commit them with one await disturbed. Returns False if no await was reached."""
        self._positions += await self._harness.produce([outgoing(self._stream, b"v") for _ in range(2)])
        disturbed = False
        while not await self._all_committed(broker):
            assert time.monotonic() < self._deadline, f"a record was forgotten: {how} {number}"
            batch = await self._fetch(broker, how, number)
            disturbed |= await self._commit(broker, batch, how, number)
        return disturbed

    async def _fetch(self, broker: Broker, how: str, number: int) -> Batch | None:
        """Wait for the next batch, which is disturbed too; None if there is none."""
        call = DisturbedCall(_next(self._batches), how, number % 7)
        running = asyncio.ensure_future(call.run())
        await asyncio.wait({running}, timeout=0.5)
        if not running.done():
            running.cancel()
            await asyncio.wait({running})
            self._batches = aiter(broker.batches())
            return None
        batch = running.result()
        if call.error is not None:
            self._batches = aiter(broker.batches())
        return batch

    async def _commit(self, broker: Broker, batch: Batch | None, how: str, number: int) -> bool:
        """Commit a batch as the pipeline does: again until it is durable, or the lease is lost."""
        if batch is None or not batch.records:
            return False
        indexes = [self._positions.index(record.position) for record in batch.records]
        letters = [
            letter(record, self._naming, self._group)
            for record, index in zip(batch.records, indexes, strict=True)
            if index % 2
        ]
        if number % 5 == 4:
            await DisturbedCall(broker.rewind(batch.lease), how, number % 3 + 1).run()
        call = DisturbedCall(broker.commit([batch], letters), how, number)
        await call.run()
        error = call.error
        while error is not None and not batch.lease.lost:
            try:
                await broker.commit([batch], letters)
                error = None
            except Fenced:
                break
            except Outage:
                await asyncio.sleep(0.05)
        return call.was_disturbed

    async def _all_committed(self, broker: Broker) -> bool:
        return all(status.lag == 0 and not status.pending for status in await broker.status())


async def _next(batches: Any) -> Batch:
    batch: Batch = await anext(batches)
    return batch
