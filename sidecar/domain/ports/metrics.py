"""Observable counters and gauges that the parts of a sidecar offer to a collector."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Point = tuple[float, Mapping[str, str]]
"""A value and its labels."""
Reading = Callable[[], Iterable[Point]]
"""Function that reads an instrument's current points."""


@dataclass(frozen=True)
class Instrument:
    """One observable instrument. Its points are read in the event loop's own thread."""

    name: str
    """OpenTelemetry name: `tracecar.events`; Prometheus sees `tracecar_events_total`."""
    kind: Literal["counter", "gauge"]
    description: str
    read: Reading
    unit: str = ""


class InstrumentSource(Protocol):
    """A part of the sidecar with instruments."""

    def instruments(self) -> Sequence[Instrument]: ...

    async def refresh(self) -> None:
        """Fetch the values that the instruments read. Never raises for a server that does not reply."""
