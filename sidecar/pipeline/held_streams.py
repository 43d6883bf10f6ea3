"""Release of held streams, across all brokers."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.domain.json_safe import to_text
from sidecar.pipeline.pipeline import Pipeline, SkipOutcome


class HeldStreamControl:
    """Releases held streams of some pipelines (`sidecar.api.services.ports.HeldStreams`)."""

    def __init__(self, pipelines: Sequence[Pipeline]) -> None:
        self._pipelines = pipelines

    async def resume(self, stream: str) -> int:
        """Retry the records that hold a stream. Returns the number of partitions that were held."""
        return sum([await pipeline.resume(_raw_name(pipeline, stream)) for pipeline in self._pipelines])

    async def skip(self, stream: str) -> SkipOutcome:
        """Skip the records that hold a stream."""
        outcomes = [await pipeline.skip(_raw_name(pipeline, stream)) for pipeline in self._pipelines]
        lost = [position for outcome in outcomes for position in outcome.lost]
        return SkipOutcome(sum(outcome.partitions for outcome in outcomes), tuple(lost))


def _raw_name(pipeline: Pipeline, displayed: str) -> str:
    """Return the stream with this displayed name: bytes that are not UTF-8 are displayed as escapes."""
    names = (lease.partition.stream for lease in pipeline.leases())
    return next((name for name in names if to_text(name) == to_text(displayed)), displayed)
