"""One of several sidecars of a group. It waits, with its first batch in hand, until the partitions are shared out and
it is told to go; says when its events began and ended, and what processor time they took once it was warm."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from sidecar.domain.errors import Outage
from sidecar.domain.ports.broker import Batch, Broker
from tests.bench.bare import WARM_UP
from tests.bench.ours import configuration

QUIET_SECONDS = 3.0
"""Nothing more came for so long: that was all."""


def hold_back(broker: Broker, go: asyncio.Event) -> None:
    """Let no batch through until `go` is set."""
    batches = broker.batches

    async def waiting() -> AsyncIterator[Batch]:
        async for batch in batches():
            if batch.records:
                await go.wait()
            yield batch

    broker.batches = waiting  # type: ignore[method-assign]  # only here


async def shared(broker: Broker, members: int) -> None:
    """Returns once some partitions are ours and others are not, or all are where there is one member."""
    while True:
        await asyncio.sleep(0.1)
        try:
            ours = {one.ours for one in await broker.status()}
        except Outage:
            continue  # it is not connected yet
        if True in ours and len(ours) == min(2, members):
            return


async def measure(file: str, members: int) -> dict[str, Any]:
    from sidecar.config.loader import load
    from sidecar.runtime.wiring import build_service

    service, go = build_service(load(file)), asyncio.Event()
    broker = service.pipelines[0].broker
    hold_back(broker, go)
    running = asyncio.ensure_future(service.run())
    await shared(broker, members)
    print("shared", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    go.set()
    first, last, seen = time.time(), 0.0, 0
    cpu = used = time.process_time()
    warm = 0
    while not last or time.time() - last < QUIET_SECONDS:
        await asyncio.sleep(0.01)
        # What waits for the shared index is not done yet.
        if (total := service.counters.total() - getattr(service.index, "waiting", 0)) > seen:
            seen, last, used = total, time.time(), time.process_time()
            if not warm and seen >= WARM_UP:
                warm, cpu = seen, used
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return {
        "first": first,
        "last": last,
        "seen": seen,
        "cpu": used - cpu,
        "cpu_events": seen - warm,
        "not_indexed": getattr(service.index, "not_indexed", 0),
    }


def main() -> None:
    import uvloop

    given = json.loads(sys.argv[1])
    with tempfile.TemporaryDirectory() as directory:
        print(json.dumps(uvloop.run(measure(configuration(given, Path(directory)), given["members"]))))


if __name__ == "__main__":
    main()
