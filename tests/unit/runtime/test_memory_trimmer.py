"""Memory is returned to the system after a burst, and only then."""

from __future__ import annotations

import subprocess
import sys

from sidecar.runtime.memory_trimmer import MIN_GROWTH_BYTES, MemoryTrimmer


async def test_memory_is_trimmed_when_the_process_has_grown() -> None:
    resident, trims = [100 << 20], list[int]()

    def trim() -> None:
        trims.append(resident[0])
        resident[0] = 100 << 20

    trimmer = MemoryTrimmer(lambda: resident[0], trim)
    assert await trimmer.trim_if_grown()
    resident[0] += MIN_GROWTH_BYTES - 1
    assert not await trimmer.trim_if_grown()
    resident[0] += 1
    assert await trimmer.trim_if_grown()
    assert trims == [100 << 20, (100 << 20) + MIN_GROWTH_BYTES]


async def test_a_system_that_tells_nothing_is_left_alone() -> None:
    assert not await MemoryTrimmer(lambda: None, lambda: 1 / 0).trim_if_grown()


BURST = """
import asyncio
from sidecar.runtime.memory_trimmer import MemoryTrimmer, find_trim_function, read_resident_bytes

trimmer = MemoryTrimmer()
before = read_resident_bytes()
if before is not None and find_trim_function() is not None:  # /proc and glibc
    burst = [b"x" * 100_000 for _ in range(2_000)]
    last = burst[-1]  # at the end of the heap: nothing below it is given back by free() alone
    assert read_resident_bytes() > before + (150 << 20), "the burst took no memory"
    del burst
    assert asyncio.run(trimmer.trim_if_grown())
    assert read_resident_bytes() < before + (60 << 20), "the memory was not given back"
    assert len(last) == 100_000
"""


def test_memory_that_was_freed_is_given_back() -> None:
    """Runs in a process of its own, because the heap of a long test run has room for the burst."""
    done = subprocess.run([sys.executable, "-P", "-c", BURST], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
