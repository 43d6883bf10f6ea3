"""A scan of the broker through the API, of every record of a stream, in a sidecar that has nothing else to do."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.ours import configuration
from tests.bench.processor_time import EventClock, LoopWatch

QUERY = "type:NoSuchType"
"""A query that reads everything and matches nothing."""
WARM_UP = 20_000


async def measure(file: str, given: dict[str, Any]) -> dict[str, Any]:
    """Scan the stream, in one process with the client that asks for it."""
    from sidecar.api.client.client import Client
    from sidecar.api.models import ScanEndModel
    from sidecar.config.loader import load
    from sidecar.runtime.wiring import build_service

    service = build_service(load(file))
    running = asyncio.ensure_future(service.run())
    clock, watch = EventClock(WARM_UP), LoopWatch()
    try:
        while not (status := await service.status.status()).streams or status.filling:  # it reads the broker too
            await asyncio.sleep(0.05)
        async with Client(service.server.url, "bench") as client:
            async for item in client.scan(given.get("query", f"stream:{given['stream']} {QUERY}")):
                if not clock.running and item.scanned >= WARM_UP:
                    clock.seen(item.scanned)
                    watch.start()
                if isinstance(item, ScanEndModel):
                    break
        result = clock.result(item.scanned)
        watch.stop()
        assert item.complete, item.reason
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return {**result, "step_ms": watch.longest_ms, "scanned": item.scanned, "matched": item.matched}


def main() -> None:
    import uvloop

    from sidecar.runtime.gc_tuning import tune_gc

    given = json.loads(sys.argv[1])
    tune_gc()  # as `tracecar run` does
    with tempfile.TemporaryDirectory() as directory:
        print(json.dumps(uvloop.run(measure(configuration({**given, "start": "latest"}, Path(directory)), given))))


if __name__ == "__main__":
    main()
