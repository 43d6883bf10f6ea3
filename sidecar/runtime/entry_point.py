"""Entry point of `tracecar run`: one sidecar until a signal ends it."""

from __future__ import annotations

import asyncio
import contextlib
import signal

from sidecar.config.schema import Config
from sidecar.runtime.gc_tuning import tune_gc
from sidecar.runtime.wiring import build_service


def run(config: Config) -> None:
    """Run a sidecar until SIGTERM or SIGINT, then drain and commit. Raises Refused and ConfigError."""
    import uvloop

    tune_gc()
    uvloop.run(_run_until_signal(config))


async def _run_until_signal(config: Config) -> None:
    loop = asyncio.get_running_loop()
    running = asyncio.ensure_future(build_service(config).run())
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, running.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await running
