"""What a sidecar does over and over, for as long as it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from sidecar.domain.errors import TracecarError

log = structlog.get_logger()


async def run_periodically(what: str, once: Callable[[], Awaitable[object]], pause: float) -> None:
    """Do it, rest for so many seconds, and again, until cancelled. One failure, of whatever kind, is no reason to stop:
    a member that gave up would be missing without a word."""
    while True:
        try:
            await once()
        except TracecarError as error:
            log.debug(f"{what}: tried again soon", reason=str(error))
        except Exception:
            log.exception(f"{what}: ended by a mistake of ours; tried again soon")
        await asyncio.sleep(pause)
