"""Live stream: in-process pub/sub of decoded events.

Publishing never waits. Each subscriber has a bounded queue; when it overflows, the oldest batches are dropped and the
subscriber is told how many events it missed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence

from sidecar.domain.errors import Outage
from sidecar.domain.model import Decoded

MAX_QUEUED_EVENTS = 5_000
"""Events in the queue of one subscriber; each takes about two kilobytes with its body."""
MAX_QUEUED_BYTES = 8 << 20
"""Bytes of their values."""
MAX_SUBSCRIBERS = 64


class Subscription:
    """The queue of one subscriber."""

    def __init__(self, live: LiveStream, most_events: int, most_bytes: int) -> None:
        self._live, self._most_events, self._most_bytes = live, most_events, most_bytes
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

    def missed(self) -> int:
        """Return the number of events missed since the last call."""
        count, self._missed = self._missed, 0
        return count

    @property
    def closed(self) -> bool:
        """The subscription has ended."""
        return self._closed

    async def next(self, timeout: float) -> Sequence[Decoded] | None:
        """Return the next batch; None after `timeout` seconds without one, after missed events, and after the end."""
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
        """End the subscription."""
        self._closed = True
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
        """Events that slow subscribers missed, since the start."""

    @property
    def subscribers(self) -> int:
        """Number of subscribers."""
        return len(self._subscriptions)

    def publish(self, decoded: Sequence[Decoded]) -> None:
        """Publish a batch. Costs one comparison without subscribers."""
        if not self._subscriptions or not decoded:
            return
        size = sum([len(each.record.value) for each in decoded if each.record.value is not None])
        for subscription in self._subscriptions:
            subscription.put(decoded, size)

    def lost(self, count: int) -> None:
        """Count events that all subscribers miss."""
        for subscription in self._subscriptions:
            subscription.drop(count)

    def subscribe(self) -> Subscription:
        """Subscribe; the caller closes the subscription. Raises Outage if there are too many subscribers."""
        if len(self._subscriptions) >= MAX_SUBSCRIBERS:
            raise Outage(
                f"{MAX_SUBSCRIBERS} clients follow the live stream already: close one, or try again later",
                retry_after=5,
            )
        subscription = Subscription(self, self._most_events, self._most_bytes)
        self._subscriptions = (*self._subscriptions, subscription)
        return subscription

    def leave(self, subscription: Subscription) -> None:
        """Remove a subscription."""
        self._subscriptions = tuple(other for other in self._subscriptions if other is not subscription)

    def close(self) -> None:
        """End every subscription, because the sidecar stops."""
        for subscription in self._subscriptions:
            subscription.close()
