"""Memory and start: bytes of the index an event, idle resident memory, time until ready."""

from __future__ import annotations

import json
import os
import resource
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
WITH_BYTECODE = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""Environment of what is started: Python keeps compiled modules, as it does where Tracecar is installed."""
STARTS = 5
TRACECAR = str(Path(sys.executable).with_name("tracecar"))
MAX_HELP_STARTS, MAX_STATUS_STARTS, MAX_READY_STARTS = 0.7, 2.1, 5.5
"""Bounds of starts, in starts of a process with the bare loop's imports."""


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


def start_and_idle() -> dict[str, float]:
    """Start a sidecar.

    Returns the processor seconds of its process until it is ready, those of `tracecar status`, and idle resident MB.
    """
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
        process = subprocess.Popen([TRACECAR, "run", "-c", str(file)], stderr=subprocess.DEVNULL, env=WITH_BYTECODE)
        try:
            while not _is_ready(httpx2, port):
                time.sleep(0.01)
            ready = processor_s(process.pid)
            status = start_s(TRACECAR, "status", "--url", f"http://127.0.0.1:{port}", "--token", "bench")
            return {"ready": ready, "status": status, "idle": resident(process.pid) / 1e6}
        finally:
            process.terminate()
            process.wait(20)


def _is_ready(httpx2: Any, port: int) -> bool:
    try:
        return bool(httpx2.get(f"http://127.0.0.1:{port}/readyz").status_code == 200)
    except httpx2.TransportError:
        return False


def processor_s(pid: int) -> float:
    """Processor seconds, user and system, of a running process."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start_s(*command: str) -> float:
    """Processor seconds of a process from its start to its end; the median of some, after one that is not counted."""
    took = []
    for _ in range(STARTS + 1):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=WITH_BYTECODE)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(took[1:])


def main() -> None:
    bare = start_s(sys.executable, "-c", "import aiokafka, fastavro, msgspec, uvloop")
    unit = {"name": "bare starts", "value": bare}
    help_s = start_s(TRACECAR, "--help")
    start_and_idle()  # modules are compiled
    sidecar = start_and_idle()
    times = (
        ("`tracecar --help`: processor time", help_s, MAX_HELP_STARTS),
        ("`tracecar status`: processor time", sidecar["status"], MAX_STATUS_STARTS),
        ("`tracecar run` until ready: processor time", sidecar["ready"], MAX_READY_STARTS),
    )
    rows = [
        {"what": "index: memory an event, at 200,000", "value": index_bytes(), "unit": "bytes", "bound": 450},
        {"what": "idle resident memory", "value": sidecar["idle"], "unit": "MB", "bound": 120},
        *(
            {"what": what, "value": 1_000 * taken, "unit": "ms", **report.in_units(taken, limit, unit)}
            for what, taken, limit in times
        ),
    ]
    print(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
