"""Return of memory to the operating system after a burst.

The C library keeps freed memory for later allocations: after a burst of large records a process stays as large as it
ever was, beside a service that could use the memory. `malloc_trim` (glibc) gives it back.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

from sidecar.domain.periodic_task import run_periodically

TRIM_INTERVAL_S = 15.0
MIN_GROWTH_BYTES = 32 << 20
"""Growth of the process since the last trim below which it is not trimmed again."""
_STATM = Path("/proc/self/statm")
_PAGE_BYTES = 4096


def read_resident_bytes() -> int | None:
    """Return the resident memory of this process; None if the system does not tell."""
    try:
        return int(_STATM.read_text("ascii").split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return None


def find_trim_function() -> Callable[[], object] | None:
    """Return a function that gives free memory back; None if the C library has none (musl, macOS)."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    return lambda: trim(0)


class MemoryTrimmer:
    """Gives free memory back whenever the process has grown."""

    def __init__(
        self,
        read_resident: Callable[[], int | None] = read_resident_bytes,
        trim: Callable[[], object] | None = None,
    ) -> None:
        self._read_resident = read_resident
        self._trim = trim or find_trim_function()
        self._after_trim = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Trim in the background until `close`."""
        self._task = asyncio.create_task(run_periodically("memory trim", self.trim_if_grown, TRIM_INTERVAL_S))

    async def close(self) -> None:
        """Stop trimming."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def trim_if_grown(self) -> bool:
        """Trim if the process has grown by `MIN_GROWTH_BYTES` since the last trim; returns whether it did."""
        resident = self._read_resident()
        if resident is None or self._trim is None or resident < self._after_trim + MIN_GROWTH_BYTES:
            return False
        gc.collect(1)  # ended requests and streams may hang in young cycles
        # Outside the event loop's thread: the C library takes milliseconds, and needs no interpreter lock.
        await asyncio.to_thread(self._trim)
        self._after_trim = self._read_resident() or resident
        return True
