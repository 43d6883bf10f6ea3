"""The breaker: when most of what a stream brings is rejected, the mistake is elsewhere, and a flood of dead letters
helps nobody. It opens on a ratio within a sliding window, and somebody else decides when to close it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from sidecar.config.schema import BreakerConfig

_SLICES = 12
"""Into how many slices the window is cut: it slides by one of them."""


class CircuitBreaker:
    """Counts one stream's events and rejections. Open: hold the stream."""

    def __init__(self, limits: BreakerConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = limits, clock
        self._slice = float(limits.window) / _SLICES
        self._slices: deque[tuple[int, int, int]] = deque()
        self.open = False
        self.on_open: Callable[[], None] = lambda: None

    def note(self, events: int, rejected: int) -> bool:
        """Count these, and tell whether the breaker is open now."""
        now = int(self._clock() / self._slice)
        slices = self._slices
        if slices and slices[-1][0] == now:
            _, seen, failed = slices.pop()
            slices.append((now, seen + events, failed + rejected))
        else:
            slices.append((now, events, rejected))
        while slices[0][0] <= now - _SLICES:
            slices.popleft()
        if rejected and not self.open:
            self.open = self.would_open(*self.recent)
            if self.open:
                self.on_open()
        return self.open

    @property
    def recent(self) -> tuple[int, int]:
        """Events and rejections within the window."""
        return sum(events for _, events, _ in self._slices), sum(rejected for _, _, rejected in self._slices)

    def would_open(self, events: int, rejected: int) -> bool:
        """Whether such a share of rejections is more than the configuration allows."""
        return events >= self._limits.minimum and rejected > self._limits.ratio * events

    def close(self) -> None:
        """Let the stream go on, and begin counting anew."""
        self.open = False
        self._slices.clear()

    @property
    def minimum(self) -> int:
        return self._limits.minimum

    @property
    def cooldown(self) -> float:
        """Seconds between tries to go on."""
        return float(self._limits.window)
