"""One place that spans go to: how they are written for it, and the queue before it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from exporters.batch_queue import BatchQueue
from exporters.tracing.span_mapper import ExportSpan


class SpanBatchEncoder(Protocol):
    """How spans are written for a backend."""

    def begin(self, spans: Sequence[ExportSpan]) -> None:
        """Do already what can be done before their traces are known, or nothing."""

    def encode(self, spans: Sequence[ExportSpan]) -> list[bytes]:
        """Each span as the backend takes it, but for what surrounds them all."""


class SpanSink:
    """One place that spans go to (`sidecar.domain.ports.exporter.Destination`)."""

    def __init__(self, name: str, encoder: SpanBatchEncoder, outbox: BatchQueue) -> None:
        self.name, self.outbox, self._encoder = name, outbox, encoder

    def begin(self, spans: Sequence[ExportSpan]) -> None:
        """These spans will be offered later, once their flows are known."""
        if not self.outbox.full:
            self._encoder.begin(spans)

    def offer(self, spans: Sequence[ExportSpan]) -> None:
        if self.outbox.full:
            self.outbox.drop(len(spans))
        else:
            self.outbox.put(self._encoder.encode(spans))

    def counts(self) -> tuple[int, int, int]:
        return self.outbox.sent, self.outbox.dropped, self.outbox.failed

    @property
    def trouble(self) -> str | None:
        return self.outbox.trouble

    async def close(self) -> None:
        await asyncio.to_thread(self.outbox.close)
