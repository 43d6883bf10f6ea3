"""Times, the trace and the coverage of the fixed answers to a dashboard."""

from __future__ import annotations

from sidecar.api import models

NOW = 1_795_516_800_000_000
"""2026-11-24T10:40:00Z, in microseconds."""
TRACE = "a3afb5d756d2a834c851184f1801e671"


def at(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"2026-11-24T10:39:{seconds:02d}.{rest:03d}Z"


def coverage() -> models.CoverageModel:
    return models.CoverageModel(
        events=6, evicted=0, since="2026-11-24T10:25:00Z", partitions=["kafka://orders/0"], filling=False
    )
