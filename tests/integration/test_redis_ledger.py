"""The ledger on Redis, and dead-lettering of other groups' entries, while everything fails.

Processes, connections, the server and the master behind Sentinels break; also on a Cluster. Each act is carried out
completely and once, or not at all.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from sidecar.adapters.brokers.redis.cluster_key_names import crosses
from sidecar.demo.embedded_valkey import EmbeddedValkey
from sidecar.domain.errors import Outage, Refused
from sidecar.domain.ports.broker import Broker
from sidecar.domain.ports.ledger import LedgerOutcome, LedgerTransaction, LedgerWrite
from tests.contracts.broker_harness import outgoing
from tests.contracts.ledger_contract import LedgerContract
from tests.integration.test_redis_poison_entries import GROUP, NOW, Shop
from tests.integration.test_redis_topologies import ClusterHarness
from tests.servers.valkey_topologies import cluster_of_three, watched_by_a_sentinel
from tests.support.redis import RedisHarness
from tests.support.redis_ledger_worker import acts
from tests.support.tcp_proxy import CuttingProxy

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.valkey


@pytest.fixture
def stream() -> str:
    return f"ledger-{uuid.uuid4().hex[:12]}"


@pytest.fixture
async def harness(valkey: EmbeddedValkey) -> AsyncIterator[RedisHarness]:
    harness = RedisHarness(valkey.url)
    yield harness
    await harness.close()


async def steadily(act: Callable[[], Awaitable[Sequence[LedgerOutcome]]]) -> Sequence[LedgerOutcome]:
    """Repeat after an Outage, as callers of the ledger do."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await act()
            except Outage:
                await asyncio.sleep(0.02)


async def is_whole(harness: RedisHarness, broker: Broker, stream: str, count: int) -> None:
    """Assert that each of these acts was carried out once, and no other; entry and record together."""
    sent = [int(record.value or b"") for record in await harness.contents(stream)]
    assert sorted(sent) == list(range(count))
    keys = [f"{stream} {n}" for n in range(count + 1)]
    assert await broker.ledger.entries(stream, keys) == [b"1"] * count + [None]


async def test_a_process_that_is_killed_at_any_step_of_an_act_leaves_all_of_it_or_nothing(harness, valkey, stream):
    broker = harness.broker(stream, group=f"tracecar.{stream}")
    await broker.start()
    names = {moment: f"{stream}-{moment}" for moment in ("before", "sent", "after")}
    for name in names.values():
        await harness.create(name)
    codes = await asyncio.gather(*(asyncio.to_thread(killed, valkey.url, name, at) for at, name in names.items()))
    assert codes == [-signal.SIGKILL] * 3
    for moment, name in names.items():
        there = 2 if moment == "before" else 3
        await is_whole(harness, broker, name, there)
        done = await broker.ledger.act(acts(name, 5))
        assert all(one.carried_out for one in done)
        assert [len(one.positions) for one in done] == [0] * there + [1] * (5 - there)
        await is_whole(harness, broker, name, 5)


def killed(url: str, stream: str, moment: str) -> int:
    """Return the exit code of a process that kills itself at its third act."""
    command = [sys.executable, "-m", "tests.support.redis_ledger_worker", url, stream, "5", "--kill", "3", moment]
    return subprocess.run(command, cwd=ROOT, check=False, timeout=60).returncode


@pytest.mark.parametrize("direction", ["cut_sent", "cut_answered"])
async def test_connections_that_are_cut_anywhere_lose_and_double_nothing(harness, valkey, stream, direction):
    await harness.create(stream)
    async with CuttingProxy(valkey.port) as proxy:
        broker = harness.broker(stream, group=f"tracecar.{stream}", url=f"redis://127.0.0.1:{proxy.port}/0")
        await broker.start()
        for n in range(30):
            setattr(proxy, direction, n * (29 if direction == "cut_sent" else 3))
            done = await steadily(partial(broker.ledger.act, acts(stream, 3 * n + 3)[3 * n :]))
            assert all(one.carried_out for one in done)
            proxy.cut_sent = proxy.cut_answered = None
        await is_whole(harness, broker, stream, 90)
        await broker.close()
        assert proxy.cuts >= 10


async def test_a_server_killed_during_acts_has_each_act_completely_or_not_at_all(stream):
    with EmbeddedValkey(appendonly="yes", appendfsync="always") as server:
        harness = RedisHarness(server.url)
        await harness.create(stream)
        broker = harness.broker(stream, group=f"tracecar.{stream}")
        await broker.start()
        mine, done = acts(stream, 400), 0
        underway = asyncio.Event()

        async def work() -> None:
            nonlocal done
            for at in range(0, len(mine), 2):
                assert all(one.carried_out for one in await steadily(partial(broker.ledger.act, mine[at : at + 2])))
                done += 2
                if done >= 20:
                    underway.set()

        worker = asyncio.create_task(work())
        for _ in range(3):
            await asyncio.wait_for(underway.wait(), 60)
            underway.clear()
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
        await worker
        await is_whole(harness, broker, stream, 400)
        await harness.close()


