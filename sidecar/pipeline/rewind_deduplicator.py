"""Deduplicator of a partition's records after a rewind.

After a rewind to the committed offset, records that were already published and counted are skipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sidecar.domain.model import Decoded
from sidecar.domain.position import Partition
from sidecar.pipeline.stream_counters import StreamCounter


class EventSink(Protocol):
    """Consumes decoded events: the index, the live stream, the exporters."""

    def publish(self, decoded: Sequence[Decoded], *, is_redelivery: bool) -> None:
        """Take a batch. `is_redelivery`: it was published before a rewind, so only the index needs it."""

    def discard(self, partition: Partition, before: int) -> None:
        """Drop the events and payloads of a partition whose stream was created again.

        `before`: time in microseconds; events that were observed later are those of the new stream.
        """


class RewindDeduplicator:
    """Publishes and counts each record of a partition once, however often the partition is rewound.

    An event counts when it is first decoded, its rejection when it is first known.
    """

    def __init__(self, sink: EventSink, counter: StreamCounter) -> None:
        self._sink, self._counter = sink, counter
        self.high = -1
        """Highest offset that was decoded."""
        self._checked = -1
        """The highest offset whose rejection was counted, or that was found to be valid."""
        # The same, as of the last rewind.
        self._redelivered_until = self._checked_until = -1

    def publish(self, decoded: Sequence[Decoded], rejected: Sequence[Decoded], *, unchecked: bool) -> None:
        """Publish a batch in order (not empty), with those of its events that are rejected.

        `unchecked`: its schemas are not available; the records are decoded again once the registry replies.
        """
        last = decoded[-1].record.position.offset
        seen = 0
        if decoded[0].record.position.offset <= self._redelivered_until:
            seen = sum(each.record.position.offset <= self._redelivered_until for each in decoded)
            self._sink.publish(decoded[:seen], is_redelivery=True)
            late = [
                each
                for each in rejected
                if self._checked_until < each.record.position.offset <= self._redelivered_until
            ]
            self._sink.publish(late, is_redelivery=False)
        if seen < len(decoded):
            self._sink.publish(decoded[seen:] if seen else decoded, is_redelivery=False)
            self._counter.add_events(len(decoded) - seen)
        self.high = max(self.high, last)
        if not unchecked:
            self._counter.add_rejections(
                each.event.rejection.code
                for each in rejected
                if each.event.rejection is not None and each.record.position.offset > self._checked
            )
            self._checked = max(self._checked, last)

    def rewound(self) -> None:
        """Note that the records up to the highest offset so far are delivered again."""
        self._redelivered_until, self._checked_until = self.high, self._checked

    def reset(self) -> None:
        """Forget all offsets, because the partition was created again and they name other records now."""
        self.high = self._checked = self._redelivered_until = self._checked_until = -1
