"""The dashboard as a person has it: `tracecar tui` in a terminal of its own, beside a real sidecar on a real Valkey.
Keys go in, and what is painted comes out through the terminal; processor time and memory are what the system says.

A flood of 5,000 events a second arrives at the sidecar while keys are pressed, for as long as `minutes` says."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import random
import re
import select
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx2

from tests.bench import report
from tests.bench.event_producer import write_schema
from tests.bench.size import _is_ready, resident
from tests.support.ports import free_port

RATE = 5_000
FLOOD, LARGE = "bench.dashboard", "bench.large"
KEPT = 100_000
"""Entries that the stream of the flood keeps."""
SIZE = (140, 45)
WARM_UP = 20.0
"""Seconds of flood before anything is measured: the dashboard's lists are full then."""
OPENED = 7
"""How often what is large is opened."""
FLOW = 500
BODY = 1 << 20
PATIENCE = 30.0
TOKEN = "bench"
_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Terminal:
    """A pseudo-terminal with a program in it."""

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        self._painted = b""
        self.began = time.perf_counter()
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", SIZE[1], SIZE[0], 0, 0))
            os.execve(command[0], command, environment)

    def press(self, keys: str, painted: str) -> float:
        """Seconds from the keys until a pattern is painted."""
        self._painted = b""
        began = time.perf_counter()
        os.write(self._fd, keys.encode())
        return self.until(painted) - began

    def until(self, painted: str) -> float:
        """When the pattern was painted, on the clock of `perf_counter`; only what comes from the last key on counts."""
        pattern = re.compile(painted.encode())
        deadline = time.perf_counter() + PATIENCE
        while (left := deadline - time.perf_counter()) > 0:
            self._read(left)
            if pattern.search(self._painted):
                return time.perf_counter()
        said = _SEQUENCE.sub("", self._painted[-9_000:].decode("utf-8", "replace"))
        sys.exit(f"bench: {painted!r} was not painted within {PATIENCE:.0f} s, but:\n{said}")

    def rest(self, seconds: float) -> None:
        """Let it paint, as a terminal does."""
        deadline = time.perf_counter() + seconds
        while (left := deadline - time.perf_counter()) > 0:
            self._read(left)
            self._painted = b""

    def _read(self, seconds: float) -> None:
        if select.select([self._fd], [], [], seconds)[0]:
            self._painted += os.read(self._fd, 1 << 16)

    def processor_seconds(self) -> float:
        """User and system time of the program so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        os.kill(self.pid, signal.SIGTERM)
        os.waitpid(self.pid, 0)
        os.close(self._fd)


@contextmanager
def sidecar(address: str, directory: Path) -> Iterator[str]:
    """The URL of a sidecar over both streams."""
    schemas = directory / "schemas"
    schemas.mkdir()
    write_schema(FLOOD, schemas)
    port, file = free_port(), directory / "tracecar.yaml"
    file.write_text(
        json.dumps(
            {
                "service": "bench",
                "sources": {"redis": {"url": address, "streams": [FLOOD, LARGE], "start": "earliest"}},
                "registry": {"directory": str(schemas)},
                "api": {"port": port, "token": TOKEN},
            }
        )
    )
    command = [str(Path(sys.executable).with_name("tracecar")), "run", "-c", str(file)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        while not _is_ready(httpx2, port):
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


COLORFUL = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}


def dashboard(url: str) -> AbstractContextManager[Terminal]:
    command = [str(Path(sys.executable).with_name("tracecar")), "tui"]
    return in_terminal(command, {"TRACECAR_URL": url, "TRACECAR_TOKEN": TOKEN})


def bare_dashboard() -> AbstractContextManager[Terminal]:
    return in_terminal([sys.executable, "-m", "tests.bench.bare_dashboard"], {})


@contextmanager
def in_terminal(command: Sequence[str], variables: dict[str, str]) -> Iterator[Terminal]:
    terminal = Terminal(command, dict(os.environ) | COLORFUL | variables)
    try:
        yield terminal
    finally:
        terminal.close()


# --- what is sent


def feed(address: str) -> None:
    """5,000 events a second, until we are ended."""
    from redis import Redis

    from sidecar.adapters.registry.directory import schema_id
    from tests.support.bench_events import SCHEMA, bench_events

    client = Redis.from_url(address)
    events = bench_events(50_000, broken_ratio=0.01, schema_id=schema_id(json.dumps(SCHEMA)))
    began, sent = time.perf_counter(), 0
    while True:
        pipe = client.pipeline(transaction=False)
        for number in range(sent, sent + RATE // 50):
            _, value, headers = events[number % len(events)]
            fields: dict[Any, Any] = dict(headers) | {"payload": value, "event-id": f"flood-{number}"}
            if cycle := number // len(events):  # flows of their own, also when the events come again
                version, trace, rest = fields["traceparent"].split(b"-", 2)
                fields["traceparent"] = b"%b-%08x%b-%b" % (version, cycle, trace[8:], rest)
            pipe.xadd(FLOOD, fields, maxlen=KEPT, approximate=True)
        pipe.execute()
        sent += RATE // 50
        time.sleep(max(0.0, began + sent / RATE - time.perf_counter()))


def load_large(address: str) -> None:
    """A flow of 500 events, each of which caused up to three others, and an event with a body of a megabyte."""
    from redis import Redis

    client = Redis.from_url(address)
    for number in range(FLOW):
        fields: dict[Any, Any] = {
            "event-id": f"large-{number}", "event-type": f"Step{number % 7}", "correlation-id": "large-flow",
            "producer": f"service-{number % 5}", "payload": json.dumps({"number": number, "text": "x" * 200}),
        }  # fmt: skip
        client.xadd(LARGE, fields | ({"causation-id": f"large-{(number - 1) // 3}"} if number else {}))
    rows = [{"number": number, "text": "y" * 60, "values": [number] * 5} for number in range(BODY // 110)]
    body = json.dumps({"mark": "the large body", "rows": rows})
    client.xadd(LARGE, {"event-id": "large-body", "event-type": "Large", "payload": body})
    say(f"a body of {len(body):,} bytes")


def say(message: str) -> None:
    print(f"  {message}", file=sys.stderr)


# --- what is measured


def first_paint(start: Callable[[], AbstractContextManager[Terminal]], first: str, whole: str) -> float:
    """Seconds from the start of the process."""
    found, spent = [], []
    for _ in range(5):
        with start() as terminal:
            found.append(terminal.until(first) - terminal.began)
            spent.append(terminal.processor_seconds())
            terminal.until(whole)
    say(f"first paint: {', '.join(f'{one:.2f}' for one in found)} s, processor {statistics.median(spent):.2f} s")
    return statistics.median(found)


def opened(terminal: Terminal, query: str, painted: str) -> float:
    """Milliseconds from enter on the one event that matches until what it leads to is painted: the slowest time."""
    terminal.press("/", "Complete")
    terminal.press(query, query[-6:])
    terminal.press("\r", "following")
    terminal.rest(1)
    found, spent = [], []
    for _ in range(OPENED):
        before = terminal.processor_seconds()
        found.append(terminal.press("\r", painted) * 1000)
        spent.append((terminal.processor_seconds() - before) * 1000)
        terminal.rest(0.5)
        terminal.press("\x1b", LIVE)
        terminal.rest(0.5)
    say(f"{query}: {', '.join(f'{one:.0f}' for one in found)} ms, processor {statistics.median(spent):.0f} ms")
    return max(found)


LIVE = "following|stopped"
KEYS = (
    ("k", "stopped"), ("G", "following"), ("2", "Flows"), ("1", LIVE), ("4", "cause"), ("5", "producers"),
    ("7", "Status"), ("1", LIVE), ("?", "Help|help"), ("\x1b", LIVE),
)  # fmt: skip
"""Keys in turns, and what they lead to; each of them is to be told from what is painted anyway."""


def under_flood(terminal: Terminal, bare: Terminal, url: str, address: str, minutes: float) -> list[dict[str, Any]]:
    """Keys are pressed all the time while events arrive, here and in a bare dashboard."""
    command = [sys.executable, "-m", "tests.bench.dashboard", json.dumps({"work": "feed", "address": address})]
    feeding = subprocess.Popen(command)
    try:
        terminal.rest(WARM_UP)
        for key, painted in KEYS * 3:  # every screen is made when it is first seen
            terminal.press(key, painted)
            terminal.rest(0.5)
        by_key: dict[str, list[float]] = {}
        seen, began, spent = _seen(url), time.perf_counter(), terminal.processor_seconds()
        memory, waits, bare_waits, dice = [resident(terminal.pid)], [], [], random.Random(1)
        while time.perf_counter() - began < minutes * 60:
            for key, painted in KEYS:
                waits.append(terminal.press(key, painted) * 1000)
                by_key.setdefault(key, []).append(waits[-1])
                terminal.rest(dice.uniform(0.1, 0.3))
                bare_waits.append(bare.press("k", "pressed") * 1000)
                bare.rest(0.05)
                terminal.rest(dice.uniform(0.1, 0.3))
            memory.append(resident(terminal.pid))
        seconds = time.perf_counter() - began
        share = (terminal.processor_seconds() - spent) / seconds
        rate = (_seen(url) - seen) / seconds
    finally:
        feeding.terminate()
        feeding.wait()
    committed, last = memory[: max(1, len(memory) // 5)], memory[-max(1, len(memory) // 5) :]
    grown = statistics.median(last) - statistics.median(committed)
    steps = ", ".join(f"{one / 1e6:.0f}" for one in memory[:: max(1, len(memory) // 12)])
    say(f"{len(waits)} keys, median {statistics.median(waits):.0f} ms, slowest {max(waits):.0f} ms; memory {steps} MB")
    say(", ".join(f"{key!r} {statistics.median(some):.0f} to {max(some):.0f}" for key, some in by_key.items()) + " ms")
    at = f"dashboard at {rate:,.0f} events/s"
    slow, bare_slow = (statistics.quantiles(some, n=100)[98] for some in (waits, bare_waits))
    say(f"a bare dashboard: median {statistics.median(bare_waits):.0f} ms, p99 {bare_slow:.0f} ms")
    return [
        {"what": f"{at}: key to paint, p99", "value": slow, "unit": "ms",
         **report.in_units(slow, 3, {"name": "bare keys to paint, p99", "value": bare_slow})},
        {"what": f"{at}: processor, of one core", "value": share * 100, "unit": "%", "bound": 50},
        {"what": f"{at}: resident memory", "value": memory[-1] / 1e6, "unit": "MB"},
        {"what": f"{at}: memory grown in {minutes:g} min", "value": grown / 1e6, "unit": "MB", "bound": 5},
    ]  # fmt: skip


def _seen(url: str) -> int:
    """Events that the sidecar has seen."""
    status = httpx2.get(f"{url}/v1/status", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30).json()
    return sum(stream["events"] for stream in status["streams"])


def measure(address: str, minutes: float) -> list[dict[str, Any]]:
    load_large(address)
    unit = {"name": "bare first paints", "value": first_paint(bare_dashboard, "ready", "event-0-")}
    with tempfile.TemporaryDirectory() as directory, sidecar(address, Path(directory)) as url:
        painted = first_paint(lambda: dashboard(url), " Live ", "following")
        rows = [{"what": "dashboard: first paint after start", "value": painted, "unit": "s",
                 **report.in_units(painted, 2.5, unit)}]  # fmt: skip
        with dashboard(url) as terminal:
            terminal.until("following")
            terminal.rest(1)
            for what, query, shown in (
                (f"a flow of {FLOW} events", "event:large-1", f"{FLOW} events"),
                ("a body of 1 MB", "event:large-body", "the large body"),
            ):
                took = opened(terminal, query, shown)
                rows.append({"what": f"dashboard: {what} opens, slowest of {OPENED}", "value": took, "unit": "ms",
                             **report.in_units(took / 1000, 0.75, unit)})  # fmt: skip
        with dashboard(url) as terminal, bare_dashboard() as bare:
            terminal.until("following")
            rows += under_flood(terminal, bare, url, address, minutes)
    return rows


def main() -> None:
    given = json.loads(sys.argv[1])
    if given.get("work") == "feed":
        feed(given["address"])
    print(json.dumps({"rows": measure(given["address"], given["minutes"])}))


if __name__ == "__main__":
    main()
