"""Fan-out of decoded events to the index, live subscribers, other members and exporters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sidecar.domain.model import Decoded, Record
from sidecar.domain.ports.exporter import Exporter
from sidecar.domain.ports.index import Index
from sidecar.domain.position import Partition
from sidecar.pipeline.live_relay import LiveRelay
from sidecar.pipeline.live_stream import LiveStream


class RecordCache(Protocol):
    """Keeps the latest records for callers that open their payloads."""

    @property
    def in_use(self) -> bool: ...

    def keep(self, records: Sequence[Record]) -> None: ...

    def discard(self, partition: Partition) -> None: ...


class EventObserver(Protocol):
    """Observer of the events that this sidecar decodes, such as the saga tracker."""

    def observe(self, decoded: Sequence[Decoded]) -> None:
        """Observe a batch. Must not block. A redelivered batch may be observed twice."""

    def discard(self, partition: Partition) -> None:
        """Forget the events of a partition whose stream was created again."""


class EventViewers:
    """Users of this sidecar's API: live subscribers, and readers of payloads."""

    def __init__(self, live: LiveStream, cache: RecordCache) -> None:
        self._live, self._cache = live, cache

    def publish(self, decoded: Sequence[Decoded]) -> None:
        """Publish events to live subscribers and keep their records."""
        if self._cache.in_use:
            self._cache.keep([each.record for each in decoded])
        self._live.publish(decoded)

    def discard(self, partition: Partition) -> None:
        """Drop the records of a partition whose stream was created again."""
        self._cache.discard(partition)


class EventFanOut:
    """Publishes the events of owned partitions (`sidecar.pipeline.rewind_deduplicator.EventSink`)."""

    def __init__(
        self,
        index: Index,
        viewers: EventViewers,
        relay: LiveRelay | None,
        exporters: Sequence[Exporter],
        observers: Sequence[EventObserver] = (),
    ) -> None:
        self._index, self._viewers, self._relay, self._exporters = index, viewers, relay, exporters
        self._observers = observers

    def publish(self, decoded: Sequence[Decoded], *, is_redelivery: bool) -> None:
        """Publish a batch. A redelivered one goes to the index and the observers only."""
        self._index.add([each.event for each in decoded])
        for observer in self._observers:
            observer.observe(decoded)
        if is_redelivery:
            return
        self._viewers.publish(decoded)
        if self._relay is not None:
            self._relay.offer(decoded)
        for exporter in self._exporters:
            exporter.offer(decoded)

    def discard(self, partition: Partition, before: int) -> None:
        """Drop the events and payloads of a partition whose stream was created again (see `EventSink`)."""
        self._index.discard(partition, before)
        self._viewers.discard(partition)
        for observer in self._observers:
            observer.discard(partition)


class UnownedFanOut:
    """Publishes events of partitions that other members commit. Those members export them."""

    def __init__(self, index: Index, viewers: EventViewers, observers: Sequence[EventObserver] = ()) -> None:
        self._index, self._viewers, self._observers = index, viewers, observers

    def publish(self, decoded: Sequence[Decoded], before_start: bool) -> None:
        """Publish a batch. Events from before the start of this sidecar go only to the index."""
        self._index.add([each.event for each in decoded])
        for observer in self._observers:
            observer.observe(decoded)
        if not before_start:
            self._viewers.publish(decoded)

    def discard(self, partition: Partition, before: int) -> None:
        """Drop the events and payloads of a partition whose stream was created again (see `EventSink`)."""
        self._index.discard(partition, before)
        self._viewers.discard(partition)
        for observer in self._observers:
            observer.discard(partition)
