"""A whole sidecar within the process of the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sidecar.config.schema import Config
from sidecar.runtime.wiring import build_service
from tests.support.conditions import until


@asynccontextmanager
async def running_service(config: Config) -> AsyncIterator[str]:
    """Run a sidecar until the block ends. Returns the URL of its API once its brokers are reached."""
    service = build_service(config)
    running = asyncio.create_task(service.run())
    try:
        await until(lambda: running.done() or all(pipeline.reached for pipeline in service.pipelines))
        if running.done():
            running.result()
        yield service.server.url
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
