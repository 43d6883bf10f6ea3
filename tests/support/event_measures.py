"""Builders for tests of metrics: decoded events, and measures with a fixed clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from exporters.metrics.instruments import EventMeasures
from sidecar.domain.model import Decoded, Event, Record
from sidecar.domain.ports.metrics import Instrument
from sidecar.domain.position import Position

NOW = 1_767_225_600_000


def batch(count: int, stream: str = "orders", **fields: Any) -> list[Decoded]:
    """Build equal events. `fields` are fields of `Event`."""
    position = Position("kafka", stream, 0, 0)
    fields = {"key": None, "appended_at": NOW, "observed_at": NOW * 1000} | fields
    return [Decoded(Record(position, None, b"{}", (), NOW), Event(position, **fields)) for _ in range(count)]


def build_measures() -> EventMeasures:
    """Build measures whose clock is 4 s after `NOW`."""
    return EventMeasures(clock=lambda: NOW * 1000 + 4_000, warm_up_s=0)


class Given:
    """A metric source with fixed instruments."""

    def __init__(self, *instruments: Instrument) -> None:
        self._instruments = instruments

    def instruments(self) -> Sequence[Instrument]:
        return self._instruments

    async def refresh(self) -> None: ...
