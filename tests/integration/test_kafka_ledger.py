"""Failures of Kafka's ledger: a transaction that is cut short at any request is found once by readers of committed
records."""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
from aiokafka.cluster import ClusterMetadata

from sidecar.adapters.brokers.kafka import cluster_client
from sidecar.adapters.brokers.kafka.broker import KafkaBroker
from sidecar.adapters.brokers.kafka.cluster_client import KafkaCluster
from sidecar.demo.embedded_kafka import EmbeddedKafka
from sidecar.domain.errors import Outage, Refused
from sidecar.domain.ports.ledger import Ledger, LedgerOutcome, LedgerTransaction, LedgerWrite
from sidecar.domain.stream_names import LEDGER
from tests.contracts.test_broker_kafka import KafkaHarness
from tests.servers.kafka import create_topic, delete_topic, unique
from tests.support.conditions import until
from tests.support.kafka_ledger_worker import acts
from tests.support.tcp_proxy import CuttingProxy

ROOT = Path(__file__).parents[2]
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


REQUESTS = ("AddPartitionsToTxnRequest", "ProduceRequest", "EndTxnRequest")
MOMENTS = ("before", "after")


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("request_name", REQUESTS)
async def test_an_act_that_is_cancelled_is_done_once_when_asked_for_again(harness, monkeypatch, request_name, moment):
    broker, stream = await started(harness)
    await broker.ledger.act([LedgerTransaction(None, (LedgerWrite(f"{stream} first", None, b"1"),))])
    there = asyncio.Event()
    with monkeypatch.context() as patch:
        patch.setattr(KafkaCluster, "ask", _stuck(KafkaCluster.ask, request_name, moment, there))
        acting = asyncio.create_task(broker.ledger.act(acts(stream, 3)))
        await asyncio.wait_for(there.wait(), 30)
        acting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await acting
    assert all(done.carried_out for done in await broker.ledger.act(acts(stream, 4)))
    assert [record.value for record in await harness.contents(stream)] == [b"0", b"1", b"2", b"3"]


def _stuck(ask: Callable, request_name: str, moment: str, there: asyncio.Event) -> Callable:
    """Return a `KafkaCluster.ask` that never returns from such a request."""

    async def asking(self: KafkaCluster, node: int, sent: object, *more: object) -> object:
        mine = type(sent).__name__ == request_name
        answer = None if mine and moment == "before" else await ask(self, node, sent, *more)
        if mine:
            there.set()
            await asyncio.Event().wait()
        return answer

    return asking


async def test_a_ledger_that_is_full_refuses_before_anything_is_published(harness):
    broker, stream = await started(harness)
    await broker.ledger.act([LedgerTransaction(None, (LedgerWrite(f"{stream} first", None, b"1"),))])
    view = broker._running.ledger._cache
    enough, view._most = view._most, len(view.entries) + 1
    for _ in range(2):
        with pytest.raises(Refused, match=r"dead_letters\.ledger_entries"):
            await broker.ledger.act(acts(stream, 3))
    assert await harness.contents(stream) == []
    view._most = enough
    assert all(done.carried_out for done in await broker.ledger.act(acts(stream, 3)))
    assert [record.value for record in await harness.contents(stream)] == [b"0", b"1", b"2"]


def deleted(servers: str) -> None:
    delete_topic(servers, LEDGER)


def made_anew(servers: str) -> None:
    delete_topic(servers, LEDGER)
    create_topic(servers, LEDGER, cleanup_policy="compact")


async def values(harness: KafkaHarness, stream: str) -> list[bytes | None]:
    return [record.value for record in await harness.contents(stream)]


async def all_known(ledger: Ledger, stream: str, count: int) -> bool:
    found = await ledger.entries(stream, [f"{stream} {n}" for n in range(count)])
    return found == [b"1"] * count


@pytest.mark.parametrize("sure", [True, False], ids=["within a second", "later"])
@pytest.mark.parametrize("lose", [made_anew, deleted])
async def test_a_ledger_that_was_lost_is_restored_and_no_act_is_repeated(harness, monkeypatch, lose, sure):
    monkeypatch.setattr(cluster_client, "RETRY_TIMEOUT_S", 5.0)
    broker, stream = await started(harness)
    assert all(done.carried_out for done in await broker.ledger.act(acts(stream, 3)))
    lose(harness.servers)
    view = broker._running.ledger._cache
    view._sure_until = math.inf if sure else 0.0
    done = await broker.ledger.act(acts(stream, 5))
    assert [len(one.positions) for one in done] == [0, 0, 0, 1, 1]
    assert await values(harness, stream) == [b"0", b"1", b"2", b"3", b"4"]
    fresh, _ = await started(harness)
    assert await all_known(fresh.ledger, stream, 5)
    assert await fresh.ledger.ledger_started_at(stream) == await broker.ledger.ledger_started_at(stream) is not None


