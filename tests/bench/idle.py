"""An idle sidecar with many partitions: the share of a core that it uses."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

from sidecar.runtime.status import StatusReporter
from tests.bench.ours import configuration

PARTITIONS = 900
MEASURED_S = 20.0
MAX_SHARE_PERCENT = 3.0
SETTLED_S = 5.0
"""Time after the last acquisition until the measurement begins."""


def create_topic(address: str, stream: str) -> None:
    """Create the topic without records."""
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": address})
    for future in admin.create_topics([NewTopic(stream, num_partitions=PARTITIONS, replication_factor=1)]).values():
        future.result()


async def is_settled(reporter: StatusReporter) -> bool:
    """Check whether all partitions are ours, and the index is filled."""
    status = await reporter.status()
    return not status.filling and sum(stream.settled_here for stream in status.streams) == PARTITIONS


async def measure(file: str) -> float:
    """Wait until every partition is ours; return the processor time of this process for each second that passes."""
    from sidecar.config.loader import load
    from sidecar.runtime.wiring import build_service

    service = build_service(load(file))
    running = asyncio.ensure_future(service.run())
    try:
        while not await is_settled(service.status):
            await asyncio.sleep(0.5)
            if running.done():
                running.result()
        await asyncio.sleep(SETTLED_S)
        began, used = time.perf_counter(), time.process_time()
        await asyncio.sleep(MEASURED_S)
        return (time.process_time() - used) / (time.perf_counter() - began)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def main() -> None:
    import uvloop

    from sidecar.runtime.gc_tuning import tune_gc

    given = json.loads(sys.argv[1])
    create_topic(given["address"], given["stream"])
    tune_gc()  # as `tracecar run` does
    with tempfile.TemporaryDirectory() as directory:
        result = uvloop.run(measure(configuration(given, Path(directory))))
    share = {"what": f"idle with {PARTITIONS} partitions: processor, of one core", "value": 100 * result, "unit": "%"}
    print(json.dumps({"rows": [{**share, "bound": MAX_SHARE_PERCENT}]}))


if __name__ == "__main__":
    main()
