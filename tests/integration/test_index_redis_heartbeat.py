"""One error does not remove a member from the list: an error of its broker, its own, or a foreign entry in the key."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace
from redis import Redis

from sidecar.adapters.index.redis import heartbeat
from sidecar.adapters.index.redis.heartbeat import build_empty_message
from sidecar.adapters.index.redis.index import RedisIndex
from sidecar.demo.embedded_valkey import EmbeddedValkey
from sidecar.domain.errors import Fenced, NotFoundError, TracecarError
from sidecar.domain.periodic_task import run_periodically
from sidecar.domain.position import Partition
from tests.contracts.index_contract import JOIN

pytestmark = pytest.mark.valkey


@pytest.fixture
async def index(valkey: EmbeddedValkey) -> AsyncIterator[RedisIndex]:
    index = RedisIndex(valkey.url, join=JOIN, max_flow=10_000, prefix=uuid.uuid4().hex)
    yield index
    await index.close()


@pytest.mark.parametrize("error", [NotFoundError("no such group"), Fenced("another's"), ValueError("a mistake")])
async def test_a_member_without_news_keeps_its_heartbeat(index, error):
    said = [b'{"first": 1}']

    async def says() -> bytes:
        if not said:
            raise error
        return said.pop()

    await index.beating.beat(says)
    await asyncio.sleep(0.01)
    await index.beating.beat(says)
    (beat,) = index.heartbeats
    assert (beat.member, beat.says) == (index.member, b'{"first": 1}')
    assert beat.old_ms == 0


async def test_a_broker_that_does_not_answer_does_not_silence_the_member(index, monkeypatch):
    monkeypatch.setattr(heartbeat, "MESSAGE_TIMEOUT_S", 0.05)
    await index.beating.beat(asyncio.Event().wait)
    assert [beat.member for beat in index.heartbeats] == [index.member]


async def test_heartbeats_that_are_not_received_age(index):
    await index.beating.beat(build_empty_message)
    (beat,) = index.heartbeats
    assert replace(beat, received_at=beat.received_at - 60).age_ms >= 60_000


async def test_foreign_entries_among_the_members_are_ignored(index, valkey):
    orders = Partition("kafka", "orders", 0)
    index.covering(orders, 5)
    await index.beating.beat(build_empty_message)
    with Redis(port=valkey.port) as client:
        members, covered = index.shards.keys.single(b"m"), index.shards.keys.single(b"c")
        client.hset(members, "another", "not a heartbeat")
        client.hset(covered, mapping={"something": "", client.hkeys(covered)[0]: "neither"})
        await index.beating.beat(build_empty_message)
        assert [beat.member for beat in index.heartbeats] == [index.member]
        assert index.coverage().partitions == [orders]
        await index.beating.beat(build_empty_message)
        assert client.hlen(members) == client.hlen(covered) == 1


@pytest.mark.parametrize("error", [TracecarError("any"), NotFoundError("gone"), ZeroDivisionError("a mistake")])
async def test_periodic_work_continues_after_an_error(error):
    done, twice = 0, asyncio.Event()

    async def once() -> None:
        nonlocal done
        done += 1
        if done == 1:
            raise error
        twice.set()

    task = asyncio.ensure_future(run_periodically("trying", once, 0.0))
    await twice.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert done >= 2