@pytest.mark.parametrize("looks_first", [True, False])
async def test_a_recreated_ledger_that_grew_is_not_mixed_with_the_old_one(harness, looks_first):
    made_anew(harness.servers)  # a short ledger
    broker, stream = await started(harness)
    await broker.ledger.act(acts(stream, 3))
    made_anew(harness.servers)
    other, theirs = await started(harness)
    assert await other.ledger.entries(stream, [f"{stream} 0"]) == [None], "it cannot know"
    for _ in range(4):  # far beyond the end of the first one's reading
        await other.ledger.act([LedgerTransaction(None, (LedgerWrite(unique(theirs), None, b"x" * 10),))])
    await other.ledger.act(acts(theirs, 3))
    if looks_first:
        assert await all_known(broker.ledger, theirs, 3)
        assert await all_known(broker.ledger, stream, 3)
        assert await all_known(other.ledger, stream, 3), "looking put them back"
    done = await broker.ledger.act([*acts(stream, 4), *acts(theirs, 4)])
    assert [len(one.positions) for one in done] == [0, 0, 0, 1, 0, 0, 0, 1]
    assert await values(harness, stream) == await values(harness, theirs) == [b"0", b"1", b"2", b"3"]
    assert await all_known(other.ledger, stream, 4)
    assert await all_known(other.ledger, theirs, 4)


async def test_a_new_ledger_of_the_same_length_is_noticed(harness):
    """The new ledger is as long as the old one, and no record follows: a reader is wrong for a second at most."""
    broker, stream = await started(harness)
    made_anew(harness.servers)
    await broker.ledger.act(acts(stream, 1))
    before = await broker.ledger.ledger_started_at(stream)
    await until(lambda: _at(broker, 4))
    made_anew(harness.servers)
    other, theirs = await started(harness)
    await other.ledger.act(acts(theirs, 1))
    await until(lambda: _at(other, 4))
    await until(lambda: all_known(broker.ledger, theirs, 1))
    assert await broker.ledger.ledger_started_at(stream) == await other.ledger.ledger_started_at(stream) != before
    assert await all_known(other.ledger, stream, 1)


async def _at(broker: KafkaBroker, end: int) -> bool:
    """Build a view that is complete up to this offset: entries, each followed by the end of its transaction."""
    await broker.ledger.entries(None, [])
    return broker._running.ledger._cache.next == end


async def test_without_the_right_to_restore_a_lost_ledger_is_still_known(harness, monkeypatch):
    broker, stream = await started(harness)
    await broker.ledger.act(acts(stream, 3))
    ledger = broker._running.ledger
    tries = 0

    async def refused() -> None:
        nonlocal tries
        tries += 1
        raise Refused("no")

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "_identity", None)
        patch.setattr(ledger, "_claim", refused)
        made_anew(harness.servers)
        await until(lambda: _knows_of_a_loss(broker))
        for _ in range(3):
            assert await all_known(broker.ledger, stream, 3)
    assert tries == 1
    ledger._identity = None
    assert [len(one.positions) for one in await broker.ledger.act(acts(stream, 4))] == [0, 0, 0, 1]


async def _knows_of_a_loss(broker: KafkaBroker) -> bool:
    await broker.ledger.entries(None, [])
    return bool(broker._running.ledger._cache.lost)


async def test_an_entry_that_is_too_large_is_refused_with_what_to_do(harness):
    broker, stream = await started(harness)
    with pytest.raises(Refused, match=f"{LEDGER} does not accept a record of .* max.message.bytes"):
        await broker.ledger.act([LedgerTransaction(None, (LedgerWrite(stream, None, b"x" * 2_000_000),))])
    assert await broker.ledger.entries(None, [stream]) == [None]


async def test_a_ledger_topic_of_another_creator_gets_its_first_entry(harness):
    made_anew(harness.servers)
    broker, stream = await started(harness)
    assert await broker.ledger.ledger_started_at(stream) is None
    await broker.ledger.act(acts(stream, 1))
    assert await broker.ledger.ledger_started_at(stream) is not None


