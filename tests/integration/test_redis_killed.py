"""Members of a Redis group are killed repeatedly: each rejected entry is dead-lettered once, and no entry stays
pending."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest

from sidecar.adapters.brokers.redis.entry_codec import pairs
from sidecar.demo.embedded_valkey import EmbeddedValkey
from sidecar.domain.position import Position
from tests.contracts.batch_reader import letter_ids
from tests.contracts.broker_harness import outgoing
from tests.support.conditions import until
from tests.support.redis import RedisHarness

pytestmark = pytest.mark.valkey
KILLS = 10


@pytest.fixture
async def harness(valkey: EmbeddedValkey) -> AsyncIterator[RedisHarness]:
    harness = RedisHarness(valkey.url)
    yield harness
    await harness.close()


class Member:
    """A process of `tests.support.redis_worker` that is restarted whenever it was killed."""

    def __init__(self, *arguments: str) -> None:
        self._command = [sys.executable, "-m", "tests.support.redis_worker", *arguments]
        self._process = self._spawn()

    def _spawn(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def again(self) -> None:
        self._process = self._spawn()


@contextmanager
def members(count: int, *arguments: str) -> Iterator[list[Member]]:
    running = [Member(*arguments) for _ in range(count)]
    try:
        yield running
    finally:
        for member in running:
            member.kill()


async def all_committed(harness: RedisHarness, stream: str, group: str) -> bool:
    groups = [pairs(flat) for flat in await harness.client.execute_command("XINFO", "GROUPS", stream)]
    newest = await harness.client.execute_command("XREVRANGE", stream, "+", "-", "COUNT", 1)
    states = [state for state in groups if state[b"name"] == group.encode()]
    return [(state[b"pending"], state[b"last-delivered-id"]) for state in states] == [(0, newest[0][0])]


async def test_killed_members_letter_each_rejected_entry_once(harness: RedisHarness, valkey: EmbeddedValkey) -> None:
    stream, group = f"killed-{uuid.uuid4().hex[:8]}", f"group-{uuid.uuid4().hex[:8]}"
    chance = random.Random(7)
    await harness.create(stream)
    positions: list[Position] = []
    done = asyncio.Event()

    async def produce() -> None:
        number = 0
        while not done.is_set():
            values = [b"bad %d" % n if n % 3 == 0 else b"good %d" % n for n in range(number, number + 25)]
            sent = await harness.produce([outgoing(stream, value, ("n", b"1"), ("n", b"2")) for value in values])
            positions.extend(p for p, value in zip(sent, values, strict=True) if value.startswith(b"bad"))
            number += 25
            await asyncio.sleep(0.005)

    producing = asyncio.ensure_future(produce())
    with members(2, valkey.url, stream, group) as running:
        for _ in range(KILLS):
            seen = len(await harness.contents(f"{stream}.dlt"))
            wanted = seen + chance.randrange(1, 200)

            async def more(wanted: int = wanted) -> bool:
                return len(await harness.contents(f"{stream}.dlt")) >= wanted

            await until(more)
            victim = chance.choice(running)
            victim.kill()
            victim.again()
        done.set()
        await producing
        await until(lambda: all_committed(harness, stream, group))
    letters = await harness.contents(f"{stream}.dlt")
    assert letter_ids(letters) == sorted(f"{group}@{position}" for position in positions)
    assert all(one.value is not None and one.value.startswith(b"bad") for one in letters)
    assert all(one.headers[:2] == (("n", b"1"), ("n", b"2")) for one in letters)
