"""A process that writes to the ledger of a Redis server, for tests that kill it.

For each number below `count` it writes an entry and a record with that number, each by a call of its own, and prints
how many records it published. `--kill N MOMENT` kills it at its N-th call, `before` it is sent, when it is `sent`
(before its reply) or `after`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from collections.abc import Sequence
from typing import Any

from sidecar.adapters.brokers.redis.broker import RedisBroker
from sidecar.adapters.brokers.redis.lua_scripts import LEDGER_TRANSACTIONS
from sidecar.adapters.brokers.redis.traits import REDIS_TRAITS
from sidecar.adapters.redis_client.connection_pool import Command, RedisConnection
from sidecar.config.schema import Config, RedisConfig, SourcesConfig
from sidecar.config.value_types import StartPosition
from sidecar.domain.broker_traits import register_traits
from sidecar.domain.model import Outgoing
from sidecar.domain.ports.ledger import LedgerTransaction, LedgerWrite

register_traits(REDIS_TRAITS)


def acts(stream: str, count: int) -> list[LedgerTransaction]:
    return [
        LedgerTransaction(stream, (LedgerWrite(f"{stream} {n}", None, b"1"),), (Outgoing(stream, None, b"%d" % n, ()),))
        for n in range(count)
    ]


def arm(act: int, moment: str) -> None:
    calls, seen = RedisConnection._calls, 0

    async def killing(self: RedisConnection, commands: Sequence[Command]) -> list[Any]:
        nonlocal seen
        seen += commands[0][:2] == ("EVALSHA", LEDGER_TRANSACTIONS.sha)
        if seen < act:
            return await calls(self, commands)
        if moment == "sent":
            await self._connection.send_packed_command(self._connection.pack_command(*commands[0]))
            await self._connection._reader.read(1)
        elif moment == "after":
            await calls(self, commands)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    RedisConnection._calls = killing  # type: ignore[method-assign]


async def work(url: str, stream: str, count: int) -> None:
    group = f"tracecar.{stream}"
    naming = Config(service="acting", sources=SourcesConfig()).stream_names(group)
    broker = RedisBroker(
        RedisConfig(url=url, streams=[stream], group=group, start=StartPosition("earliest")), "acting", naming
    )
    await broker.start()
    published = 0
    for act in acts(stream, count):
        (done,) = await broker.ledger.act([act])
        assert done.carried_out
        published += len(done.positions)
    print(published, flush=True)
    await broker.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("stream")
    parser.add_argument("count", type=int)
    parser.add_argument("--kill", nargs=2, metavar=("N", "MOMENT"))
    given = parser.parse_args()
    if given.kill:
        arm(int(given.kill[0]), given.kill[1])
    asyncio.run(work(given.url, given.stream, given.count))


if __name__ == "__main__":
    main()
