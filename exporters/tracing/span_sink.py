"""Backend for spans, with its encoder and its queue."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from exporters.batch_queue import BatchQueue
from exporters.tracing.span_mapper import ExportSpan


class SpanBatchEncoder(Protocol):
    """Encodes spans in the format of a backend."""

    def begin(self, spans: Sequence[ExportSpan]) -> None:
        """Encode the parts that do not depend on the traces. May do nothing."""

    def encode(self, spans: Sequence[ExportSpan]) -> list[bytes]:
        """Encode each span in the backend's format, without the request envelope (resource and scope)."""


class SpanSink:
    """A backend to which spans are sent. Implements `sidecar.domain.ports.exporter.Destination`."""

    def __init__(self, name: str, encoder: SpanBatchEncoder, outbox: BatchQueue) -> None:
        self.name, self.outbox, self._encoder = name, outbox, encoder

    def begin(self, spans: Sequence[ExportSpan]) -> None:
        """Announce spans that will be offered once their flows are known."""
        if not self.outbox.full:
            self._encoder.begin(spans)

    def offer(self, spans: Sequence[ExportSpan]) -> None:
        """Queue spans, or count them as dropped if the queue is full."""
        if self.outbox.full:
            self.outbox.drop(len(spans))
        else:
            self.outbox.put(self._encoder.encode(spans))

    def counts(self) -> tuple[int, int, int]:
        """Return the numbers of sent, dropped and failed spans."""
        return self.outbox.sent, self.outbox.dropped, self.outbox.failed

    @property
    def trouble(self) -> str | None:
        """Reason why the backend currently accepts nothing, or None."""
        return self.outbox.trouble

    async def close(self) -> None:
        """Send the queued spans within a few seconds, and close the connection."""
        await asyncio.to_thread(self.outbox.close)
