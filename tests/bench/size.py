"""Memory and start: bytes of the index an event, idle resident memory, time until ready."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench import report
from tests.support.ports import free_port

EVENTS = 200_000


def resident(pid: int | str = "self") -> int:
    """Resident bytes of a process."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def index_bytes() -> float:
    """Bytes an event costs in the memory index, in a fresh process: events come in as they do from a judge, and nothing
    else keeps them."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.index_memory", str(EVENTS)], stdout=subprocess.PIPE, text=True, check=True
    )
    return float(json.loads(done.stdout)) / EVENTS


def start_and_idle() -> tuple[float, float]:
    """Seconds from the start of the process to ready, and idle resident MB some seconds later."""
    import httpx2

    from sidecar.demo.embedded_valkey import EmbeddedValkey

    with EmbeddedValkey() as server, tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "tracecar.yaml"
        port = free_port()
        file.write_text(
            json.dumps(
                {
                    "service": "idle",
                    "sources": {"redis": {"url": server.url, "streams": ["orders"]}},
                    "api": {"port": port, "token": "bench"},
                }
            )
        )
        began = time.perf_counter()
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("tracecar")), "run", "-c", str(file)], stderr=subprocess.DEVNULL
        )
        try:
            while not _is_ready(httpx2, port):
                time.sleep(0.01)
            ready = time.perf_counter() - began
            time.sleep(3)
            return ready, resident(process.pid) / 1e6
        finally:
            process.terminate()
            process.wait(20)


def _is_ready(httpx2: Any, port: int) -> bool:
    try:
        return bool(httpx2.get(f"http://127.0.0.1:{port}/readyz").status_code == 200)
    except httpx2.TransportError:
        return False


def bare_start() -> float:
    """Seconds that a process with the bare loop's imports takes from its start to its end; the median of five."""
    took = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import aiokafka, fastavro, msgspec, uvloop"], check=True)
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def main() -> None:
    ready, idle = start_and_idle()
    unit = {"name": "bare starts", "value": bare_start()}
    rows = [
        {"what": "index: memory an event, at 200,000", "value": index_bytes(), "unit": "bytes", "bound": 450},
        {"what": "ready after start", "value": ready, "unit": "s", **report.in_units(ready, 5, unit)},
        {"what": "idle resident memory", "value": idle, "unit": "MB", "bound": 120},
    ]
    print(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
