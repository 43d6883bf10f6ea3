"""Kafka servers that do not answer or are killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from sidecar.adapters.brokers.kafka import cluster_client
from sidecar.demo.embedded_kafka import EmbeddedKafka
from sidecar.domain.errors import Fenced, Outage
from tests.contracts.batch_reader import by_lease, letter, letter_ids
from tests.contracts.test_broker_kafka import KafkaHarness
from tests.servers import kafka as server
from tests.support.conditions import until
from tests.support.kafka_broker import commit_succeeds, records_of, start_reader

pytestmark = pytest.mark.kafka


@pytest.fixture
async def harness(kafka: EmbeddedKafka) -> AsyncIterator[KafkaHarness]:
    harness = KafkaHarness(kafka.bootstrap_servers)
    yield harness
    await harness.close()


@pytest.fixture
def topic(kafka: EmbeddedKafka) -> str:
    return server.create_topic(kafka.bootstrap_servers, server.unique("orders"))


@pytest.fixture
def group() -> str:
    return server.unique("tracecar")


@pytest.fixture
def paused(kafka: EmbeddedKafka, monkeypatch: pytest.MonkeyPatch):
    """The server, to be paused; it is resumed after the test."""
    monkeypatch.setattr(cluster_client, "RETRY_TIMEOUT_S", 0.5)
    yield kafka
    kafka.resume()


@pytest.mark.parametrize("bad", [True, False])
async def test_a_commit_without_an_answer_is_repeated_safely(harness, topic, group, paused, bad):
    """The outcome of the commit is unknown. Repeating it, or reading again, resolves it; letters exist once."""
    await harness.produce(records_of(topic, [b"1", b"2"]))
    broker = harness.broker(topic, group=group, impatient=True)
    naming = harness.naming(group)
    async with AsyncExitStack() as stack:
        reader = await start_reader(broker, stack)
        records = await reader.read(2)
        await broker.commit([reader.batches[0]], [])
        (batches,) = by_lease(reader.batches)
        letters = [letter(record, naming, group) for record in records] if bad else []
        server.create_topic(harness.servers, f"{topic}.dlt")
        paused.pause()
        with pytest.raises((Outage, Fenced)):
            await broker.commit(batches, letters)
        paused.resume()
        try:
            await until(lambda: commit_succeeds(broker, batches, letters))
        except Fenced:
            end = batches[-1].next_offset
            await reader.until(
                lambda r: r.batches[-1].lease is not batches[0].lease and r.batches[-1].next_offset == end
            )
            again = [batch for batch in reader.batches if batch.lease is not batches[0].lease]
            dead_lettered = (
                [letter(record, naming, group) for batch in again for record in batch.records] if bad else []
            )
            await broker.commit(again, dead_lettered)

        async def lag() -> bool:
            (status,) = await broker.status()
            return status.lag == 0

        await until(lag)
    found = await harness.contents(f"{topic}.dlt")
    assert letter_ids(found) == (sorted(f"{group}@{record.position}" for record in records) if bad else [])


async def test_three_nodes_are_killed_one_after_the_other(group):
    """Leaders and coordinators move; every record is read and dead-lettered once."""
    with EmbeddedKafka(nodes=3, heap="256m", group_min_session_timeout_ms=500) as cluster:
        harness = KafkaHarness(cluster.bootstrap_servers)
        topic = server.create_topic(harness.servers, server.unique("moved"), 3, copies=3)
        naming = harness.naming(group)
        broker = harness.broker(topic, group=group, max_records=5)
        wanted: list[str] = []
        stop = asyncio.Event()

        async def work() -> None:
            while not stop.is_set():
                try:
                    await broker.start()
                    async for batch in broker.batches():
                        letters = [letter(record, naming, group) for record in batch.records]
                        while batch.records:
                            try:
                                await broker.commit([batch], letters)
                            except Fenced:
                                break
                            except Outage:
                                continue
                            break
                except Outage:
                    await broker.close()

        worker = asyncio.ensure_future(work())
        for node in range(2):
            sent = [record for n in range(3) for record in records_of(topic, [b"v"] * 20, n)]
            wanted += [f"{group}@{position}" for position in await harness.produce(sent)]
            await asyncio.to_thread(cluster.kill, node)
            sent = [record for n in range(3) for record in records_of(topic, [b"w"] * 20, n)]
            wanted += [f"{group}@{position}" for position in await harness.produce(sent)]
            await asyncio.to_thread(cluster.start, node)

        async def all_there() -> bool:
            return len(letter_ids(await harness.contents(f"{topic}.dlt"))) >= len(wanted)

        await until(all_there)
        stop.set()
        worker.cancel()
        await asyncio.wait((worker,))
        assert letter_ids(await harness.contents(f"{topic}.dlt")) == sorted(wanted)
        await harness.close()
