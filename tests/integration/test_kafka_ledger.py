"""Kafka's ledger in trouble: what is cut short, at any request, is found once by a reader of what was committed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from sidecar.brokers.kafka import KafkaBroker
from sidecar.brokers.kafka_cluster import Cluster
from sidecar.demo.embedded_kafka import EmbeddedKafka
from sidecar.errors import Refused
from sidecar.model import Outgoing
from sidecar.ports import Act, Entry
from tests.contracts.test_broker_kafka import KafkaHarness
from tests.servers.kafka import unique

pytestmark = pytest.mark.kafka


@pytest.fixture
async def harness(kafka: EmbeddedKafka) -> AsyncIterator[KafkaHarness]:
    harness = KafkaHarness(kafka.bootstrap_servers)
    yield harness
    await harness.close()


async def started(harness: KafkaHarness) -> tuple[KafkaBroker, str]:
    stream = unique("ledger")
    await harness.create(stream)
    broker = harness.broker(stream, group=unique("tracecar"))
    await broker.start()
    return broker, stream


def acts(stream: str, count: int) -> list[Act]:
    return [
        Act(stream, (Entry(f"{stream} {n}", None, b"1"),), (Outgoing(stream, None, b"%d" % n, (), partition=0),))
        for n in range(count)
    ]


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("request_name", ["AddPartitionsToTxnRequest", "ProduceRequest", "EndTxnRequest"])
async def test_an_act_that_is_cancelled_is_done_once_when_asked_for_again(harness, monkeypatch, request_name, moment):
    broker, stream = await started(harness)
    await broker.ledger.act([Act(None, (Entry(f"{stream} first", None, b"1"),))])
    there = asyncio.Event()
    with monkeypatch.context() as patch:
        patch.setattr(Cluster, "ask", _stuck(Cluster.ask, request_name, moment, there))
        acting = asyncio.create_task(broker.ledger.act(acts(stream, 3)))
        await asyncio.wait_for(there.wait(), 30)
        acting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await acting
    assert all(done.carried_out for done in await broker.ledger.act(acts(stream, 4)))
    assert [record.value for record in await harness.contents(stream)] == [b"0", b"1", b"2", b"3"]


def _stuck(ask: Callable, request_name: str, moment: str, there: asyncio.Event) -> Callable:
    """`Cluster.ask` that never returns from such a request."""

    async def asking(self: Cluster, node: int, sent: object, *more: object) -> object:
        mine = type(sent).__name__ == request_name
        answer = None if mine and moment == "before" else await ask(self, node, sent, *more)
        if mine:
            there.set()
            await asyncio.Event().wait()
        return answer

    return asking


async def test_a_ledger_that_is_full_refuses_before_anything_is_published(harness):
    broker, stream = await started(harness)
    await broker.ledger.act([Act(None, (Entry(f"{stream} first", None, b"1"),))])
    view = broker._now.ledger._view
    enough, view._most = view._most, len(view.entries) + 1
    for _ in range(2):
        with pytest.raises(Refused, match=r"dead_letters\.ledger_entries"):
            await broker.ledger.act(acts(stream, 3))
    assert await harness.contents(stream) == []
    view._most = enough
    assert all(done.carried_out for done in await broker.ledger.act(acts(stream, 3)))
    assert [record.value for record in await harness.contents(stream)] == [b"0", b"1", b"2"]
