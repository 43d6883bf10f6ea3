"""Processor time, which a busy machine changes less than the clock: of this process and of one step of its loop."""

from __future__ import annotations

import asyncio
import time

TICK_S = 0.001


class EventClock:
    """Counts events from the end of the warm-up on, with the time and the processor time that they take."""

    def __init__(self, warm_up: int) -> None:
        self._warm_up = warm_up
        self._counted_from = 0.0
        self._clock = self._processor = 0.0
        self.running = False

    def seen(self, events: float) -> None:
        """Start at the first call with as many events as the warm-up has."""
        if not self.running and events >= self._warm_up:
            self.running, self._counted_from = True, events
            self._clock, self._processor = time.perf_counter(), time.process_time()

    def result(self, events: float) -> dict[str, float]:
        """Return events a second, and microseconds of user and system time an event, of all threads."""
        counted = events - self._counted_from
        rate = counted / (time.perf_counter() - self._clock)
        return {"rate": rate, "cpu_us": (time.process_time() - self._processor) / counted * 1e6}


class LoopWatch:
    """Finds the longest step of the running event loop: the time for which it gave no other task its turn.

    A step counts by the processor time of the loop's thread, so that other processes do not lengthen it.
    """

    def __init__(self) -> None:
        self.longest_ms = 0.0
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.Handle | None = None

    def start(self) -> None:
        """Watch from now on."""
        self._expected, self._used = self._loop.time() + TICK_S, time.thread_time()
        self._handle = self._loop.call_at(self._expected, self._tick)

    def _tick(self) -> None:
        late, used = self._loop.time() - self._expected, time.thread_time()
        self.longest_ms = max(self.longest_ms, min(late, used - self._used) * 1000)
        self._expected, self._used = self._loop.time() + TICK_S, used
        self._handle = self._loop.call_at(self._expected, self._tick)

    def stop(self) -> None:
        """End watching."""
        if self._handle is not None:
            self._handle.cancel()