async def test_a_failover_loses_nothing_that_was_replicated_and_doubles_nothing(stream):
    with watched_by_a_sentinel("shop") as (master, replica, sentinel):
        before = RedisHarness(master.url)
        shop = Shop(before)
        await before.create(stream)
        await before.create(shop.stream)
        await shop.client.xgroup_create(shop.stream, GROUP, "0")
        url = f"redis+sentinel://127.0.0.1:{sentinel.port}/shop/0"
        broker = before.broker(stream, shop.stream, group=f"tracecar.{stream}", url=url)
        await broker.start()
        exhausting = shop.exhausting(broker, NOW)
        assert all(one.carried_out for one in await broker.ledger.act(acts(stream, 20)))
        taken = await shop.add(1)
        await shop.give(3)
        await asyncio.sleep(0.01)  # it was not touched
        (seen,) = await broker.stuck(GROUP, 1)
        assert await exhausting.poll() == 1
        await shop.client.execute_command("WAIT", 1, 10_000)
        master.kill()

        # An act without a reply is repeated.
        again = await steadily(partial(broker.ledger.act, acts(stream, 40)))
        assert [len(one.positions) for one in again] == [0] * 20 + [1] * 20
        assert all(one.carried_out for one in again)
        await exhausting._take(seen)
        assert await exhausting.poll() == 0
        after = RedisHarness(replica.url)
        await is_whole(after, broker, stream, 40)
        shop.harness = after
        (letter,) = await shop.letters()
        assert letter.id == f"{GROUP}@redis://{shop.stream}/{taken.decode()}"
        pending = await after.client.execute_command("XPENDING", shop.stream, GROUP)
        assert pending[0] == 0
        await broker.close()
        await shop.catalog.close()
        await after.close()
        await before.client.aclose()


# --- Cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[list[EmbeddedValkey]]:
    with cluster_of_three() as nodes:
        yield nodes


@pytest.fixture
async def clustered(cluster: list[EmbeddedValkey]) -> AsyncIterator[ClusterHarness]:
    harness = ClusterHarness("redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in cluster))
    yield harness
    await harness.close()


class TestLedgerOnACluster(LedgerContract):
    """The whole contract, with streams whose names have a hash tag."""

    @pytest.fixture
    async def harness(self, clustered: ClusterHarness) -> ClusterHarness:
        return clustered

    @pytest.fixture
    def stream(self) -> str:
        return f"{{orders-{uuid.uuid4().hex[:12]}}}"


async def test_acts_on_streams_of_any_slot_are_done_once_by_two(clustered, stream):
    names = [f"{stream}-{n}" for n in range(4)]
    for name in names:
        await clustered.create(name)
    both = [clustered.broker(*names, group=f"tracecar.{stream}.{n}") for n in range(2)]
    for broker in both:
        await broker.start()
    mine = [act for part in zip(*(acts(name, 25) for name in names), strict=True) for act in part]

    async def one_by_one(broker: Broker) -> int:
        done = [await broker.ledger.act(mine[at : at + 5]) for at in range(0, len(mine), 5)]
        assert all(one.carried_out for some in done for one in some)
        return sum(len(one.positions) for some in done for one in some)

    assert sum(await asyncio.gather(*map(one_by_one, both))) == 100
    for name in names:
        await is_whole(clustered, both[0], name, 25)


async def test_a_target_in_another_slot_is_refused_and_nothing_is_done(clustered, stream):
    far = next(name for name in (f"far-{n}" for n in range(100)) if crosses(stream, name))
    for name in (stream, far):
        await clustered.create(name)
    broker = clustered.broker(stream, group=f"tracecar.{stream}")
    await broker.start()
    act = LedgerTransaction(stream, (LedgerWrite(f"{stream} 0", None, b"1"),), (outgoing(far, b"v"),))
    with pytest.raises(Refused, match="hash tag"):
        await broker.ledger.act([act])
    assert await clustered.contents(far) == []
    await is_whole(clustered, broker, stream, 0)


async def test_two_who_watch_a_group_on_a_cluster_letter_each_exhausted_entry_once(clustered):
    shop, run = Shop(clustered), clustered.client.execute_command
    await run("XGROUP", "CREATE", shop.stream, GROUP, "0", "MKSTREAM")
    await clustered.produce([outgoing(shop.stream, b'{"eventId": "e"}') for _ in range(20)])
    brokers = [clustered.broker(shop.stream, group=f"tracecar.{shop.stream}.{n}") for n in range(2)]
    for broker in brokers:
        await broker.start()
    ids = [entry[0] for entry in await run("XRANGE", shop.stream, "-", "+")]
    await run("XGROUP", "SETID", shop.stream, GROUP, ids[-1])
    for id in ids:
        await run("XCLAIM", shop.stream, GROUP, "worker-1", 0, id, "FORCE", "RETRYCOUNT", 5)
    await asyncio.sleep(0.01)  # they were not touched
    taken = await asyncio.gather(*(shop.exhausting(broker, NOW).poll() for broker in brokers))
    assert sum(taken) == 20
    letters = await clustered.contents(f"{{{shop.stream}}}.dlt")
    origins = sorted(dict(letter.headers)["tracecar.origin"] or b"" for letter in letters)
    assert origins == sorted(f"redis://{shop.stream}/{id.decode()}".encode() for id in ids)
    assert (await run("XPENDING", shop.stream, GROUP))[0] == 0
    await shop.catalog.close()
