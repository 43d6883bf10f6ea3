"""What can be measured, as the parts of a sidecar offer it to whoever collects: observable counters and gauges."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Point = tuple[float, Mapping[str, str]]
"""A value and its labels."""
Reading = Callable[[], Iterable[Point]]
"""Reads an instrument's points now."""


@dataclass(frozen=True)
class Instrument:
    """One observable instrument. Its points are read in the event loop's own thread."""

    name: str
    """As OpenTelemetry has names: `tracecar.events`; Prometheus sees `tracecar_events_total`."""
    kind: Literal["counter", "gauge"]
    description: str
    read: Reading
    unit: str = ""


class InstrumentSource(Protocol):
    """Something that has instruments, and may have to be asked before they are read."""

    def instruments(self) -> Sequence[Instrument]: ...

    async def refresh(self) -> None:
        """Learn what is to be read. Never raises for a server that does not answer."""
