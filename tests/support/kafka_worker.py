"""A member of a group as a process, for tests that kill it. It dead-letters every record that begins with `bad`.

`--signal` sends itself a signal at a request of its next transaction, before it is sent or after its reply, like a kill
(KILL) or a long pause (STOP) at the worst moment.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys

from sidecar.adapters.brokers.kafka.broker import KafkaBroker
from sidecar.adapters.brokers.kafka.cluster_client import KafkaCluster
from sidecar.config import schema as config
from sidecar.config.schema import Config, SourcesConfig
from sidecar.config.value_types import StartPosition
from sidecar.domain.errors import Fenced, Outage
from tests.contracts.batch_reader import letter


def arm(request: str, moment: str, number: signal.Signals) -> None:
    """Send this process a signal at the first such request."""
    ask = KafkaCluster.ask
    armed = True

    async def asking(self: KafkaCluster, node: int, sent: object, *more: object) -> object:
        nonlocal armed
        mine = armed and type(sent).__name__ == request
        if mine and moment == "before":
            armed = False
            os.kill(os.getpid(), number)
        answer = await ask(self, node, sent, *more)
        if mine and moment == "after":
            armed = False
            os.kill(os.getpid(), number)
        return answer

    KafkaCluster.ask = asking  # type: ignore[method-assign, assignment]


async def work(servers: str, topic: str, group: str) -> None:
    naming = Config(service="worker", sources=SourcesConfig()).stream_names(group)
    source = config.KafkaConfig(
        bootstrap_servers=servers,
        topics=[topic],
        group_id=group,
        start=StartPosition("earliest"),
        client={"session_timeout_ms": 1_000, "heartbeat_interval_ms": 200},
    )
    broker = KafkaBroker(source, "worker", naming, max_records=20)
    while True:
        try:
            await broker.start()
            async for batch in broker.batches():
                if not batch.records:
                    print("leased", batch.lease.partition, flush=True)
                    continue
                bad = [r for r in batch.records if (r.value or b"").startswith(b"bad")]
                try:
                    await broker.commit([batch], [letter(record, naming, group) for record in bad])
                    print("committed", len(batch.records), flush=True)
                except Fenced as fenced:
                    print("fenced", fenced, flush=True)
        except Outage as outage:
            print("outage", outage, file=sys.stderr, flush=True)
            await broker.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("servers")
    parser.add_argument("topic")
    parser.add_argument("group")
    parser.add_argument("--signal", nargs=3, metavar=("REQUEST", "MOMENT", "SIGNAL"))
    given = parser.parse_args()
    if given.signal:
        request, moment, number = given.signal
        arm(request, moment, signal.Signals[f"SIG{number}"])
    asyncio.run(work(given.servers, given.topic, given.group))


if __name__ == "__main__":
    main()
