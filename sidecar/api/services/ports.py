"""Interfaces through which the services use the rest of the sidecar."""

from __future__ import annotations

from typing import Protocol

from sidecar.api import models
from sidecar.dead_letters.deduplication import DeadLetterGroup
from sidecar.dead_letters.store import DeadLetterFilter, GroupingResult, SearchResult
from sidecar.pipeline.pipeline import SkipOutcome


class StatusProvider(Protocol):
    """Reports the status of the sidecar."""

    @property
    def ready(self) -> bool: ...

    @property
    def unready_reason(self) -> str:
        """Reason why the sidecar is not ready; None if it is. It contains no addresses, because it needs no token."""

    async def status(self) -> models.ServiceStatus: ...


class MetricsWriter(Protocol):
    """Writes all metrics as text for Prometheus."""

    async def exposition(self, *, open_metrics: bool) -> str: ...


class HeldStreams(Protocol):
    """Releases held streams.

    `resume` returns how many partitions of the stream were held. Both methods raise Outage and Refused.
    """

    async def resume(self, stream: str) -> int: ...

    async def skip(self, stream: str) -> SkipOutcome: ...


class DeadLetterSource(Protocol):
    """Finds dead letters in the dead-letter streams."""

    async def newest(self, limit: int, wish: DeadLetterFilter = ...) -> SearchResult: ...

    async def show(self, id: str) -> DeadLetterGroup | None: ...

    async def reads(self, system: str, stream: str) -> bool: ...

    async def groups(self, wish: DeadLetterFilter = ...) -> GroupingResult: ...
