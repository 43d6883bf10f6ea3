"""Describes what an answer does not cover."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sidecar.api import models

MAX_PRINTED_HOLES = 3


def describe_coverage(coverage: models.CoverageModel, subject: str = "") -> str | None:
    """Say what an answer does not cover, if anything.

    Args:
        coverage: The coverage of the answer.
        subject: A sentence about what may be missing; empty for a list of events.
    """
    parts = [coverage.note or ""]
    if coverage.filling:
        parts.append("The index is still filling: older events are missing.")
    if coverage.history is not None:
        if coverage.history.hole_count:
            listed = ", ".join(coverage.history.holes[:MAX_PRINTED_HOLES])
            more = coverage.history.hole_count - min(len(coverage.history.holes), MAX_PRINTED_HOLES)
            parts.append(f"The history lacks {listed}{f' and {more} more ranges' if more else ''}.")
    elif coverage.evicted:
        since = f" since {coverage.since}" if coverage.since else ""
        held = f"The index holds {coverage.events} events{since}; --scan reads older ones from the broker."
        parts.append(subject or held)
    return " ".join(part for part in parts if part) or None
