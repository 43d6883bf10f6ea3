"""One of several sidecars of a group: runs until the group has nothing left, and says when it began and ended."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench.ours import configuration

QUIET_SECONDS = 3.0
"""Nothing more came for so long: that was all."""


async def measure(file: str, events: int) -> dict[str, Any]:
    from sidecar.config_file import load
    from sidecar.service import Service

    service = Service(load(file))
    running = asyncio.ensure_future(service.run())
    first = last = 0.0
    seen, deadline = 0, time.time() + 120
    while time.time() < deadline:
        await asyncio.sleep(0.01)
        now, total = time.time(), service.counters.total()
        if total > seen:
            first, last, seen = first or now, now, total
        if first and (seen >= events or now - last > QUIET_SECONDS):
            break
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return {"first": first, "last": last, "seen": seen}


def main() -> None:
    import uvloop

    given = json.loads(sys.argv[1])
    with tempfile.TemporaryDirectory() as directory:
        print(json.dumps(uvloop.run(measure(configuration(given, Path(directory)), given["events"]))))


if __name__ == "__main__":
    main()
