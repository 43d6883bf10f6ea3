"""Periodic tasks, which a sidecar repeats as long as it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from sidecar.domain.errors import TracecarError

log = structlog.get_logger()


async def run_periodically(what: str, once: Callable[[], Awaitable[object]], pause: float) -> None:
    """Run a task again and again, with a pause in seconds between, until canceled.

    A failure is logged and does not end the repetition, because a task that stopped silently would go unnoticed.

    Args:
        what: Name of the task in the log.
        once: The task.
        pause: Seconds between the end of one run and the start of the next.
    """
    while True:
        try:
            await once()
        except TracecarError as error:
            log.debug(f"{what} failed; retrying", reason=str(error))
        except Exception:
            log.exception(f"{what} failed because of a bug; retrying")
        await asyncio.sleep(pause)
