"""A process that writes to the ledger, for tests that kill it or run two at the same time.

For each number below `count` it writes an entry and a record with that number. It prints `ready`, waits for a line,
writes in parts of `step`, and at the end prints how many records it published. `--signal` as for `kafka_worker`.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

from sidecar.adapters.brokers.kafka.broker import KafkaBroker
from sidecar.config import schema as config
from sidecar.config.schema import Config, SourcesConfig
from sidecar.domain.model import Outgoing
from sidecar.domain.ports.ledger import LedgerTransaction, LedgerWrite
from tests.support.kafka_worker import arm


def acts(stream: str, count: int) -> list[LedgerTransaction]:
    return [
        LedgerTransaction(
            stream, (LedgerWrite(f"{stream} {n}", None, b"1"),), (Outgoing(stream, None, b"%d" % n, (), partition=0),)
        )
        for n in range(count)
    ]


async def work(servers: str, stream: str, count: int, step: int) -> None:
    group = f"tracecar.{stream}"
    source = config.KafkaConfig(bootstrap_servers=servers, topics=[stream], group_id=group)
    broker = KafkaBroker(source, "acting", Config(service="acting", sources=SourcesConfig()).stream_names(group))
    await broker.start()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    published = 0
    mine = acts(stream, count)
    for at in range(0, count, step):
        done = await broker.ledger.act(mine[at : at + step])
        assert all(one.carried_out for one in done)
        published += sum(len(one.positions) for one in done)
    print(published, flush=True)
    await broker.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("servers")
    parser.add_argument("stream")
    parser.add_argument("count", type=int)
    parser.add_argument("step", type=int)
    parser.add_argument("--signal", nargs=3, metavar=("REQUEST", "MOMENT", "SIGNAL"))
    given = parser.parse_args()
    if given.signal:
        request, moment, number = given.signal
        arm(request, moment, signal.Signals[f"SIG{number}"])
    asyncio.run(work(given.servers, given.stream, given.count, given.step))


if __name__ == "__main__":
    main()
