"""A finding of the linter, and the events that show it."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from sidecar.domain.model import Event
from sidecar.domain.position import Position

MAX_EVIDENCE_PER_FINDING = 5
"""Positions that a finding lists; its count covers all."""


class Severity(StrEnum):
    """Seriousness of a finding, in SARIF's words."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class LintFinding(Struct, kw_only=True):
    """A problem that a rule found: one finding for each rule and subject (stream, type or consumer group)."""

    rule: str
    severity: Severity
    subject: str
    """The stream, type or group that the finding is about."""
    message: str
    """A sentence about the finding. It quotes no value of an event."""
    stream: str | None = None
    """The stream on which it was found; None where it concerns several."""
    type: str | None = None
    """The type of its events; None where it concerns several."""
    evidence: list[Position]
    """Positions of events that show it, newest first, at most five."""
    count: int
    """Number of events that show it."""
    first_seen: int | None
    """Milliseconds: append time of the earliest of them."""
    last_seen: int | None
    """Milliseconds: append time of the latest of them."""


class Evidence:
    """The events that show a finding: their number, first and last append time, and the positions of a few."""

    __slots__ = ("count", "first_ms", "last_ms", "positions")

    def __init__(self) -> None:
        self.count = 0
        self.first_ms: int | None = None
        self.last_ms: int | None = None
        self.positions: list[Position] = []

    def add(self, event: Event) -> None:
        """Count an event. The positions of the first ones are kept as samples."""
        self.add_at(event.position, event.appended_at)

    def add_at(self, position: Position, at: int) -> None:
        """Count the event at a position. `at`: its append time in milliseconds."""
        self.count += 1
        if self.last_ms is None or at > self.last_ms:
            self.last_ms = at
        if self.first_ms is None or at < self.first_ms:
            self.first_ms = at
        if len(self.positions) < MAX_EVIDENCE_PER_FINDING:
            self.positions.append(position)


def count_events(count: int) -> str:
    """Format a number of events for people: `1 event`, `2,500 events`."""
    return "1 event" if count == 1 else f"{count:,} events"
