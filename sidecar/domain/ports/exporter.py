"""Port of a telemetry backend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sidecar.domain.model import Decoded


class Destination(Protocol):
    """A target of telemetry."""

    name: str

    @property
    def trouble(self) -> str | None:
        """Reason why the backend does not accept telemetry; None if it does, as far as it was tried."""

    def counts(self) -> tuple[int, int, int]:
        """Return the numbers sent, dropped and failed so far."""


class Exporter(Destination, Protocol):
    """Turns decoded events into telemetry, without ever delaying the pipeline."""

    def offer(self, decoded: Sequence[Decoded]) -> None:
        """Queue events; those that do not fit into the bounded queue are counted. Never waits, never raises."""

    async def close(self) -> None:
        """Send the queued events, within a few seconds."""
