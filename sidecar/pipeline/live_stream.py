"""Sends decoded events to subscribers within this process, such as the API's live stream.

Publishing never waits. Each subscriber has a bounded queue; when it overflows, the oldest batches are dropped and the
subscriber is told how many events it missed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence

from sidecar.domain.errors import Outage
from sidecar.domain.model import Decoded, Record
from sidecar.domain.record_size import BODY_FACTOR, count_event_bytes, count_record_bytes

MAX_QUEUED_EVENTS = 5_000
MAX_QUEUED_BYTES = 8 << 20
"""Memory of the events in the queue of one subscriber, with their records and bodies if the subscriber needs them."""
MAX_SUBSCRIBERS = 64
PARTS_PER_QUEUE = 8
"""Parts into which a batch as large as a queue is split, so that a full queue drops some of its events and not all."""


class Subscription:
    """Queue of one subscriber."""

    def __init__(self, live: LiveStream, most_events: int, most_bytes: int, *, with_payloads: bool) -> None:
        self._live, self._most_events, self._most_bytes = live, most_events, most_bytes
        self.with_payloads = with_payloads
        self._queue: deque[tuple[Sequence[Decoded], int]] = deque()
        self._events = self._bytes = 0
        self._wake = asyncio.Event()
        self._closed = False
        self._missed = 0

    def put(self, decoded: Sequence[Decoded], size: int) -> None:
        """Queue a batch of `size` bytes and drop the oldest ones that no longer fit."""
        self._queue.append((decoded, size))
        self._events += len(decoded)
        self._bytes += size
        while self._events > self._most_events or self._bytes > self._most_bytes:
            oldest, its_size = self._queue.popleft()
            self._events -= len(oldest)
            self._bytes -= its_size
            self.drop(len(oldest))
        self._wake.set()

    def drop(self, count: int) -> None:
        """Count events that the subscriber misses."""
        self._missed += count
        self._live.dropped += count

    def take_missed_count(self) -> int:
        """Return the number of events missed since the last call."""
        count, self._missed = self._missed, 0
        return count

    @property
    def closed(self) -> bool:
        """True once the subscription has ended."""
        return self._closed

    async def next(self, timeout: float) -> Sequence[Decoded] | None:
        """Return the next batch. None after `timeout` seconds without one, after missed events, and after the end."""
        if not self._queue and not self._closed:
            self._wake.clear()
            try:
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
            except TimeoutError:
                return None
        if self._closed or not self._queue:
            return None
        decoded, size = self._queue.popleft()
        self._events -= len(decoded)
        self._bytes -= size
        return decoded

    async def __aiter__(self) -> AsyncIterator[Sequence[Decoded]]:
        """Iterate over batches until the subscription ends."""
        while not self._closed:
            decoded = await self.next(3600)
            if decoded is not None:
                yield decoded

    def close(self) -> None:
        """End the subscription and release what is queued."""
        self._closed = True
        self._queue.clear()
        self._events = self._bytes = 0
        self._wake.set()
        self._live.leave(self)

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class LiveStream:
    """Publishes events to all subscribers."""

    def __init__(self, most_events: int = MAX_QUEUED_EVENTS, most_bytes: int = MAX_QUEUED_BYTES) -> None:
        self._most_events, self._most_bytes = most_events, most_bytes
        self._subscriptions: tuple[Subscription, ...] = ()
        self.dropped = 0
        """Number of events that slow subscribers missed since the start."""

    @property
    def subscribers(self) -> int:
        """Number of subscribers."""
        return len(self._subscriptions)

    def publish(self, decoded: Sequence[Decoded]) -> None:
        """Publish a batch. Without subscribers it costs one comparison."""
        if not self._subscriptions or not decoded:
            return
        events = [each.event for each in decoded]
        size = count_event_bytes(events)
        without_payloads: Sequence[Decoded] | None = None
        parts: list[tuple[Sequence[Decoded], int]] | None = None
        for subscription in self._subscriptions:
            if subscription.with_payloads:
                parts = parts or _split(decoded, self._most_bytes // PARTS_PER_QUEUE)
                for part, part_size in parts:
                    subscription.put(part, part_size)
            else:
                without_payloads = without_payloads or [_without_payload(each) for each in decoded]
                subscription.put(without_payloads, size)

    def report_lost(self, count: int) -> None:
        """Count events that all subscribers miss."""
        for subscription in self._subscriptions:
            subscription.drop(count)

    def subscribe(self, *, with_payloads: bool = True) -> Subscription:
        """Subscribe; the caller closes the subscription. Raises Outage if there are too many subscribers.

        `with_payloads`: keep headers and bodies in the queue, for a query that asks for them.
        """
        if len(self._subscriptions) >= MAX_SUBSCRIBERS:
            raise Outage(
                f"{MAX_SUBSCRIBERS} clients follow the live stream already: close one, or try again later",
                retry_after=5,
            )
        subscription = Subscription(self, self._most_events, self._most_bytes, with_payloads=with_payloads)
        self._subscriptions = (*self._subscriptions, subscription)
        return subscription

    def leave(self, subscription: Subscription) -> None:
        """Remove a subscription."""
        self._subscriptions = tuple(other for other in self._subscriptions if other is not subscription)

    def close(self) -> None:
        """End every subscription, because the sidecar stops."""
        for subscription in self._subscriptions:
            subscription.close()


def _split(decoded: Sequence[Decoded], max_bytes: int) -> list[tuple[Sequence[Decoded], int]]:
    """Split a batch into parts of about `max_bytes` each, with their sizes."""
    sizes = [_count_bytes(each) for each in decoded]
    total = sum(sizes)
    if total <= max_bytes:
        return [(decoded, total)]
    parts: list[tuple[Sequence[Decoded], int]] = []
    start = size = 0
    for index, each in enumerate(sizes):
        if size and size + each > max_bytes:
            parts.append((decoded[start:index], size))
            start, size = index, 0
        size += each
    return [*parts, (decoded[start:], size)]


def _count_bytes(decoded: Decoded) -> int:
    record = count_record_bytes((decoded.record,))
    return count_event_bytes((decoded.event,)) + record * (1 + BODY_FACTOR if decoded.has_body else 1)


def _without_payload(decoded: Decoded) -> Decoded:
    record = decoded.record
    return Decoded(Record(record.position, None, None, (), record.timestamp), decoded.event)