class Process(subprocess.Popen[str]):
    """A process that acts on the numbers below `count`, once it is told to start."""

    def __init__(self, servers: str, stream: str, count: int, step: int, *armed: str) -> None:
        arguments = [servers, stream, str(count), str(step), *(("--signal", *armed) if armed else ())]
        command = [sys.executable, "-m", "tests.support.kafka_ledger_worker", *arguments]
        super().__init__(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ready(self) -> None:
        assert self.stdout is not None
        assert self.stdout.readline() == "ready\n"

    def go(self) -> None:
        assert self.stdin is not None
        self.stdin.write("\n")
        self.stdin.flush()

    def end(self) -> str:
        """Return its output."""
        try:
            return self.communicate(timeout=60)[0]
        finally:
            self.kill()


async def test_a_process_that_is_killed_anywhere_in_an_act_leaves_all_of_it_or_nothing(harness):
    """One process for each step, all at the same time, except the one whose act is decided at its end. Another
    process repeats the same acts."""
    decided = ("EndTxnRequest", "after")
    broker, stream = await started(harness)
    await broker.ledger.act([LedgerTransaction(None, (LedgerWrite(f"{stream} first", None, b"1"),))])
    with contextlib.ExitStack() as stack:
        processes: dict[tuple[str, str], tuple[str, Process]] = {}
        for step in [(request, moment) for request in REQUESTS for moment in MOMENTS]:
            name = unique("killed")
            await harness.create(name)
            process = stack.enter_context(Process(harness.servers, name, 3, 3, *step, "KILL"))
            stack.callback(process.kill)
            processes[step] = name, process
        for _, process in processes.values():
            await asyncio.to_thread(process.ready)
        processes[decided][1].go()
        await asyncio.to_thread(processes[decided][1].wait)
        for step, (_, process) in processes.items():
            if step != decided:
                process.go()
        for step, (name, process) in processes.items():
            await asyncio.to_thread(process.end)
            assert process.returncode == -signal.SIGKILL
            done = await broker.ledger.act(acts(name, 4))
            assert [len(one.positions) for one in done] == [step != decided] * 3 + [1]
            assert await values(harness, name) == [b"0", b"1", b"2", b"3"]
            assert await all_known(broker.ledger, name, 4)


async def test_two_processes_that_do_the_same_do_it_once_and_both_end(harness):
    _, stream = await started(harness)
    with contextlib.ExitStack() as stack:
        both = [stack.enter_context(Process(harness.servers, stream, 200, 4)) for _ in range(2)]
        for process in both:
            stack.callback(process.kill)
        for process in both:
            await asyncio.to_thread(process.ready)
        for process in both:
            process.go()
        counts = [int(said) for said in await asyncio.gather(*(asyncio.to_thread(one.end) for one in both))]
    assert sum(counts) == 200
    assert sorted(int(value or b"") for value in await values(harness, stream)) == list(range(200))


@pytest.mark.parametrize("direction", ["cut_sent", "cut_answered"])
async def test_connections_that_are_cut_anywhere_lose_and_double_nothing(harness, kafka, monkeypatch, direction):
    port = int(kafka.bootstrap_servers.rpartition(":")[2])
    async with CuttingProxy(port) as proxy:
        with monkeypatch.context() as patch:
            # The server advertises its own address, so the proxy is in front of that too.
            metadata = ClusterMetadata.broker_metadata
            patch.setattr(
                ClusterMetadata, "broker_metadata", lambda self, node: metadata(self, node)._replace(port=proxy.port)
            )
            broker, stream = await started(harness)
            for n in range(20):
                setattr(proxy, direction, n * (31 if direction == "cut_sent" else 17))
                mine = acts(stream, 3 * n + 3)[3 * n :]
                done = await _steadily(partial(broker.ledger.act, mine))
                assert all(one.carried_out for one in done)
                proxy.cut_sent = proxy.cut_answered = None
            await broker.close()
        assert proxy.cuts >= 10
    assert await values(harness, stream) == [b"%d" % n for n in range(60)]


async def _steadily(act: Callable[[], Awaitable[list[LedgerOutcome]]]) -> list[LedgerOutcome]:
    """Repeat after an Outage, as callers of the ledger do."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await act()
            except Outage:
                await asyncio.sleep(0.05)


async def test_a_server_that_crashes_and_comes_back_in_the_middle_of_acts(harness, kafka):
    broker, stream = await started(harness)
    mine = acts(stream, 200)
    done = 0
    underway, back = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        nonlocal done
        while done < len(mine) or not back.is_set():
            part = mine[done : done + 1] or mine[-1:]
            assert all(one.carried_out for one in await _steadily(partial(broker.ledger.act, part)))
            done = min(done + 1, len(mine))
            if done == 10:
                underway.set()

    worker = asyncio.create_task(work())
    await asyncio.wait_for(underway.wait(), 60)
    await asyncio.to_thread(kafka.kill)
    await asyncio.to_thread(kafka.start)
    assert done < len(mine)
    back.set()
    await worker
    assert await values(harness, stream) == [b"%d" % n for n in range(200)]
    fresh, _ = await started(harness)
    assert await all_known(fresh.ledger, stream, 200)
