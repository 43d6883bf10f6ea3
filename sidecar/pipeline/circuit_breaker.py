"""Circuit breaker of a stream.

If most records are rejected, the fault is not in the records, and a flood of dead letters is useless. The breaker opens
at a ratio of rejections within a sliding window, and stays open until the pipeline closes it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from sidecar.config.schema import BreakerConfig

_SLICES_PER_WINDOW = 12
"""The window slides by one slice at a time."""


class CircuitBreaker:
    """Counts the events and rejections of one stream. While it is open, the stream is held."""

    def __init__(
        self,
        limits: BreakerConfig,
        clock: Callable[[], float] = time.monotonic,
        on_open: Callable[[], None] = lambda: None,
    ) -> None:
        self._limits, self._clock, self._on_open = limits, clock, on_open
        self._slice = float(limits.window) / _SLICES_PER_WINDOW
        self._slices: deque[tuple[int, int, int]] = deque()
        self.open = False

    def record(self, events: int, rejected: int) -> bool:
        """Count events, and rejections among them; returns whether the breaker is open now."""
        now = int(self._clock() / self._slice)
        slices = self._slices
        if slices and slices[-1][0] == now:
            _, seen, failed = slices.pop()
            slices.append((now, seen + events, failed + rejected))
        else:
            slices.append((now, events, rejected))
        while slices[0][0] <= now - _SLICES_PER_WINDOW:
            slices.popleft()
        if rejected and not self.open:
            self.open = self.would_open(*self.recent)
            if self.open:
                self._on_open()
        return self.open

    @property
    def recent(self) -> tuple[int, int]:
        """Events and rejections within the window."""
        return sum(events for _, events, _ in self._slices), sum(rejected for _, _, rejected in self._slices)

    def would_open(self, events: int, rejected: int) -> bool:
        """Check whether this ratio of rejections exceeds the configured one."""
        return events >= self._limits.minimum and rejected > self._limits.ratio * events

    def close(self) -> None:
        """Close the breaker and restart its counts."""
        self.open = False
        self._slices.clear()

    @property
    def minimum(self) -> int:
        """Number of events within the window below which the breaker stays closed."""
        return self._limits.minimum

    @property
    def cooldown(self) -> float:
        """Seconds between two probes while the breaker is open."""
        return float(self._limits.window)
