"""Tracecar's own side: the product as `tracecar run` starts it, in this process, timed by its own counters."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench.bare import WARM_UP
from tests.bench.event_producer import write_schema
from tests.bench.processor_time import EventClock, LoopWatch


def configuration(given: dict[str, Any], directory: Path) -> str:
    """A configuration file for one round, and the schema that its registry directory holds."""
    schemas = directory / "schemas"
    schemas.mkdir(exist_ok=True)
    write_schema(given["stream"], schemas)
    if given["system"] == "kafka":
        source: dict[str, dict[str, Any]] = {
            "kafka": {
                "bootstrap_servers": given["address"],
                "topics": [given["stream"]],
                "group_id": given["group"],
                "start": given.get("start", "earliest"),
            }
        }
    else:
        source = {
            "redis": {
                "url": given["address"],
                "streams": [given["stream"]],
                "group": given["group"],
                "start": given.get("start", "earliest"),
            }
        }
    if given.get("gate"):
        source[given["system"]]["gate"] = {given["stream"]: f"{given['stream']}.{given['group']}"}
    file = directory / "tracecar.yaml"
    file.write_text(
        json.dumps(
            {
                "service": "bench",
                "sources": source,
                "registry": {"directory": str(schemas)},
                "exporters": given.get("exporters", {}),
                "index": given.get("index", {}),
                **({"history": {"url": str(directory / "history"), "flush": "1s"}} if given.get("history") else {}),
                "api": {"port": 0, "token": "bench", "token_file": str(directory / "token")},
            }
        )
    )
    return str(file)


async def measure(file: str, events: int, on_warm: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Run until every event is judged and committed. The clock runs from the first events after the warm-up."""
    from sidecar.config.loader import load
    from sidecar.runtime.wiring import build_service

    service = build_service(load(file))
    running = asyncio.ensure_future(service.run())
    clock, watch = EventClock(WARM_UP), LoopWatch()
    seen = 0
    try:
        while seen < events:
            await asyncio.sleep(0.005)
            if running.done():
                running.result()
                raise RuntimeError("the sidecar ended")
            seen = service.counters.total()
            if not clock.running:
                clock.seen(seen)
                if clock.running:
                    watch.start()
                    on_warm()
        await service.wait_until_committed()
        while getattr(service.index, "waiting", 0):
            await asyncio.sleep(0.005)
        found = clock.result(seen)
        watch.stop()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return {**found, "step_ms": watch.longest_ms, "rejected": service.counters.total_rejected()}


def one(given: dict[str, Any]) -> dict[str, Any]:
    import uvloop

    from sidecar.runtime.gc_tuning import tune_gc

    tune_gc()  # as `tracecar run` does
    with tempfile.TemporaryDirectory() as directory:
        return uvloop.run(measure(configuration(given, Path(directory)), given["events"]))


def several(given: dict[str, Any]) -> dict[str, Any]:
    """Members of one group, each a process; the rate of all together, by the wall clock from the first to the last, and
    the microseconds of CPU (user and system) that all of them spent an event once they were warm."""
    members = given["members"]
    command = [sys.executable, "-m", "tests.bench.member", json.dumps(given)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(members)
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()  # the partitions are shared out
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    results = [json.loads(process.communicate()[0].strip().splitlines()[-1]) for process in processes]
    first = min(result["first"] for result in results)
    last = max(result["last"] for result in results)
    if missed := sum(result["not_indexed"] for result in results):
        print(f"bench: {missed:,} events found no room in the index's queue", file=sys.stderr)
    seen = sum(result["seen"] for result in results)
    steady = sum(result["cpu_events"] for result in results)
    return {"rate": seen / (last - first), "cpu_us": sum(result["cpu"] for result in results) / steady * 1e6}


def main() -> None:
    given = json.loads(sys.argv[1])
    print(json.dumps(several(given) if "members" in given else one(given)))


if __name__ == "__main__":
    main()
