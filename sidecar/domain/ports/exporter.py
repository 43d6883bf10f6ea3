"""What the sidecar needs from a telemetry backend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sidecar.domain.model import Decoded


class Destination(Protocol):
    """Somewhere telemetry goes."""

    name: str

    @property
    def trouble(self) -> str | None:
        """Why the backend does not take what is sent; None where it does, as far as it was tried."""

    def counts(self) -> tuple[int, int, int]:
        """Sent, dropped and failed so far."""


class Exporter(Destination, Protocol):
    """Makes telemetry of what passes. Never in the way."""

    def offer(self, decoded: Sequence[Decoded]) -> None:
        """Take what fits into a bounded queue, count what does not. Never waits, never raises."""

    async def close(self) -> None:
        """Send what is queued, within a few seconds."""
