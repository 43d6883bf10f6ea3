"""The longest step of an event loop, in processor time of its thread, so that other programs do not count."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class LoopSteps:
    """Steps that were measured while `watch_steps` was open."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self.longest = ""
        """The callback of the longest step."""

    def add(self, took_s: float, callback: Any) -> None:
        """Count a step."""
        if took_s > self.longest_s:
            self.longest_s, self.longest = took_s, repr(callback)[:300]


@contextmanager
def watch_steps() -> Iterator[LoopSteps]:
    """Measure the steps of asyncio's own event loop (uvloop offers no hook)."""
    steps = LoopSteps()
    run = asyncio.events.Handle._run

    def measured(handle: asyncio.Handle) -> None:
        started = time.thread_time()
        try:
            run(handle)
        finally:
            steps.add(time.thread_time() - started, handle)

    asyncio.events.Handle._run = measured  # type: ignore[method-assign]
    try:
        yield steps
    finally:
        asyncio.events.Handle._run = run  # type: ignore[method-assign]
